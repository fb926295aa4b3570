//! What can go wrong in the store, and the S3 error each becomes on the wire.

use std::path::PathBuf;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use s3s::dto::TimestampFormat;
use s3s::{S3Error, S3ErrorCode};

use super::version::timestamp;

/// Why the object store refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the store open.
    #[error("object store {} is in use by another process", folder.display())]
    InUse {
        /// The folder of the store.
        folder: PathBuf,
    },
    /// The metadata database failed.
    #[error("metadata of the object store could not be read or written")]
    Database(#[from] rusqlite::Error),
    /// A column of the metadata database does not parse.
    #[error("metadata of the object store is damaged")]
    Damaged(#[from] serde_json::Error),
    /// A file of the store could not be read or written.
    #[error("file {} of the object store could not be read or written", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The blocking task that did the work panicked or the runtime is shutting down.
    #[error("work on the object store was interrupted")]
    Interrupted(#[from] tokio::task::JoinError),
    /// The bucket name breaks S3's naming rules.
    #[error("bucket name {0} is not valid")]
    InvalidBucketName(String),
    /// There is no such bucket.
    #[error("bucket {0} does not exist")]
    NoSuchBucket(String),
    /// The bucket exists already.
    #[error("bucket {0} exists already")]
    BucketExists(String),
    /// The bucket holds objects, old versions or delete markers.
    #[error("bucket {0} is not empty")]
    BucketNotEmpty(String),
    /// There is no such object, or its latest version is a delete marker.
    #[error("object {key} does not exist")]
    NoSuchKey {
        /// The object's key.
        key: String,
        /// The delete marker that hides it.
        marker: Option<String>,
    },
    /// The object has no such version.
    #[error("object {key} has no version {version}")]
    NoSuchVersion {
        /// The object's key.
        key: String,
        /// The version asked for.
        version: String,
    },
    /// The version asked for is a delete marker, which has no content.
    #[error("version {version} of object {key} is a delete marker")]
    IsDeleteMarker {
        /// The object's key.
        key: String,
        /// The version asked for.
        version: String,
        /// When the marker was made, in seconds since the epoch.
        modified: i64,
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
    /// There is no such multipart upload, or it was completed or aborted.
    #[error("multipart upload {0} does not exist")]
    NoSuchUpload(String),
    /// A part listed on completion was not uploaded, or with another ETag or checksum.
    #[error("part {0} of the upload was not found as listed")]
    InvalidPart(i32),
    /// The parts listed on completion do not ascend.
    #[error("parts of the upload are not in ascending order")]
    InvalidPartOrder,
    /// A part other than the last is smaller than S3's 5 MiB.
    #[error("part {number} of the upload has {size} bytes, fewer than 5 MiB")]
    PartTooSmall {
        /// The part's number.
        number: i32,
        /// Its size in bytes.
        size: u64,
    },
    /// The bytes received are not those the client announced.
    #[error("{0} does not match the bytes received")]
    BadDigest(&'static str),
    /// The request contradicts itself or the state of the store.
    #[error("{0}")]
    InvalidRequest(&'static str),
}

impl StoreError {
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    fn code(&self) -> S3ErrorCode {
        match self {
            Self::InUse { .. }
            | Self::Database(_)
            | Self::Damaged(_)
            | Self::File { .. }
            | Self::Interrupted(_) => S3ErrorCode::InternalError,
            Self::InvalidBucketName(_) => S3ErrorCode::InvalidBucketName,
            Self::NoSuchBucket(_) => S3ErrorCode::NoSuchBucket,
            Self::BucketExists(_) => S3ErrorCode::BucketAlreadyOwnedByYou,
            Self::BucketNotEmpty(_) => S3ErrorCode::BucketNotEmpty,
            Self::NoSuchKey { .. } => S3ErrorCode::NoSuchKey,
            Self::NoSuchVersion { .. } => S3ErrorCode::NoSuchVersion,
            Self::IsDeleteMarker { .. } => S3ErrorCode::MethodNotAllowed,
            Self::InvalidVersionId(_) => S3ErrorCode::InvalidArgument,
            Self::PreconditionFailed { .. } => S3ErrorCode::PreconditionFailed,
            Self::NoSuchUpload(_) => S3ErrorCode::NoSuchUpload,
            Self::InvalidPart(_) => S3ErrorCode::InvalidPart,
            Self::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            Self::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
            Self::BadDigest(_) => S3ErrorCode::BadDigest,
            Self::InvalidRequest(_) => S3ErrorCode::InvalidRequest,
        }
    }

    /// S3 tells of a delete marker in headers, since a HEAD has no body.
    fn headers(&self) -> Option<HeaderMap> {
        let (version, modified) = match self {
            Self::NoSuchKey {
                marker: Some(version),
                ..
            } => (version, None),
            Self::IsDeleteMarker {
                version, modified, ..
            } => (version, Some(*modified)),
            _ => return None,
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            HeaderName::from_static("x-amz-delete-marker"),
            HeaderValue::from_static("true"),
        );
        if let Ok(value) = HeaderValue::from_str(version) {
            headers.insert(HeaderName::from_static("x-amz-version-id"), value);
        }
        let mut date = Vec::new();
        if let Some(modified) = modified
            && timestamp(modified)
                .format(TimestampFormat::HttpDate, &mut date)
                .is_ok()
            && let Ok(value) = HeaderValue::from_bytes(&date)
        {
            headers.insert(LAST_MODIFIED, value);
        }
        Some(headers)
    }
}

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let mut answer = S3Error::with_message(error.code(), error.to_string());
        if let Some(headers) = error.headers() {
            answer.set_headers(headers);
        }
        answer.set_source(Box::new(error));
        answer
    }
}
