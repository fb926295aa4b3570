//! Orientation of a photo: EXIF's, or XMP's if EXIF has none.

use image::metadata::Orientation;

use super::metadata::{MAX_XMP, Metadata};

/// The transformation that shows the photo upright: EXIF's Orientation, or XMP's if EXIF has none, as in
/// Pillow.
///
/// Unreadable metadata count as absent.
pub(super) fn read(metadata: &Metadata) -> Orientation {
    let exif = metadata.exif.and_then(exif_orientation);
    exif.or_else(|| xmp_orientation(metadata.xmp.as_deref()?))
        .unwrap_or(Orientation::NoTransforms)
}

/// Tag number of Orientation.
const ORIENTATION: u32 = 0x0112;
/// TIFF field type SHORT: a 16-bit unsigned integer.
const SHORT: u32 = 3;

/// The tag Orientation in the first directory of a TIFF structure: TIFF 6.0, section 2. `None` if the tag
/// is absent; an invalid value counts as "no transformation".
fn exif_orientation(tiff: &[u8]) -> Option<Orientation> {
    let is_little_endian = match tiff.first_chunk()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |bytes: &[u8]| {
        let append = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
        match is_little_endian {
            true => bytes.iter().rev().fold(0, append),
            false => bytes.iter().fold(0, append),
        }
    };
    let directory = tiff.get(number(tiff.get(4..8)?) as usize..)?;
    let (count, entries) = directory.split_first_chunk::<2>()?;
    let (entries, _) = entries.as_chunks::<12>();
    let mut entries = entries.iter().take(number(count) as usize);
    let entry = entries.find(|entry| number(&entry[..2]) == ORIENTATION)?;
    let value = match (number(&entry[2..4]), number(&entry[4..8])) {
        (SHORT, 1) => u8::try_from(number(&entry[8..10])).ok(),
        _ => None,
    };
    let orientation = value.and_then(Orientation::from_exif);
    Some(orientation.unwrap_or(Orientation::NoTransforms))
}

