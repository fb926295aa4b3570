//! Photos, and the model that tells their colours.

use std::{fs, io::Cursor};

use image::{ImageFormat, Rgb, RgbImage};

use super::command::test_image;

/// The environment of a function with a model that tells red, green and blue. It answers in milliseconds.
pub(crate) const COLOR_MODEL: (&str, &str) = (
    "MODEL_DIR",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/color_model"),
);

/// The labels of [`COLOR_MODEL`].
pub(crate) const CLASSES: [&str; 3] = ["AAW", "ECLW", "FAW"];

/// A drawn moth, a JPEG.
pub(crate) fn moth() -> Vec<u8> {
    fs::read(test_image("good/aaw.jpg")).unwrap()
}

/// A photo of one colour, a PNG, that [`COLOR_MODEL`] calls `class`.
pub(crate) fn photo(class: &str) -> Vec<u8> {
    let color = match class {
        "AAW" => [255, 0, 0],
        "ECLW" => [0, 255, 0],
        "FAW" => [0, 0, 255],
        _ => panic!("no color of {class}"),
    };
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(20, 10, Rgb(color))
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}
