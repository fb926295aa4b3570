//! Small pictures of photos, for lists.

use image::{ExtendedColorType, ImageEncoder, codecs::jpeg::JpegEncoder};

use super::{Encoded, Limits, Rejection, resize};
use crate::model::{Input, Layout, Resize};

/// Longest side of a thumbnail, in pixels.
pub(crate) const THUMBNAIL_SIDE: u32 = 320;
/// JPEG quality: about 12 KB for a photo of a moth.
const QUALITY: u8 = 75;

/// A photo whose header has been read, and the size of its thumbnail.
pub(crate) struct Thumbnail<'a> {
    encoded: Encoded<'a>,
    width: u32,
    height: u32,
}

impl<'a> Thumbnail<'a> {
    /// Reads the header of a photo.
    ///
    /// # Errors
    ///
    /// As [`Encoded::open`].
    pub(crate) fn open(bytes: &'a [u8], limits: Limits) -> Result<Self, Rejection> {
        let encoded = Encoded::open(bytes, limits)?;
        let properties = encoded.properties();
        let (width, height) = fit(properties.width, properties.height);
        Ok(Self {
            encoded,
            width,
            height,
        })
    }

    /// Pixels of the photo.
    pub(crate) fn pixels(&self) -> u64 {
        self.encoded.pixels()
    }

    /// The thumbnail: a JPEG, upright, without metadata.
    ///
    /// # Errors
    ///
    /// As [`Encoded::decode`].
    pub(crate) fn jpeg(self) -> Result<Vec<u8>, Rejection> {
        let size = Input {
            name: String::new(),
            layout: Layout::Nhwc,
            width: self.width,
            height: self.height,
        };
        let image = self.encoded.decode(&size)?;
        let small = resize(&image, &size, Resize::Bicubic);
        let mut jpeg = Vec::new();
        let encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
        let written = encoder.write_image(
            small.as_raw(),
            small.width(),
            small.height(),
            ExtendedColorType::Rgb8,
        );
        match written {
            Ok(()) => Ok(jpeg),
            // The buffer has the length that belongs to the size, and a vector accepts every byte.
            Err(error) => Err(Rejection::Damaged {
                format: image::ImageFormat::Jpeg,
                reason: error.to_string(),
            }),
        }
    }
}

/// The size within [`THUMBNAIL_SIDE`] that has the same aspect ratio; a small photo keeps its size.
fn fit(width: u32, height: u32) -> (u32, u32) {
    let longest = width.max(height);
    if longest <= THUMBNAIL_SIDE {
        return (width, height);
    }
    let scaled = |side: u32| {
        let scaled = u64::from(side) * u64::from(THUMBNAIL_SIDE) / u64::from(longest);
        // At most THUMBNAIL_SIDE.
        (scaled as u32).max(1)
    };
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbnail_keeps_the_aspect_ratio() {
        assert_eq!(fit(4000, 3000), (320, 240));
        assert_eq!(fit(3000, 4000), (240, 320));
        assert_eq!(fit(400, 300), (320, 240));
        assert_eq!(fit(100, 300), (100, 300));
        assert_eq!(fit(65_535, 1), (320, 1));
    }

    #[test]
    fn a_thumbnail_is_a_small_jpeg() {
        let bytes = include_bytes!("../../test_images/good/aaw.jpg");
        let limits = Limits {
            bytes: 1 << 20,
            pixels: 1 << 20,
        };
        let jpeg = Thumbnail::open(bytes, limits).unwrap().jpeg().unwrap();
        let image = image::load_from_memory(&jpeg).unwrap();
        assert_eq!((image.width(), image.height()), (320, 240));
        assert!(jpeg.len() < 20_000, "{} bytes", jpeg.len());
    }
}
