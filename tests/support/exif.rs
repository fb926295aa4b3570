//! EXIF blocks.

use std::io::Cursor;

use exif::{Field, In, Tag, Value, experimental::Writer};

/// A field with a text.
pub(crate) fn text(tag: Tag, text: &str) -> Field {
    field(tag, Value::Ascii(vec![text.into()]))
}

/// A field of the photo, not of its thumbnail.
pub(crate) fn field(tag: Tag, value: Value) -> Field {
    Field {
        tag,
        ifd_num: In::PRIMARY,
        value,
    }
}

/// A TIFF structure, big-endian.
pub(crate) fn exif(fields: &[Field]) -> Vec<u8> {
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut tiff = Cursor::new(Vec::new());
    writer.write(&mut tiff, false).unwrap();
    tiff.into_inner()
}
