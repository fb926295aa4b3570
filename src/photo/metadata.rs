//! The metadata blocks of a file: EXIF and XMP.
//!
//! The blocks are searched in the bytes and not requested from the decoders, because the PNG decoder reads only chunks
//! before the pixels, and the WebP decoder allocates the length that a chunk declares, up to 4 GB.

use std::{borrow::Cow, io::Read};

use flate2::read::ZlibDecoder;
use image::ImageFormat;

use super::segments::{jpeg_header, png_chunks, webp_chunks};

/// Bytes of an XMP packet that are searched. A packet in a JPEG has at most 64 KiB; a compressed packet
/// in a PNG could expand to gigabytes.
pub(super) const MAX_XMP: usize = 1 << 20;

/// APP1: the marker of EXIF and XMP segments in a JPEG.
pub(super) const APP1: u8 = 0xe1;
/// Prefix of EXIF in a JPEG's APP1 segment. Some programs write it into PNG and WebP, too.
pub(super) const EXIF: &[u8] = b"Exif\0\0";
/// Prefix of XMP in a JPEG's APP1 segment: XMP specification, part 3, "JPEG".
pub(super) const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// Keyword of the iTXt chunk that contains XMP in a PNG: XMP specification, part 3, "PNG".
pub(super) const XMP_KEYWORD: &[u8] = b"XML:com.adobe.xmp\0";

/// The metadata blocks of a file.
#[derive(Default)]
pub(super) struct Metadata<'a> {
    /// A TIFF structure.
    pub(super) exif: Option<&'a [u8]>,
    /// Text.
    pub(super) xmp: Option<Cow<'a, [u8]>>,
}

impl<'a> Metadata<'a> {
    /// The blocks in the `bytes` of a file.
    pub(super) fn of(format: ImageFormat, bytes: &'a [u8]) -> Self {
        let metadata = match format {
            ImageFormat::Jpeg => Self::of_jpeg(bytes),
            ImageFormat::Png => Self::of_png(bytes),
            ImageFormat::WebP => Self::of_webp(bytes),
            _ => Self::default(),
        };
        let tiff = |exif: &'a [u8]| exif.strip_prefix(EXIF).unwrap_or(exif);
        Self {
            exif: metadata.exif.map(tiff),
            ..metadata
        }
    }

    /// The first EXIF segment, because further ones continue it, and the last XMP segment.
    fn of_jpeg(bytes: &'a [u8]) -> Self {
        let app1 = |start: &'static [u8]| {
            jpeg_header(bytes)
                .filter(|(marker, _)| *marker == APP1)
                .filter_map(move |(_, content)| content.strip_prefix(start))
        };
        Self {
            exif: app1(EXIF).next(),
            xmp: app1(XMP).last().map(Cow::Borrowed),
        }
    }

    /// The last chunk of each kind.
    fn of_png(bytes: &'a [u8]) -> Self {
        let intact = |kind: &'static [u8; 4], start: &'static [u8]| {
            png_chunks(bytes)
                .filter(move |chunk| chunk.kind == kind && chunk.content.starts_with(start))
                .filter(|chunk| chunk.is_intact())
                .map(|chunk| chunk.content)
        };
        Self {
            exif: intact(b"eXIf", b"").last(),
            xmp: intact(b"iTXt", XMP_KEYWORD).last().and_then(text),
        }
    }

    /// The first chunk of each kind.
    fn of_webp(bytes: &'a [u8]) -> Self {
        let chunk = |wanted: &[u8; 4]| {
            let (_, content) = webp_chunks(bytes).find(|(kind, _)| *kind == wanted)?;
            Some(content)
        };
        Self {
            exif: chunk(b"EXIF"),
            xmp: chunk(b"XMP ").map(Cow::Borrowed),
        }
    }
}

/// The text of an iTXt chunk, up to [`MAX_XMP`] bytes: <https://www.w3.org/TR/png-3/#11iTXt>.
pub(super) fn text(content: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (is_compressed, rest) = content.strip_prefix(XMP_KEYWORD)?.split_first()?;
    let (method, rest) = rest.split_first()?;
    // Language tag and translated keyword precede the text, each ended by a zero byte.
    let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
    match (is_compressed, method) {
        (0, _) => Some(Cow::Borrowed(text)),
        (_, 0) => {
            let mut unpacked = Vec::new();
            let mut decoder = ZlibDecoder::new(text).take(MAX_XMP as u64);
            decoder.read_to_end(&mut unpacked).ok()?;
            Some(Cow::Owned(unpacked))
        }
        _ => None,
    }
}
