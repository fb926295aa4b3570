//! Bytes → RGB pixels → input tensor. Nothing here trusts the bytes.

use std::{array, io::Cursor};

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits as DecoderLimits,
    RgbImage, metadata::Orientation,
};

use crate::{
    config::Limits,
    container::{jpeg_is_complete, webp_frame_pixels},
    error::Rejection,
    format::sniff,
    jpeg,
    manifest::{Color, Input, Layout, Preprocess, Resize},
    orientation,
};

/// The most pixels between the two passes of a resize. A picture 65,535 pixels high, the most a JPEG
/// can be, needs 14.7 million on its way to 224×224; a PNG of one column could ask for billions.
const MAX_BETWEEN: u64 = 16 << 20;

/// What a header may take, and PNG's rows: its decoder unpacks colour profiles and texts while it reads
/// the header, and hundreds of megabytes pack into some hundred kilobytes.
const HEADER_BYTES: u64 = 64 << 20;

/// A decoded picture as it lies in the file, with the way it is to be turned.
pub struct Picture {
    /// Pixels as stored; of a large photo, a half, a quarter or an eighth as many across and down.
    pub pixels: RgbImage,
    /// What EXIF or XMP says to do before showing them.
    pub orientation: Orientation,
}

/// One image as the model wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct InputTensor {
    /// Four axes in the manifest's layout; the batch is 1.
    pub shape: [usize; 4],
    /// Row-major values.
    pub values: Vec<f32>,
}

/// A JPEG, PNG or WebP file whose header was read.
pub struct Encoded<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    decoder: Box<dyn ImageDecoder + 'a>,
    limits: Limits,
}

impl<'a> Encoded<'a> {
    /// Reads the header of a file, whose format its first bytes tell.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] that says why these bytes are no picture for us. The limits are held against
    /// the size that the header declares, before pixels are allocated.
    pub fn open(bytes: &'a [u8], limits: Limits) -> Result<Self, Rejection> {
        let format = sniff(bytes)?;
        if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
            return Err(Rejection::Truncated(format));
        }
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(decoder_limits(HEADER_BYTES));
        let decoder = reader
            .into_decoder()
            .map_err(|error| rejection(format, error))?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(Rejection::Damaged {
                format,
                reason: format!("it is {width}×{height} pixels"),
            });
        }
        if u64::from(width) * u64::from(height) > limits.pixels {
            return Err(Rejection::TooManyPixels {
                width,
                height,
                limit: limits.pixels,
            });
        }
        if format == ImageFormat::WebP
            && webp_frame_pixels(bytes) > u64::from(width) * u64::from(height)
        {
            return Err(Rejection::Damaged {
                format,
                reason: format!("a frame is larger than the picture, {width}×{height} pixels"),
            });
        }
        Ok(Self {
            bytes,
            format,
            decoder: Box::new(decoder),
            limits,
        })
    }

    /// Width × height as declared; within the limit.
    pub fn pixels(&self) -> u64 {
        let (width, height) = self.decoder.dimensions();
        u64::from(width) * u64::from(height)
    }

    /// Decodes into RGB what is to become `input`. Of an animation this is the first frame.
    ///
    /// As Pillow's `convert("RGB")` does it, alpha is dropped, gray is repeated, and CMYK becomes RGB without
    /// a colour profile. 16-bit levels are scaled to 8 bits and rounded; Pillow takes their high bytes, and
    /// clips gray ones at 255, which makes nearly all of a photo white.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] where the file is damaged.
    pub fn decode(mut self, input: &Input) -> Result<Picture, Rejection> {
        let rejected = |error| rejection(self.format, error);
        // `into_decoder` leaves the limits off for all but PNG. 8 bytes a pixel are 16-bit RGBA, and a
        // decoder may hold its output and one working copy.
        self.decoder
            .set_limits(decoder_limits(
                self.limits
                    .pixels
                    .saturating_mul(16)
                    .saturating_add(HEADER_BYTES),
            ))
            .map_err(rejected)?;
        let orientation = orientation::read(self.format, self.bytes);
        if self.format == ImageFormat::Jpeg
            && let Some(pixels) = jpeg::reduced(
                self.bytes,
                self.decoder.dimensions(),
                stored_size(input, orientation),
            )
        {
            return Ok(Picture {
                pixels,
                orientation,
            });
        }
        let pixels = DynamicImage::from_decoder(self.decoder)
            .map_err(rejected)?
            .into_rgb8();
        Ok(Picture {
            pixels,
            orientation,
        })
    }
}

