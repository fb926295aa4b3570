//! What can go wrong with one object, and whether trying again may help.
//!
//! A [`Rejection`] is a fact about the object: it is written to the ledger and the invocation
//! succeeds. Every other [`Error`] is ours, AWS's or the network's: it is reported to Lambda, which
//! tries again and in the end hands the event to the failure destination.

use image::ImageFormat;

/// An error of a client, with its own sources.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an object is refused for good. Its text is the reason people read in the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    /// Zero bytes.
    #[error("the file is empty: upload it again")]
    Empty,
    /// Over MAX_IMAGE_BYTES.
    #[error("the file has {bytes} bytes, over the limit of {limit}")]
    TooManyBytes {
        /// Size of the object.
        bytes: u64,
        /// MAX_IMAGE_BYTES.
        limit: u64,
    },
    /// Over MAX_IMAGE_PIXELS, by the picture's own header.
    #[error("the picture is {width}×{height} pixels, over the limit of {limit} in all")]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// MAX_IMAGE_PIXELS.
        limit: u64,
    },
    /// No image format begins like this.
    #[error("not a picture: send JPEG, PNG or WebP")]
    NotAPicture,
    /// A known format that is not decoded here.
    #[error("{what} is not supported: {todo}")]
    Unsupported {
        /// What it is.
        what: &'static str,
        /// What to do instead.
        todo: &'static str,
    },
    /// The data stops before the picture is complete.
    #[error("the {} file is cut off: upload it again", name(*.0))]
    Truncated(ImageFormat),
    /// The decoder gave up.
    #[error("the {} file is damaged: {reason}", name(*.format))]
    Damaged {
        /// Format by magic bytes.
        format: ImageFormat,
        /// What the decoder said.
        reason: String,
    },
    /// The version was deleted before it could be read.
    #[error("the object version is gone: it was deleted before it could be read")]
    Gone,
    /// The version lies in an archive tier, from which a read takes hours.
    #[error("the object version is archived: restore it and send its event again")]
    Archived,
}

impl Rejection {
    /// Which kind it is: one word of a closed list, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Rejection::Empty => "Empty",
            Rejection::TooManyBytes { .. } => "TooManyBytes",
            Rejection::TooManyPixels { .. } => "TooManyPixels",
            Rejection::NotAPicture => "NotAPicture",
            Rejection::Unsupported { .. } => "Unsupported",
            Rejection::Truncated(_) => "Truncated",
            Rejection::Damaged { .. } => "Damaged",
            Rejection::Gone => "Gone",
            Rejection::Archived => "Archived",
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

/// Why one object did not get its outcome.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The object itself is at fault; the one permanent error.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// S3 did not hand out the object. Whoever reports an error names the object.
    #[error("cannot read the object")]
    Read {
        /// What the client said.
        source: Source,
    },
    /// DynamoDB did not do what was asked.
    #[error("cannot {action} table {table}")]
    Table {
        /// As in "read" or "write to".
        action: &'static str,
        /// Table name.
        table: String,
        /// What the client said.
        source: Source,
    },
    /// An item in the ledger is not as this function writes it.
    #[error("ledger item {key} has no valid {attribute}")]
    LedgerItem {
        /// Its LedgerKey.
        key: String,
        /// The attribute that is missing or of another type.
        attribute: &'static str,
    },
    /// The invocation's time is up.
    #[error("no time left after {attempts} attempts to {action}")]
    Deadline {
        /// What was tried.
        action: &'static str,
        /// How often.
        attempts: u32,
        /// The last failure, where there was one.
        source: Option<Source>,
    },
    /// The model failed on this input or gave numbers that are no probabilities.
    #[error("the model failed: {0}")]
    Model(String),
    /// The thread that decoded or classified went away.
    #[error("the computation was aborted")]
    Aborted(#[source] tokio::task::JoinError),
}

/// `error` and its sources on one line, joined by `: `.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = sources.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}