/// The property `tiff:Orientation` of an XMP packet, as an attribute or an element.
///
/// This is Pillow's rule: the first match of `tiff:Orientation(="|>)([0-9])` in the packet's text.
fn xmp_orientation(xmp: &[u8]) -> Option<Orientation> {
    const NAME: &[u8] = b"tiff:Orientation";
    let xmp = &xmp[..xmp.len().min(MAX_XMP)];
    let digit = memchr::memmem::find_iter(xmp, NAME).find_map(|at| {
        let after = &xmp[at + NAME.len()..];
        let value = after
            .strip_prefix(b"=\"")
            .or_else(|| after.strip_prefix(b">"))?;
        value.first().filter(|byte| byte.is_ascii_digit())
    })?;
    Orientation::from_exif(digit - b'0')
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::ZlibEncoder};
    use image::ImageFormat;

    use super::{
        super::metadata::{APP1, EXIF, XMP, XMP_KEYWORD, text},
        *,
    };

    fn read(format: ImageFormat, bytes: &[u8]) -> Orientation {
        super::read(&Metadata::of(format, bytes))
    }

    fn attribute(orientation: u8) -> Vec<u8> {
        format!("<rdf:Description tiff:Orientation=\"{orientation}\"/>").into_bytes()
    }

    /// Little-endian TIFF with Orientation as its only tag.
    fn exif(orientation: u8) -> Vec<u8> {
        let tag = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        [b"II*\0\x08\0\0\0\x01\0".to_vec(), tag.to_vec(), vec![0; 4]].concat()
    }

    fn jpeg(app1: &[(&[u8], &[u8])]) -> Vec<u8> {
        let segments = app1.iter().map(|(start, content)| {
            let length = (2 + start.len() + content.len()) as u16;
            [&[0xff, APP1], &length.to_be_bytes()[..], start, content].concat()
        });
        let segments: Vec<Vec<u8>> = segments.collect();
        [&[0xff, 0xd8], &segments.concat()[..], &[0xff, 0xda]].concat()
    }

    fn png(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let chunks = chunks.iter().map(|(kind, content)| {
            let mut crc = flate2::Crc::new();
            crc.update(*kind);
            crc.update(content);
            let length = (content.len() as u32).to_be_bytes();
            [&length, &kind[..], content, &crc.sum().to_be_bytes()].concat()
        });
        let chunks: Vec<Vec<u8>> = chunks.collect();
        [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()
    }

    fn webp(chunks: &[(&[u8; 4], u32, &[u8])]) -> Vec<u8> {
        let chunks = chunks.iter().map(|(kind, declared, content)| {
            [&kind[..], &declared.to_le_bytes(), content].concat()
        });
        let chunks: Vec<Vec<u8>> = chunks.collect();
        [&b"RIFF\xff\xff\xff\xffWEBP"[..], &chunks.concat()].concat()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn itxt(flag: u8, method: u8, text: &[u8]) -> Vec<u8> {
        [XMP_KEYWORD, &[flag, method], b"en\0Orientation\0", text].concat()
    }

    #[test]
    fn xmp_is_searched_by_pillows_rule() {
        for (packet, exif) in [
            (r#"tiff:Orientation="6""#, Some(6)),
            ("<tiff:Orientation>8</tiff:Orientation>", Some(8)),
            (r#"tiff:Orientation="0""#, None),
            (r#"tiff:Orientation="9""#, None),
            // Only the first digit is read.
            (r#"tiff:Orientation="65""#, Some(6)),
            ("tiff:Orientation='6'", None),
            (r#"tiff:Orientation = "6""#, None),
            ("<tiff:Orientation> 6", None),
            (r#"exif:Orientation="6""#, None),
            // The first match is used, even if its value is invalid.
            (
                r#"tiff:Orientation="" tiff:Orientation="3" tiff:Orientation="6""#,
                Some(3),
            ),
            (r#"tiff:Orientation="9" tiff:Orientation="6""#, None),
            (r#"tiff:Orientation=""#, None),
            ("tiff:Orientation", None),
            ("", None),
        ] {
            let found = xmp_orientation(packet.as_bytes());
            assert_eq!(found, exif.and_then(Orientation::from_exif), "{packet}");
        }
        let late = [vec![b' '; MAX_XMP], attribute(6)].concat();
        assert_eq!(xmp_orientation(&late), None);
    }

    #[test]
    fn exif_takes_precedence_if_it_has_the_tag() {
        let other_tag = {
            let mut exif = exif(6);
            exif[10] = 0x13;
            exif
        };
        let big_endian = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x05\0\0";
        for (exif, expected) in [
            (&exif(8)[..], 8),
            (&[EXIF, &exif(8)].concat(), 8),
            (big_endian, 5),
            // The tag is present with an invalid value.
            (&exif(0), 1),
            (&exif(9), 1),
            (&other_tag, 3),
            (&exif(8)[..16], 3),
            (b"II*\0\xff\xff\xff\xff", 3),
            (b"none", 3),
            (b"", 3),
        ] {
            let xmp = attribute(3);
            let length = exif.len() as u32;
            for (format, bytes) in [
                (ImageFormat::Jpeg, jpeg(&[(XMP, &xmp), (EXIF, exif)])),
                (
                    ImageFormat::Png,
                    png(&[(b"iTXt", &itxt(0, 0, &xmp)), (b"eXIf", exif)]),
                ),
                (
                    ImageFormat::WebP,
                    webp(&[
                        (
                            b"XMP ",
                            xmp.len() as u32,
                            &[&xmp[..], &[0][..xmp.len() % 2]].concat(),
                        ),
                        (b"EXIF", length, exif),
                    ]),
                ),
            ] {
                assert_eq!(
                    read(format, &bytes).to_exif(),
                    expected,
                    "{format:?} {exif:?}"
                );
            }
        }
    }

    #[test]
    fn of_several_blocks_the_one_that_pillow_uses_is_read() {
        let [three, six] = [3, 6].map(attribute);
        let twice = jpeg(&[(XMP, &three), (XMP, &six)]);
        assert_eq!(read(ImageFormat::Jpeg, &twice).to_exif(), 6);
        let twice = jpeg(&[(EXIF, &exif(3)), (EXIF, &exif(6))]);
        assert_eq!(read(ImageFormat::Jpeg, &twice).to_exif(), 3);
        let [three, six] = [three, six].map(|xmp| itxt(0, 0, &xmp));
        let twice = png(&[(b"iTXt", &three), (b"IDAT", b""), (b"iTXt", &six)]);
        assert_eq!(read(ImageFormat::Png, &twice).to_exif(), 6);
    }

    #[test]
    fn xmp_in_a_png_may_be_compressed_and_must_be_intact() {
        let packed = zlib(&attribute(6));
        for (content, expected) in [
            (itxt(1, 0, &packed), 6),
            (itxt(1, 1, &packed), 1),
            (itxt(1, 0, &packed[..packed.len() - 1]), 1),
            (itxt(1, 0, b"no zlib stream"), 1),
            (itxt(0, 0, b""), 1),
            (XMP_KEYWORD.to_vec(), 1),
            ([XMP_KEYWORD, &[0, 0], b"en\0"].concat(), 1),
            ([b"Comment\0\0\0\0\0", &attribute(6)[..]].concat(), 1),
        ] {
            let file = png(&[(b"IDAT", b"pixels"), (b"iTXt", &content)]);
            assert_eq!(
                read(ImageFormat::Png, &file).to_exif(),
                expected,
                "{content:?}"
            );
            let mut broken = file;
            *broken.last_mut().unwrap() ^= 1;
            assert_eq!(read(ImageFormat::Png, &broken).to_exif(), 1);
        }
    }

    #[test]
    fn compressed_xmp_is_expanded_up_to_the_search_limit() {
        let bomb = zlib(&[attribute(6), vec![b' '; 64 * MAX_XMP]].concat());
        let content = itxt(1, 0, &bomb);
        let text = text(&content).unwrap();
        assert_eq!(text.len(), MAX_XMP);
        assert_eq!(xmp_orientation(&text), Some(Orientation::Rotate90));
    }

    #[test]
    fn a_chunk_ends_with_the_file() {
        let odd: (&[u8; 4], u32, &[u8]) = (b"ICCP", 3, &[1, 2, 3, 0]);
        for declared in [26, 27, u32::MAX] {
            let file = webp(&[odd, (b"EXIF", declared, &exif(6))]);
            assert_eq!(read(ImageFormat::WebP, &file).to_exif(), 6);
        }
        assert_eq!(read(ImageFormat::WebP, &webp(&[odd])).to_exif(), 1);
        assert_eq!(read(ImageFormat::WebP, b"RIFF").to_exif(), 1);
    }
}
