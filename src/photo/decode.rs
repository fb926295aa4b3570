//! Photo bytes → RGB image.

use std::io::Cursor;

use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits as DecoderLimits,
    metadata::Orientation,
};

use super::{
    exif::Exif,
    jpeg,
    metadata::Metadata,
    orientation,
    rejection::Rejection,
    segments::{jpeg_is_complete, webp_frame_pixels},
    sniff::sniff,
    stored::{Image, stored_size, swaps_axes},
};
use crate::model::Input;

/// Memory for a header and for one row of a PNG. The PNG decoder expands colour profiles and texts while
/// it reads the header, and some hundred kilobytes of them can expand to hundreds of megabytes.
const HEADER_BYTES: u64 = 64 << 20;

/// Upper limits on the size of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// MAX_IMAGE_BYTES: the largest object that is downloaded, in bytes.
    pub bytes: u64,
    /// MAX_IMAGE_PIXELS: the largest width × height that is decoded.
    pub pixels: u64,
}

/// A JPEG, PNG or WebP file whose header has been read.
pub struct Encoded<'a> {
    bytes: &'a [u8],
    format: ImageFormat,
    decoder: Box<dyn ImageDecoder + 'a>,
    orientation: Orientation,
    /// A TIFF structure.
    exif: Option<&'a [u8]>,
    limits: Limits,
}

/// What a photo's file says about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    /// Columns of the upright photo.
    pub width: u32,
    /// Rows of the upright photo.
    pub height: u32,
    /// EXIF.
    pub exif: Exif,
}

impl<'a> Encoded<'a> {
    /// Reads the header of a file. Its first bytes tell the format.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if the file is no photo that this function decodes. The size that the header
    /// declares is checked against `limits` before any pixel is allocated.
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
                reason: format!("its size is {width}×{height} pixels"),
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
                reason: format!("a frame is larger than the canvas of {width}×{height} pixels"),
            });
        }
        let metadata = Metadata::of(format, bytes);
        Ok(Self {
            bytes,
            format,
            decoder: Box::new(decoder),
            orientation: orientation::read(&metadata),
            exif: metadata.exif,
            limits,
        })
    }

    /// Declared width × height, which is within the limit.
    pub fn pixels(&self) -> u64 {
        let (width, height) = self.decoder.dimensions();
        u64::from(width) * u64::from(height)
    }

    /// Reads what the file says about the photo.
    pub fn properties(&self) -> Properties {
        let (width, height) = self.decoder.dimensions();
        let [width, height] = match swaps_axes(self.orientation) {
            true => [height, width],
            false => [width, height],
        };
        Properties {
            width,
            height,
            exif: Exif::read(self.exif),
        }
    }

    /// Decodes the photo into RGB, as large as `input` needs it. Of an animation this is the first frame.
    ///
    /// As in Pillow's `convert("RGB")`, alpha is dropped, gray is repeated, and CMYK becomes RGB without
    /// a colour profile. 16-bit levels are scaled to 8 bits and rounded. Pillow truncates them to their
    /// high byte, and clips gray ones at 255, which turns most of a photo white.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] if the file is damaged.
    pub fn decode(mut self, input: &Input) -> Result<Image, Rejection> {
        let rejected = |error| rejection(self.format, error);
        // `into_decoder` applies the limits to PNG alone. A 16-bit RGBA pixel has 8 bytes, and a decoder
        // may hold its output and one working copy.
        self.decoder
            .set_limits(decoder_limits(
                self.limits
                    .pixels
                    .saturating_mul(16)
                    .saturating_add(HEADER_BYTES),
            ))
            .map_err(rejected)?;
        let orientation = self.orientation;
        if self.format == ImageFormat::Jpeg
            && let Some(pixels) = jpeg::decode_reduced(
                self.bytes,
                self.decoder.dimensions(),
                stored_size(input, orientation),
            )
        {
            return Ok(Image {
                pixels,
                orientation,
            });
        }
        let pixels = DynamicImage::from_decoder(self.decoder)
            .map_err(rejected)?
            .into_rgb8();
        Ok(Image {
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

#[cfg(test)]
mod tests {
    use image::{
        ImageEncoder, RgbImage,
        codecs::{jpeg::JpegEncoder, png::PngEncoder},
    };

    use super::*;
    use crate::model::Layout;

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

    fn decode(bytes: &[u8], limits: Limits) -> Result<Image, Rejection> {
        Encoded::open(bytes, limits)?.decode(&input(224, 224))
    }

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let pixels = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 99]));
        JpegEncoder::new(&mut bytes).encode_image(&pixels).unwrap();
        bytes
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
    fn a_jpeg_without_end_marker_is_truncated() {
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
    fn a_broken_huffman_table_is_damage() {
        let mut bytes = jpeg(64, 48);
        let marker = |bytes: &[u8], marker| bytes.windows(2).position(|b| b == [0xff, marker]);
        // 200 codes of one bit: at most two exist.
        let tables = marker(&bytes, 0xc4).unwrap();
        bytes[tables + 5] = 200;
        let error = decode(&bytes, LIMITS).err().unwrap();
        assert!(
            error.to_string().starts_with("the JPEG file is damaged: "),
            "{error}"
        );
    }

    #[test]
    fn an_end_marker_inside_a_thumbnail_does_not_count() {
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
    fn a_png_that_ends_after_its_signature_is_truncated() {
        let error = decode(b"\x89PNG\r\n\x1a\n", LIMITS).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the PNG file is cut off: upload it again"
        );
    }

    #[test]
    fn levels_of_16_bits_are_scaled() {
        use image::ExtendedColorType::{L16, Rgb16};
        // Pillow converts these gray levels to 0, 255, 255, 255, 255.
        let levels = [0, 255, 256, 32_896, u16::MAX];
        let scaled = [0, 1, 1, 128, 255];
        // The encoder expects native byte order.
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
