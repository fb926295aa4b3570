//! The errors of the store, and the text of an error chain.

use std::error::Error;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

/// Why the store refused a request or could not serve it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error(
        "object store {} is in use by another process: stop that process, or choose another folder",
        folder.display()
    )]
    InUse {
        /// The folder of the store.
        folder: PathBuf,
    },
    /// SQLite failed.
    #[error("metadata of the object store could not be read or written")]
    Database(#[from] rusqlite::Error),
    /// The metadata database and the blobs break an invariant of the store.
    #[error("object store is damaged: {what}")]
    Damaged {
        /// The invariant that does not hold, with the names of the row or file.
        what: String,
        /// The parser's error, where a parser found the damage.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// Metadata could not be written as JSON.
    #[error("metadata of the object store could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// A file or folder of the store could not be read or written.
    #[error("file {} of the object store could not be read or written", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The blocking task panicked, or the runtime is shutting down.
    #[error("work on the object store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The bucket name breaks S3's naming rules.
    #[error("bucket name {0} is not valid")]
    InvalidBucketName(String),
    /// The bucket does not exist.
    #[error("bucket {0} does not exist")]
    NoSuchBucket(String),
    /// The bucket exists already.
    #[error("bucket {0} exists already")]
    BucketExists(String),
    /// The bucket holds objects, noncurrent versions or delete markers.
    #[error("bucket {0} is not empty: delete its versions and delete markers first")]
    BucketNotEmpty(String),
    /// The object does not exist, or its latest version is a delete marker.
    #[error("object {key} does not exist")]
    NoSuchKey {
        /// The object's key.
        key: String,
        /// Version id of the delete marker that hides the object.
        marker: Option<String>,
    },
    /// The object has no version with this id.
    #[error("object {key} has no version {version}")]
    NoSuchVersion {
        /// The object's key.
        key: String,
        /// The requested version id.
        version: String,
    },
    /// The requested version is a delete marker, which has no content.
    #[error("version {version} of object {key} is a delete marker")]
    IsDeleteMarker {
        /// The object's key.
        key: String,
        /// The requested version id.
        version: String,
        /// Time at which the marker was created.
        modified: DateTime<Utc>,
    },
    /// The text is not a version id.
    #[error("version id {0:?} is malformed")]
    InvalidVersionId(String),
    /// A condition of the request does not hold.
    #[error("condition {condition} on object {key} does not hold")]
    PreconditionFailed {
        /// The object's key.
        key: String,
        /// The request header that states the condition.
        condition: &'static str,
    },
    /// The multipart upload does not exist, or it was completed or aborted.
    #[error("multipart upload {0} does not exist")]
    NoSuchUpload(String),
    /// A part in the list of a completion was not uploaded, or has another ETag or checksum.
    #[error("part {0} of the upload was not found as listed")]
    InvalidPart(i32),
    /// The part numbers in the list of a completion do not ascend.
    #[error("parts of the upload are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is smaller than S3's minimum of 5 MiB.
    #[error("part {number} of the upload has {size} bytes, fewer than 5 MiB")]
    PartTooSmall {
        /// The part's number.
        number: i32,
        /// Its size in bytes.
        size: u64,
    },
    /// The received bytes do not have the digest that the client sent.
    #[error("{0} does not match the bytes received")]
    BadDigest(&'static str),
    /// The request contradicts itself or the state of the store.
    #[error("{0}")]
    InvalidRequest(&'static str),
}

impl StoreError {
    /// Adds `path` to an I/O error.
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// A broken invariant that this crate found itself.
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged {
            what: what.into(),
            source: None,
        }
    }

    /// A broken invariant that a parser found.
    pub(crate) fn unparsable<E>(what: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        let what = what.into();
        move |source| Self::Damaged {
            what,
            source: Some(Box::new(source)),
        }
    }
}

/// `error` and its sources on one line, joined by `: `.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut texts = vec![error.to_string()];
    let mut source = error.source();
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    // An error that shows its source's text as its own would repeat it.
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::{StoreError, error_chain};

    #[test]
    fn error_chain_includes_the_source() {
        let digits = "x".parse::<u8>().unwrap_err();
        let error = StoreError::unparsable("size of blob a")(digits);
        assert_eq!(
            error_chain(&error),
            "object store is damaged: size of blob a: invalid digit found in string"
        );
        assert_eq!(
            error_chain(&StoreError::damaged("no blob")),
            "object store is damaged: no blob"
        );
    }
}
