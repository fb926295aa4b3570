//! A decoded image in the orientation in which it is stored.

use image::{RgbImage, metadata::Orientation};

use crate::model::Input;

/// A decoded photo.
pub struct Image {
    /// Pixels as stored; those of a large JPEG are reduced to 1/2, 1/4 or 1/8 of its width and height.
    pub pixels: RgbImage,
    /// Transformation that shows the image upright.
    pub orientation: Orientation,
}

/// Whether stored rows become columns of the upright image.
pub(super) fn swaps_axes(orientation: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(
        orientation,
        Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
    )
}

/// Width and height of the model's input before the image is turned upright.
pub(super) fn stored_size(input: &Input, orientation: Orientation) -> (u32, u32) {
    match swaps_axes(orientation) {
        true => (input.height, input.width),
        false => (input.width, input.height),
    }
}
