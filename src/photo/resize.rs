//! RGB image → upright RGB image of the model's size.

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, images as buffers,
};
use image::{DynamicImage, RgbImage};

use super::stored::{Image, stored_size, swaps_axes};
use crate::model::{Input, Resize};

/// Largest intermediate image between the two passes of a resize, in pixels. A JPEG with the maximum
/// height of 65,535 pixels needs 14.7 million for 224×224. A PNG of one column could need billions.
const MAX_INTERMEDIATE: u64 = 16 << 20;

/// Resizes `image` to the size of `input` and turns it upright. The result is within 2 levels of
/// Pillow's `resize`.
///
/// Pillow filters rows first and rounds to 8 bits before it filters columns. This does the same on the
/// image in upright orientation. The filter is symmetric, so the 224×224 result can be turned instead of
/// the twelve million pixels of the photo.
pub fn resize(image: &Image, input: &Input, filter: Resize) -> RgbImage {
    let size = stored_size(input, image.orientation);
    let intermediate = intermediate_size(
        image.pixels.dimensions(),
        size,
        swaps_axes(image.orientation),
    );
    let half = scale(&image.pixels, intermediate, filter);
    let mut upright = DynamicImage::ImageRgb8(scale(&half, size, filter));
    upright.apply_orientation(image.orientation);
    upright.into_rgb8()
}

/// Size between the two passes: that of Pillow, unless it exceeds [`MAX_INTERMEDIATE`].
fn intermediate_size(source: (u32, u32), target: (u32, u32), swaps_axes: bool) -> (u32, u32) {
    let rows_first = (target.0, source.1);
    let columns_first = (source.0, target.1);
    let (pillow, other) = match swaps_axes {
        true => (columns_first, rows_first),
        false => (rows_first, columns_first),
    };
    match u64::from(pillow.0) * u64::from(pillow.1) <= MAX_INTERMEDIATE {
        true => pillow,
        false => other,
    }
}

#[expect(
    clippy::expect_used,
    reason = "an RgbImage has 3 bytes a pixel, and `Encoded::open` and `Manifest` refuse a size of 0"
)]
fn scale(pixels: &RgbImage, (width, height): (u32, u32), filter: Resize) -> RgbImage {
    let filter = match filter {
        Resize::Bicubic => FilterType::CatmullRom,
        Resize::Bilinear => FilterType::Bilinear,
    };
    let source = buffers::ImageRef::new(
        pixels.width(),
        pixels.height(),
        pixels.as_raw(),
        PixelType::U8x3,
    )
    .expect("3 bytes a pixel");
    let mut target = buffers::Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("both buffers are U8x3");
    RgbImage::from_raw(width, height, target.into_vec()).expect("3 bytes a pixel")
}

#[cfg(test)]
mod tests {
    use image::metadata::Orientation;

    use super::*;
    use crate::model::Layout;

    fn input(width: u32, height: u32) -> Input {
        Input {
            name: "image".into(),
            layout: Layout::Nhwc,
            width,
            height,
        }
    }

    #[test]
    fn turning_after_the_resize_equals_turning_before() {
        let input = input(9, 7);
        let pixels = RgbImage::from_fn(31, 20, |x, y| {
            image::Rgb([(x * 8) as u8, (y * 12) as u8, 7])
        });
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut turned = DynamicImage::ImageRgb8(pixels.clone());
            turned.apply_orientation(orientation);
            let before = Image {
                pixels: turned.into_rgb8(),
                orientation: Orientation::NoTransforms,
            };
            let after = Image {
                pixels: pixels.clone(),
                orientation,
            };
            let [before, after] =
                [before, after].map(|image| resize(&image, &input, Resize::Bicubic));
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
    fn the_passes_have_pillows_order_unless_memory_forbids_it() {
        let target = (224, 224);
        assert_eq!(intermediate_size((4000, 3000), target, false), (224, 3000));
        assert_eq!(intermediate_size((4000, 3000), target, true), (4000, 224));
        assert_eq!(intermediate_size((1, 65_535), target, false), (224, 65_535));
        // With rows first, a column of 50 million pixels would become 11 billion.
        assert_eq!(intermediate_size((1, 50_000_000), target, false), (1, 224));
        assert_eq!(intermediate_size((50_000_000, 1), target, true), (224, 1));
    }
}