fn decoder_limits(bytes: u64) -> DecoderLimits {
    let mut limits = DecoderLimits::no_limits();
    limits.max_alloc = Some(bytes);
    limits
}

fn rejection(format: ImageFormat, error: ImageError) -> Rejection {
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Rejection::Truncated(format)
        }
        error => Rejection::Damaged {
            format,
            reason: error.to_string(),
        },
    }
}

/// Resizes `picture` to the input's width and height, turns it upright and makes it the tensor that
/// the manifest describes.
pub fn tensor(picture: &Picture, input: &Input, preprocess: &Preprocess) -> InputTensor {
    normalize(
        &resize(picture, input, preprocess.resize),
        input.layout,
        preprocess,
    )
}

/// Resizes as Pillow's `resize` does, within 2 levels, and turns upright.
///
/// Pillow filters rows first and rounds to 8 bits before it filters columns; so does this, seen in the
/// upright picture. The filter is symmetric: turning 224×224 pixels afterwards is the same as turning
/// twelve million before.
pub fn resize(picture: &Picture, input: &Input, filter: Resize) -> RgbImage {
    let size = stored_size(input, picture.orientation);
    let between = between(
        picture.pixels.dimensions(),
        size,
        is_turned(picture.orientation),
    );
    let half = scale(&picture.pixels, between, filter);
    let mut upright = DynamicImage::ImageRgb8(scale(&half, size, filter));
    upright.apply_orientation(picture.orientation);
    upright.into_rgb8()
}

/// Whether the stored rows are the columns of what is shown.
fn is_turned(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
}

/// The size of the input before it is turned upright.
fn stored_size(input: &Input, orientation: Orientation) -> (u32, u32) {
    match is_turned(orientation) {
        true => (input.height, input.width),
        false => (input.width, input.height),
    }
}

/// The size between the two passes of a resize: Pillow's, unless it is over [`MAX_BETWEEN`].
fn between(source: (u32, u32), target: (u32, u32), is_turned: bool) -> (u32, u32) {
    let rows_first = (target.0, source.1);
    let columns_first = (source.0, target.1);
    let (pillows, other) = match is_turned {
        true => (columns_first, rows_first),
        false => (rows_first, columns_first),
    };
    match u64::from(pillows.0) * u64::from(pillows.1) <= MAX_BETWEEN {
        true => pillows,
        false => other,
    }
}

#[expect(
    clippy::expect_used,
    reason = "an RgbImage holds 3 bytes a pixel, and no size is 0: `decode` and `Manifest` see to it"
)]
fn scale(pixels: &RgbImage, (width, height): (u32, u32), filter: Resize) -> RgbImage {
    let filter = match filter {
        Resize::Bicubic => FilterType::CatmullRom,
        Resize::Bilinear => FilterType::Bilinear,
    };
    let source = ImageRef::new(
        pixels.width(),
        pixels.height(),
        pixels.as_raw(),
        PixelType::U8x3,
    )
    .expect("3 bytes a pixel");
    let mut target = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both are U8x3");
    RgbImage::from_raw(width, height, target.into_vec()).expect("3 bytes a pixel")
}

fn normalize(pixels: &RgbImage, layout: Layout, preprocess: &Preprocess) -> InputTensor {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let channels = match preprocess.color {
        Color::Rgb => [0, 1, 2],
        Color::Bgr => [2, 1, 0],
    };
    // A level has 256 values: each channel's arithmetic is done once for each.
    let levels: [[f32; 256]; 3] = array::from_fn(|c| {
        array::from_fn(|level| {
            (level as f32 * preprocess.scale - preprocess.mean[c]) / preprocess.std[c]
        })
    });
    let value = |pixel: &[u8; 3], c: usize| levels[c][usize::from(pixel[channels[c]])];
    let (rgb, _) = pixels.as_raw().as_chunks::<3>();
    let mut values = Vec::with_capacity(rgb.len() * 3);
    let shape = match layout {
        Layout::Nhwc => {
            values.extend(
                rgb.iter()
                    .flat_map(|pixel| [0, 1, 2].map(|c| value(pixel, c))),
            );
            [1, height, width, 3]
        }
        Layout::Nchw => {
            for c in 0..3 {
                values.extend(rgb.iter().map(|pixel| value(pixel, c)));
            }
            [1, 3, height, width]
        }
    };
    InputTensor { shape, values }
}

