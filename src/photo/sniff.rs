//! Recognises the format of a photo by its magic number, and the coding process of a JPEG by its frame
//! header. Key, file extension and Content-Type are ignored: they are often wrong.

use image::ImageFormat;

use super::{rejection::Rejection, segments::jpeg_header};

/// Files that people send instead of a photo: offset, magic number, name of the format, and what to do.
const UNSUPPORTED: &[(usize, &[u8], &str, &str)] = &[
    (0, b"GIF8", "GIF", IMAGE),
    (0, b"BM", "BMP", IMAGE),
    (0, b"\0\0\x01\0", "ICO", IMAGE),
    // Includes the raw formats that are based on TIFF: DNG, NEF, ARW, CR2.
    (0, b"II*\0", "TIFF or camera raw", CAMERA),
    (0, b"MM\0*", "TIFF or camera raw", CAMERA),
    (4, b"ftypcrx ", "camera raw", CAMERA),
    // ISO base media brands of HEIF images: ISO/IEC 23008-12, annex B.
    (4, b"ftyphei", "HEIC", PHONE),
    (4, b"ftyphev", "HEIC", PHONE),
    (4, b"ftypmif1", "HEIC", PHONE),
    (4, b"ftypmsf1", "HEIC", PHONE),
    (4, b"ftypavi", "AVIF", IMAGE),
    // Every other brand is a video: MP4, MOV, 3GP.
    (4, b"ftyp", "video", PHOTO),
    (8, b"AVI LIST", "video", PHOTO),
    (0, b"\x1a\x45\xdf\xa3", "video", PHOTO),
    (0, b"\xff\x0a", "JPEG XL", IMAGE),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL", IMAGE),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000", IMAGE),
    (0, b"8BPS", "Photoshop", IMAGE),
    (0, b"%PDF-", "PDF", PHOTO),
    (0, b"PK\x03\x04", "ZIP", "unpack it and send the photos"),
];

const IMAGE: &str = "send JPEG, PNG or WebP";
const PHOTO: &str = "send a photo, as JPEG, PNG or WebP";
const PHONE: &str = "set the phone to 'most compatible' or convert it to JPEG";
const CAMERA: &str = "set the camera to JPEG or convert it";
const BASELINE: &str = "save it again as a baseline or progressive JPEG";
const PAGE: &str = "the file is a web page, save the photo itself and send that";

/// The format of `bytes`: PNG, WebP, or JPEG in a coding process that this function decodes.
///
/// # Errors
///
/// A [`Rejection`] that names the format if it is a known one, and what to do.
pub(crate) fn sniff(bytes: &[u8]) -> Result<ImageFormat, Rejection> {
    if bytes.is_empty() {
        return Err(Rejection::Empty);
    }
    let (what, todo) = match image::guess_format(bytes) {
        Ok(format @ ImageFormat::Jpeg) => match unsupported_coding(bytes) {
            None => return Ok(format),
            Some(what) => (what, BASELINE),
        },
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP)) => return Ok(format),
        _ => unsupported_format(bytes).ok_or(Rejection::NotAPhoto)?,
    };
    Err(Rejection::Unsupported { what, todo })
}

/// Name of a JPEG's coding process if it is unsupported. The marker of the first frame tells it: ITU-T
/// T.81, table B.1.
fn unsupported_coding(bytes: &[u8]) -> Option<&'static str> {
    let (frame, _) = jpeg_header(bytes).find(|(marker, _)| {
        // SOF0 to SOF15; DHT (c4), JPG (c8) and DAC (cc) are other segments in that range. DHP (de) precedes
        // the frames of a hierarchical JPEG.
        matches!(marker, 0xc0..=0xcf | 0xde) && !matches!(marker, 0xc4 | 0xc8 | 0xcc)
    })?;
    match frame {
        // Baseline, extended sequential and progressive, with Huffman codes.
        0xc0..=0xc2 => None,
        0xc3 => Some("lossless JPEG"),
        0xc5..=0xc7 | 0xde => Some("hierarchical JPEG"),
        _ => Some("arithmetic-coded JPEG"),
    }
}

fn unsupported_format(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let known = UNSUPPORTED.iter().find(|(offset, magic, ..)| {
        bytes
            .get(*offset..)
            .is_some_and(|rest| rest.starts_with(magic))
    });
    match known {
        Some((_, _, what, todo)) => Some((what, todo)),
        None => markup(bytes),
    }
}

