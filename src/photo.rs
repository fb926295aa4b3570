//! Photo bytes → RGB image → input tensor. Every step treats the bytes as hostile.
//!
//! ```text
//! bytes ─ sniff ─▶ format ─ Encoded::open ─▶ header within the limits ─ Encoded::decode ─▶ Image
//!   ─ resize ─▶ upright RGB image of the model's size ─ tensor ─▶ InputTensor
//! ```
//!
//! A photo that cannot become a tensor gets a [`Rejection`]: a reason that tells its sender what to do.

mod decode;
mod exif;
mod jpeg;
mod metadata;
mod orientation;
mod rejection;
mod resize;
mod segments;
mod sniff;
mod stored;
mod tensor;
mod thumbnail;

pub use decode::{Encoded, Limits, Properties};
pub use exif::{Exif, Position};
pub use rejection::Rejection;
pub use resize::resize;
pub(crate) use sniff::{format_name, sniff};
pub use stored::Image;
pub use tensor::tensor;
pub(crate) use thumbnail::{THUMBNAIL_SIDE, Thumbnail};
