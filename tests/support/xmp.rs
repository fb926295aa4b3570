//! Moves the orientation of a photo from EXIF to XMP.

use std::io::Write;

use flate2::{Compression, Crc, write::ZlibEncoder};

/// An XMP packet with an EXIF `orientation`, as photo editors write it.
pub(crate) fn packet(orientation: u8) -> Vec<u8> {
    format!(
        r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"#
    )
    .into_bytes()
}

/// Replaces the EXIF of a JPEG with `packet`.
pub(crate) fn jpeg(photo: &[u8], packet: &[u8]) -> Vec<u8> {
    let exif = photo.windows(6).position(|start| start == b"Exif\0\0");
    let start = exif.unwrap() - 4;
    assert_eq!(photo[start..start + 2], [0xff, 0xe1]);
    let length = u16::from_be_bytes([photo[start + 2], photo[start + 3]]);
    let end = start + 2 + usize::from(length);
    let content = [b"http://ns.adobe.com/xap/1.0/\0", packet].concat();
    let length = u16::try_from(2 + content.len()).unwrap().to_be_bytes();
    let (before, after) = (&photo[..start], &photo[end..]);
    [before, &[0xff, 0xe1], &length, &content, after].concat()
}

/// Removes the EXIF of a PNG, and inserts `packet` before the first chunk of the kind `next`.
pub(crate) fn png(photo: &[u8], packet: &[u8], next: &[u8; 4], compressed: bool) -> Vec<u8> {
    let keyword = b"XML:com.adobe.xmp\0";
    // Compression flag and method, an empty language and an empty translated keyword.
    let text = match compressed {
        true => [&keyword[..], &[1, 0, 0, 0], &zlib(packet)].concat(),
        false => [&keyword[..], &[0, 0, 0, 0], packet].concat(),
    };
    let mut bytes = photo[..8].to_vec();
    let mut text = Some(png_chunk(b"iTXt", &text));
    let mut rest = &photo[8..];
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap());
        let (chunk, after) = rest.split_at(12 + length as usize);
        if &chunk[4..8] == next {
            bytes.extend(text.take().unwrap_or_default());
        }
        if &chunk[4..8] != b"eXIf" {
            bytes.extend(chunk);
        }
        rest = after;
    }
    assert!(text.is_none(), "the PNG has a chunk {next:?}");
    assert_ne!(bytes.len(), photo.len());
    bytes
}

/// A PNG chunk with its length and checksum: <https://www.w3.org/TR/png-3/#5Chunk-layout>.
pub(crate) fn png_chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let checked = [kind, content].concat();
    let mut crc = Crc::new();
    crc.update(&checked);
    let length = u32::try_from(content.len()).unwrap();
    [
        &length.to_be_bytes()[..],
        &checked,
        &crc.sum().to_be_bytes(),
    ]
    .concat()
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Replaces the EXIF of a WebP, which is its last chunk, with `packet`:
/// <https://developers.google.com/speed/webp/docs/riff_container>.
pub(crate) fn webp(photo: &[u8], packet: &[u8]) -> Vec<u8> {
    let exif = photo.windows(4).rposition(|kind| kind == b"EXIF");
    let mut bytes = photo[..exif.unwrap()].to_vec();
    bytes.extend(b"XMP ");
    bytes.extend(u32::try_from(packet.len()).unwrap().to_le_bytes());
    bytes.extend(packet);
    bytes.extend(&[0][..packet.len() % 2]);
    let size = u32::try_from(bytes.len() - 8).unwrap();
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    // The flags in the header: XMP instead of EXIF.
    assert_eq!(&bytes[12..16], b"VP8X");
    bytes[20] ^= 0b1100;
    bytes
}
