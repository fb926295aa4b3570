//! Photos that take much memory.

use std::{fs, io::Cursor};

use fastrand::Rng;
use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{jpeg::JpegEncoder, png::PngEncoder, webp::WebPEncoder},
};

use super::corpus::corpus_file;
use crate::support::{command::test_image, photo::photo, xmp};

/// Just below the default limit of 50 million pixels.
const SIDE: u32 = 7071;

/// A photo, and the most memory that a process may take for it.
pub(crate) struct Photo {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// In MiB.
    pub(crate) bound: u64,
}

/// Small files.
pub(super) fn small() -> Vec<Photo> {
    let declared = fs::read(test_image("bad/60000x60000.png")).unwrap();
    [
        ("a small photo", photo("FAW"), 100),
        ("declared 60000×60000", declared, 100),
    ]
    .map(|(name, bytes, bound)| Photo { name, bytes, bound })
    .into()
}

/// A photo of [`SIDE`]×[`SIDE`] in each format, and a packed profile.
pub(crate) fn large(stated: u64) -> Vec<Photo> {
    let still = webp_lossless(SIDE, ExtendedColorType::Rgba8);
    let animated = webp_animated(&still);
    [
        (
            "PNG with a packed profile",
            png_with_a_packed_profile(),
            200,
        ),
        ("PNG, 8-bit gray", png(SIDE, ExtendedColorType::L8), stated),
        (
            "PNG, 16-bit RGBA",
            png(SIDE, ExtendedColorType::Rgba16),
            stated,
        ),
        ("WebP, animated", animated, stated),
        ("WebP, lossless RGBA", still, stated),
        ("JPEG, progressive", progressive_jpeg(SIDE), stated),
    ]
    .map(|(name, bytes, bound)| Photo { name, bytes, bound })
    .into()
}

/// A black PNG of `side`×`side` pixels.
fn png(side: u32, color: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&zeros(side, color), side, side, color)
        .unwrap();
    bytes
}

/// The pixels of a black photo.
fn zeros(side: u32, color: ExtendedColorType) -> Vec<u8> {
    vec![0; side as usize * side as usize * usize::from(color.bits_per_pixel()) / 8]
}

/// A small PNG with a colour profile that unpacks to hundreds of megabytes.
fn png_with_a_packed_profile() -> Vec<u8> {
    // The data of a black photo is a zlib stream of zeros.
    let black = png(12_000, ExtendedColorType::Rgb8);
    let start = black.windows(4).position(|kind| kind == b"IDAT").unwrap();
    let length = u32::from_be_bytes(black[start - 4..start].try_into().unwrap()) as usize;
    let stream = &black[start + 4..start + 4 + length];
    let profile = xmp::png_chunk(b"iCCP", &[b"bomb\0\0", stream].concat());
    let text = xmp::png_chunk(b"zTXt", &[b"Comment\0\0", stream].concat());
    let mut small = photo("FAW");
    let after_header = 8 + 25;
    small.splice(after_header..after_header, [profile, text].concat());
    small
}

/// A progressive JPEG whose header declares `side`×`side` pixels.
fn progressive_jpeg(side: u32) -> Vec<u8> {
    let mut bytes = corpus_file("jpg/progressive/cat.jpg");
    let frame = bytes
        .windows(2)
        .position(|marker| marker == [0xff, 0xc2])
        .unwrap();
    let side = u16::try_from(side).unwrap().to_be_bytes();
    bytes[frame + 5..frame + 7].copy_from_slice(&side);
    bytes[frame + 7..frame + 9].copy_from_slice(&side);
    bytes
}

/// A JPEG of 12 megapixels, with noise that gives the file the size of a photo.
pub(crate) fn large_photo(random: &mut Rng) -> Vec<u8> {
    let (width, height) = (4000_u16, 3000_u16);
    let pixels = usize::from(width) * usize::from(height);
    let pixels: Vec<u8> = (0..pixels * 3)
        .map(|n| ((n / 3 % usize::from(width) / 16) as u8).wrapping_add(random.u8(..24)))
        .collect();
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, 90)
        .encode(
            &pixels,
            width.into(),
            height.into(),
            ExtendedColorType::Rgb8,
        )
        .unwrap();
    bytes.into_inner()
}

/// A black WebP of `side`×`side` pixels.
fn webp_lossless(side: u32, color: ExtendedColorType) -> Vec<u8> {
    let mut bytes = Vec::new();
    WebPEncoder::new_lossless(&mut bytes)
        .encode(&zeros(side, color), side, side, color)
        .unwrap();
    bytes
}

/// A WebP of `chunks`: kind, declared length and content.
/// <https://developers.google.com/speed/webp/docs/riff_container>
fn webp(chunks: &[(&[u8; 4], u32, &[u8])]) -> Vec<u8> {
    let chunks = chunks
        .iter()
        .map(|(kind, declared, content)| [&kind[..], &declared.to_le_bytes(), content].concat());
    let chunks = chunks.collect::<Vec<_>>().concat();
    let size = u32::try_from(4 + chunks.len()).unwrap().to_le_bytes();
    [b"RIFF", &size[..], b"WEBP", &chunks].concat()
}

/// An animation of one frame, the lossless photo `still` of [`SIDE`]×[`SIDE`] pixels.
fn webp_animated(still: &[u8]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap();
    let side = &(SIDE - 1).to_le_bytes()[..3];
    let canvas = [&[0x12, 0, 0, 0], side, side].concat();
    let frame = [&[0; 6], side, side, &[0; 4], &still[12..]].concat();
    webp(&[
        (b"VP8X", 10, &canvas),
        (b"ANIM", 6, &[0; 6]),
        (b"ANMF", size(&frame), &frame),
    ])
}

/// A WebP of 8×8 pixels whose last chunk declares 4 GB of EXIF.
pub(super) fn webp_that_declares_gigabytes() -> Vec<u8> {
    let still = webp_lossless(8, ExtendedColorType::Rgb8);
    let pixels = &still[20..];
    let size = u32::try_from(pixels.len()).unwrap();
    webp(&[
        (b"VP8X", 10, &[8, 0, 0, 0, 7, 0, 0, 7, 0, 0]),
        (b"VP8L", size, pixels),
        (b"EXIF", u32::MAX - 1, b"II*\0"),
    ])
}