/// HTML and SVG have no magic number: they start with a tag, perhaps after white space.
fn markup(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let start = &bytes[..bytes.len().min(1024)];
    let text = String::from_utf8_lossy(start).to_ascii_lowercase();
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if !text.starts_with('<') {
        None
    } else if text.contains("<svg") {
        Some(("SVG", IMAGE))
    } else if text.contains("<html") || text.contains("<!doctype html") {
        Some(("HTML", PAGE))
    } else {
        None
    }
}

/// Name of the format of `bytes` in answers: jpeg, png or webp.
///
/// # Errors
///
/// As [`sniff`].
pub(crate) fn format_name(bytes: &[u8]) -> Result<&'static str, Rejection> {
    Ok(match sniff(bytes)? {
        ImageFormat::Png => "png",
        ImageFormat::WebP => "webp",
        // `sniff` returns no other.
        _ => "jpeg",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_say_what_to_do() {
        for (bytes, reason) in [
            (&b""[..], "the file is empty: upload it again"),
            (b"GIF89a", "GIF is not supported: send JPEG, PNG or WebP"),
            (
                b"\0\0\0\x18ftypheic\0\0\0\0",
                "HEIC is not supported: set the phone to 'most compatible' or convert it to JPEG",
            ),
            (
                b"\0\0\0\x18ftypavif",
                "AVIF is not supported: send JPEG, PNG or WebP",
            ),
            (
                b"\0\0\0\x20ftypisom",
                "video is not supported: send a photo, as JPEG, PNG or WebP",
            ),
            (
                b"II*\0\x08\0\0\0",
                "TIFF or camera raw is not supported: set the camera to JPEG or convert it",
            ),
            (
                b"%PDF-1.7",
                "PDF is not supported: send a photo, as JPEG, PNG or WebP",
            ),
            (
                b"PK\x03\x04",
                "ZIP is not supported: unpack it and send the photos",
            ),
            (
                b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
                "SVG is not supported: send JPEG, PNG or WebP",
            ),
            (
                b"\n<!DOCTYPE HTML><title>404</title>",
                "HTML is not supported: the file is a web page, save the photo itself and send that",
            ),
            (b"<note/>", "not a photo: send JPEG, PNG or WebP"),
            (b"hello", "not a photo: send JPEG, PNG or WebP"),
            (b"\0", "not a photo: send JPEG, PNG or WebP"),
        ] {
            assert_eq!(sniff(bytes).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn the_first_frame_tells_the_coding_of_a_jpeg() {
        // The APP1 segment contains a frame marker, as a thumbnail does: it must be skipped.
        let jpeg = |markers: &[u8]| {
            let mut bytes = b"\xff\xd8\xff\xe1\0\x06\xff\xc9\0\0".to_vec();
            for &marker in markers {
                bytes.extend([0xff, marker, 0, 3, 8]);
            }
            bytes
        };
        for (sof, what) in [
            (0xc0, None),
            (0xc1, None),
            (0xc2, None),
            (0xc3, Some("lossless JPEG")),
            (0xc5, Some("hierarchical JPEG")),
            (0xc6, Some("hierarchical JPEG")),
            (0xc7, Some("hierarchical JPEG")),
            (0xc9, Some("arithmetic-coded JPEG")),
            (0xca, Some("arithmetic-coded JPEG")),
            (0xcb, Some("arithmetic-coded JPEG")),
            (0xcd, Some("arithmetic-coded JPEG")),
            (0xce, Some("arithmetic-coded JPEG")),
            (0xcf, Some("arithmetic-coded JPEG")),
        ] {
            // DHT, JPG and DAC are in the range of the frame markers and are not frames.
            let bytes = jpeg(&[0xc4, 0xc8, 0xcc, sof, 0xda]);
            assert_eq!(unsupported_coding(&bytes), what, "{sof:x}");
            let reason = sniff(&bytes).err().map(|rejection| rejection.to_string());
            let expected = what.map(|what| {
                format!("{what} is not supported: save it again as a baseline or progressive JPEG")
            });
            assert_eq!(reason, expected, "{sof:x}");
        }
        assert_eq!(
            unsupported_coding(&jpeg(&[0xde, 0xc1, 0xda])),
            Some("hierarchical JPEG")
        );
        // Bytes after the start of the first scan are not part of the header.
        assert_eq!(unsupported_coding(&jpeg(&[0xda, 0xc9])), None);
        assert_eq!(unsupported_coding(b"\xff\xd8\xff"), None);
    }
}
