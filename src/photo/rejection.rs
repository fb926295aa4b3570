//! Why a photo is rejected for good.

use image::ImageFormat;

/// A fact about a photo that no retry changes. Its text is the reason that people read in the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Zero bytes.
    #[error("the file is empty: upload it again")]
    Empty,
    /// Larger than MAX_IMAGE_BYTES.
    #[error(
        "the file has {bytes} bytes, over the limit of {limit} (MAX_IMAGE_BYTES): send a smaller photo"
    )]
    TooManyBytes {
        /// Size of the object.
        bytes: u64,
        /// MAX_IMAGE_BYTES.
        limit: u64,
    },
    /// Larger than MAX_IMAGE_PIXELS, by the size that the file's header declares.
    #[error(
        "the photo has {width}×{height} pixels, over the limit of {limit} (MAX_IMAGE_PIXELS): send a smaller one"
    )]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// MAX_IMAGE_PIXELS.
        limit: u64,
    },
    /// The first bytes are those of no known format.
    #[error("not a photo: send JPEG, PNG or WebP")]
    NotAPhoto,
    /// A known format or coding that this function does not decode.
    #[error("{what} is not supported: {todo}")]
    Unsupported {
        /// Name of the format.
        what: &'static str,
        /// What the sender should do instead.
        todo: &'static str,
    },
    /// The data ends before the image is complete.
    #[error("the {} file is cut off: upload it again", name(*.0))]
    Truncated(ImageFormat),
    /// The decoder gave up.
    #[error("the {} file is damaged: {reason}", name(*.format))]
    Damaged {
        /// Format by the first bytes.
        format: ImageFormat,
        /// The decoder's error.
        reason: String,
    },
    /// The version was deleted before it could be read.
    #[error("the object version is gone: it was deleted before it could be read")]
    Gone,
}

impl Rejection {
    /// One word from a closed list, as a metric dimension.
    pub fn kind(&self) -> &'static str {
        match self {
            Rejection::Empty => "Empty",
            Rejection::TooManyBytes { .. } => "TooManyBytes",
            Rejection::TooManyPixels { .. } => "TooManyPixels",
            // An older name, so that dashboards and alarms keep their history.
            Rejection::NotAPhoto => "NotAPicture",
            Rejection::Unsupported { .. } => "Unsupported",
            Rejection::Truncated(_) => "Truncated",
            Rejection::Damaged { .. } => "Damaged",
            Rejection::Gone => "Gone",
        }
    }
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        _ => "image",
    }
}
