//! Marker segments of JPEG, chunks of PNG and WebP. Declared lengths are checked against the bytes of the
//! file before a decoder trusts them.

use flate2::Crc;

/// End-of-image marker of a JPEG: ITU-T T.81, table B.1.
const EOI: u8 = 0xd9;
/// Start-of-scan marker, which precedes entropy-coded data.
const SOS: u8 = 0xda;

/// Whether a JPEG has its end-of-image marker.
///
/// A decoder fills the missing part of a truncated file with gray, and the model would classify the gray.
/// Bytes after the marker, which some phones append, are ignored.
pub(super) fn jpeg_is_complete(bytes: &[u8]) -> bool {
    jpeg_markers(bytes).any(|(marker, _)| marker == EOI)
}

/// Marker and content of each segment in a JPEG's header, which ends at the first scan.
pub(super) fn jpeg_header(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    jpeg_markers(bytes).take_while(|(marker, _)| *marker != SOS)
}

/// Marker and content of each segment after the first marker. A marker without a length has no content.
///
/// Segments are skipped by their length, so a marker inside an embedded thumbnail is not found. The
/// iterator ends before a truncated segment.
fn jpeg_markers(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes.get(2..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        let at = memchr::memchr(0xff, rest)?;
        rest = &rest[at + 1..];
        let (&marker, after) = rest.split_first()?;
        let content = match marker {
            // A fill byte (0xff) may be the first byte of the next marker.
            0xff => return Some((marker, &rest[..0])),
            // Stuffed zero, TEM, RST0–7, SOI and EOI have no length.
            0x00 | 0x01 | 0xd0..=EOI => &after[..0],
            _ => {
                let length = u16::from_be_bytes(*after.first_chunk()?);
                after.get(..usize::from(length))?
            }
        };
        rest = &after[content.len()..];
        Some((marker, content.get(2..).unwrap_or(&[])))
    })
}

/// A chunk of a PNG: <https://www.w3.org/TR/png-3/#5Chunk-layout>.
pub(super) struct PngChunk<'a> {
    /// Chunk type, such as `IDAT`.
    pub(super) kind: &'a [u8; 4],
    /// Chunk data.
    pub(super) content: &'a [u8],
    checksum: u32,
}

impl PngChunk<'_> {
    /// Whether the chunk's checksum is correct.
    pub(super) fn is_intact(&self) -> bool {
        let mut crc = Crc::new();
        crc.update(self.kind);
        crc.update(self.content);
        crc.sum() == self.checksum
    }
}

/// The chunks of a PNG. The iterator ends before a truncated chunk.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = PngChunk<'_>> {
    let mut rest = bytes.get(8..).unwrap_or(&[]);
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (kind, after) = after.split_first_chunk::<4>()?;
        let (content, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let (checksum, after) = after.split_first_chunk::<4>()?;
        rest = after;
        Some(PngChunk {
            kind,
            content,
            checksum: u32::from_be_bytes(*checksum),
        })
    })
}

/// Type and content of each chunk of a WebP. A truncated chunk has the bytes that are present.
pub(super) fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    riff_chunks(bytes.get(12..).unwrap_or(&[]))
}

/// Pixels in the largest lossy frame of a WebP; 0 if it has none.
///
/// The decoder allocates a frame before it compares the frame's size with the canvas.
pub(super) fn webp_frame_pixels(bytes: &[u8]) -> u64 {
    let frames = webp_chunks(bytes).flat_map(|(kind, content)| match kind {
        b"VP8 " => vec![content],
        // A frame of an animation: 16 bytes of position and duration, then chunks.
        b"ANMF" => riff_chunks(content.get(16..).unwrap_or(&[]))
            .map(|(_, content)| content)
            .collect(),
        _ => vec![],
    });
    frames.map(vp8_pixels).max().unwrap_or(0)
}

/// Width × height in the header of a VP8 key frame: <https://www.rfc-editor.org/rfc/rfc6386#section-9.1>.
fn vp8_pixels(frame: &[u8]) -> u64 {
    match frame.get(3..10) {
        Some(&[0x9d, 0x01, 0x2a, w0, w1, h0, h1]) => {
            let side = |bytes| u64::from(u16::from_le_bytes(bytes) & 0x3fff);
            side([w0, w1]) * side([h0, h1])
        }
        _ => 0,
    }
}

/// Type and content of each RIFF chunk. A truncated chunk has the bytes that are present.
/// <https://developers.google.com/speed/webp/docs/riff_container>
fn riff_chunks(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (kind, after) = rest.split_first_chunk::<4>()?;
        let (size, content) = after.split_first_chunk::<4>()?;
        let size = u32::from_le_bytes(*size) as usize;
        let padded = size + size % 2;
        rest = content.get(padded..).unwrap_or(&[]);
        Some((kind, content.get(..size).unwrap_or(content)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(kind: &[u8; 4], declared: u32, content: &[u8]) -> Vec<u8> {
        [&kind[..], &declared.to_le_bytes(), content].concat()
    }

    fn webp(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"RIFF\xff\xff\xff\xffWEBP".to_vec(), chunks.concat()].concat()
    }

    #[test]
    fn the_largest_frame_may_be_in_an_animation() {
        let frame = |side: u16| {
            let side = side.to_le_bytes();
            [&[0, 0, 0, 0x9d, 0x01, 0x2a], &side[..], &side[..]].concat()
        };
        assert_eq!(webp_frame_pixels(&webp(&[])), 0);
        let plain = chunk(b"VP8 ", 10, &frame(100));
        assert_eq!(
            webp_frame_pixels(&webp(std::slice::from_ref(&plain))),
            10_000
        );
        let inner = chunk(b"VP8 ", 10, &frame(16_383));
        let animated = chunk(b"ANMF", 34, &[vec![0; 16], inner].concat());
        assert_eq!(
            webp_frame_pixels(&webp(&[plain, animated])),
            16_383 * 16_383
        );
    }
}
