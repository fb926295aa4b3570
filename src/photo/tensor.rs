//! Upright RGB image → input tensor.

use std::array;

use image::RgbImage;

use super::{resize::resize, stored::Image};
use crate::model::{Color, Input, InputTensor, Layout, Preprocess};

/// Resizes `image` to the size of `input`, turns it upright, and converts it to the tensor that the
/// manifest describes.
pub fn tensor(image: &Image, input: &Input, preprocess: &Preprocess) -> InputTensor {
    normalize(
        &resize(image, input, preprocess.resize),
        input.layout,
        preprocess,
    )
}

fn normalize(pixels: &RgbImage, layout: Layout, preprocess: &Preprocess) -> InputTensor {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let channels = match preprocess.color {
        Color::Rgb => [0, 1, 2],
        Color::Bgr => [2, 1, 0],
    };
    // A lookup table for each channel: a level has 256 values.
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
    use super::*;
    use crate::model::Resize;

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
    fn the_manifest_tells_how_pixels_become_numbers() {
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
    fn both_layouts_have_the_same_values() {
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
}