#[cfg(test)]
mod tests {
    use image::{ImageEncoder, codecs::jpeg::JpegEncoder, codecs::png::PngEncoder};

    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 1 << 20,
        pixels: 10_000,
    };

    fn input(width: u32, height: u32) -> Input {
        Input {
            name: "image".into(),
            layout: Layout::Nhwc,
            width,
            height,
        }
    }

    fn decode(bytes: &[u8], limits: Limits) -> Result<Picture, Rejection> {
        Encoded::open(bytes, limits)?.decode(&input(224, 224))
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 99]));
        JpegEncoder::new(&mut bytes).encode_image(&pixels).unwrap();
        bytes
    }

    fn preprocess(color: Color, scale: f32, mean: [f32; 3], std: [f32; 3]) -> Preprocess {
        Preprocess {
            resize: Resize::Bicubic,
            color,
            scale,
            mean,
            std,
        }
    }

    #[test]
    fn size_limits_hold_before_pixels_are_allocated() {
        assert!(decode(&jpeg(100, 100), LIMITS).is_ok());
        let error = decode(&jpeg(101, 100), LIMITS).err().unwrap();
        assert!(matches!(
            error,
            Rejection::TooManyPixels {
                width: 101,
                height: 100,
                limit: 10_000
            }
        ));
    }

    #[test]
    fn a_jpeg_must_reach_its_end() {
        let whole = jpeg(64, 48);
        for end in [whole.len() - 1, whole.len() / 2, 700, 30, 3] {
            let error = decode(&whole[..end], LIMITS).err().unwrap();
            assert!(
                matches!(error, Rejection::Truncated(ImageFormat::Jpeg)),
                "{end}: {error}"
            );
        }
        let mut with_trailer = whole.clone();
        with_trailer.extend(b"appended by a phone");
        assert!(decode(&with_trailer, LIMITS).is_ok());
    }

    #[test]
    fn a_damaged_baseline_jpeg_is_damaged() {
        let mut bytes = jpeg(64, 48);
        let marker = |bytes: &[u8], marker| bytes.windows(2).position(|b| b == [0xff, marker]);
        // More codes of one bit than there are.
        let tables = marker(&bytes, 0xc4).unwrap();
        bytes[tables + 5] = 200;
        let error = decode(&bytes, LIMITS).err().unwrap();
        assert!(
            error.to_string().starts_with("the JPEG file is damaged: "),
            "{error}"
        );
    }

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end() {
        let whole = jpeg(64, 48);
        let thumbnail = jpeg(8, 8);
        let mut bytes = vec![0xff, 0xd8, 0xff, 0xe1];
        bytes.extend(u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes());
        bytes.extend(&thumbnail);
        bytes.extend(&whole[2..]);
        assert!(jpeg_is_complete(&bytes));
        assert!(!jpeg_is_complete(&bytes[..bytes.len() - 20]));
    }

    #[test]
    fn a_png_that_is_only_a_signature_is_cut_off() {
        let error = decode(b"\x89PNG\r\n\x1a\n", LIMITS).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the PNG file is cut off: upload it again"
        );
    }

    #[test]
    fn pixels_become_numbers_as_the_manifest_says() {
        let pixel = RgbImage::from_pixel(1, 1, image::Rgb([255, 51, 0]));
        let values = |preprocess| normalize(&pixel, Layout::Nhwc, &preprocess).values;
        let (zero, one) = ([0.0; 3], [1.0; 3]);
        assert_eq!(
            values(preprocess(Color::Rgb, 1.0, zero, one)),
            [255.0, 51.0, 0.0]
        );
        assert_eq!(
            values(preprocess(Color::Bgr, 1.0, [103.939, 116.779, 123.68], one)),
            [0.0 - 103.939, 51.0 - 116.779, 255.0 - 123.68]
        );
        for (scheme, expected) in [
            (
                preprocess(Color::Rgb, 1.0 / 255.0, zero, one),
                [1.0, 0.2, 0.0],
            ),
            (
                preprocess(Color::Rgb, 1.0 / 127.5, one, one),
                [1.0, -0.6, -1.0],
            ),
        ] {
            for (value, expected) in values(scheme).iter().zip(expected) {
                assert!((value - expected).abs() < 1e-6, "{value} is not {expected}");
            }
        }
    }

    #[test]
    fn layouts_hold_the_same_values() {
        let pixels = RgbImage::from_fn(2, 1, |x, _| image::Rgb([x as u8, 10, 20]));
        let raw = preprocess(Color::Rgb, 1.0, [0.0; 3], [1.0; 3]);
        let nhwc = normalize(&pixels, Layout::Nhwc, &raw);
        assert_eq!(
            (nhwc.shape, nhwc.values),
            ([1, 1, 2, 3], vec![0.0, 10.0, 20.0, 1.0, 10.0, 20.0])
        );
        let nchw = normalize(&pixels, Layout::Nchw, &raw);
        assert_eq!(
            (nchw.shape, nchw.values),
            ([1, 3, 1, 2], vec![0.0, 1.0, 10.0, 10.0, 20.0, 20.0])
        );
    }

    #[test]
    fn turning_after_the_resize_is_turning_before() {
        let input = input(9, 7);
        let pixels = RgbImage::from_fn(31, 20, |x, y| {
            image::Rgb([(x * 8) as u8, (y * 12) as u8, 7])
        });
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut turned = DynamicImage::ImageRgb8(pixels.clone());
            turned.apply_orientation(orientation);
            let before = Picture {
                pixels: turned.into_rgb8(),
                orientation: Orientation::NoTransforms,
            };
            let after = Picture {
                pixels: pixels.clone(),
                orientation,
            };
            let [before, after] = [before, after].map(|p| resize(&p, &input, Resize::Bicubic));
            assert_eq!(before.dimensions(), after.dimensions());
            let difference = before
                .iter()
                .zip(after.iter())
                .map(|(a, b)| a.abs_diff(*b))
                .max();
            assert!(difference <= Some(1), "orientation {exif}: {difference:?}");
        }
    }

    #[test]
    fn the_passes_are_pillows_where_memory_allows() {
        let target = (224, 224);
        assert_eq!(between((4000, 3000), target, false), (224, 3000));
        assert_eq!(between((4000, 3000), target, true), (4000, 224));
        assert_eq!(between((1, 65_535), target, false), (224, 65_535));
        // One column of 50 million pixels would become 11 billion.
        assert_eq!(between((1, 50_000_000), target, false), (1, 224));
        assert_eq!(between((50_000_000, 1), target, true), (224, 1));
    }

    #[test]
    fn levels_of_16_bits_are_scaled() {
        use image::ExtendedColorType::{L16, Rgb16};
        // Pillow makes 0, 255, 255, 255, 255 of these if they are gray.
        let levels = [0, 255, 256, 32_896, u16::MAX];
        let scaled = [0, 1, 1, 128, 255];
        // The encoder takes native byte order.
        let bytes: Vec<u8> = levels.into_iter().flat_map(u16::to_ne_bytes).collect();
        let png = |bytes: &[u8], width, color| {
            let mut file = Vec::new();
            let encoder = PngEncoder::new(&mut file);
            encoder.write_image(bytes, width, 1, color).unwrap();
            decode(&file, LIMITS).unwrap().pixels.into_raw()
        };
        assert_eq!(png(&bytes, 5, L16), scaled.map(|level| [level; 3]).concat());
        assert_eq!(png(&bytes[..6], 1, Rgb16), scaled[..3]);
    }

    #[test]
    fn alpha_is_dropped() {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(&[1, 2, 3, 0], 1, 1, image::ExtendedColorType::Rgba8)
            .unwrap();
        assert_eq!(decode(&bytes, LIMITS).unwrap().pixels.into_raw(), [1, 2, 3]);
    }
}
