//! Errors of the store as S3's error responses.

use std::io::ErrorKind;
use std::path::Path;

use axum::http::header::{HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};
use rusqlite::ErrorCode;
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::wire::http_date;
use crate::error::{StoreError, error_chain};

impl From<StoreError> for S3Error {
    fn from(error: StoreError) -> Self {
        let headers = match headers(&error) {
            Ok(headers) => headers,
            Err(internal) => return internal,
        };
        let mut response = S3Error::with_message(code(&error), error.to_string());
        if !headers.is_empty() {
            response.set_headers(headers);
        }
        response.set_source(Box::new(error));
        response
    }
}

fn code(error: &StoreError) -> S3ErrorCode {
    match error {
        StoreError::InUse { .. }
        | StoreError::Database(_)
        | StoreError::Damaged { .. }
        | StoreError::Json(_)
        | StoreError::File { .. }
        | StoreError::Interrupted(_) => S3ErrorCode::InternalError,
        StoreError::InvalidBucketName(_) => S3ErrorCode::InvalidBucketName,
        StoreError::NoSuchBucket(_) => S3ErrorCode::NoSuchBucket,
        StoreError::BucketExists(_) => S3ErrorCode::BucketAlreadyOwnedByYou,
        StoreError::BucketNotEmpty(_) => S3ErrorCode::BucketNotEmpty,
        StoreError::NoSuchKey { .. } => S3ErrorCode::NoSuchKey,
        StoreError::NoSuchVersion { .. } => S3ErrorCode::NoSuchVersion,
        StoreError::IsDeleteMarker { .. } => S3ErrorCode::MethodNotAllowed,
        StoreError::InvalidVersionId(_) => S3ErrorCode::InvalidArgument,
        StoreError::PreconditionFailed { .. } => S3ErrorCode::PreconditionFailed,
        StoreError::NoSuchUpload(_) => S3ErrorCode::NoSuchUpload,
        StoreError::InvalidPart(_) => S3ErrorCode::InvalidPart,
        StoreError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
        StoreError::PartTooSmall { .. } => S3ErrorCode::EntityTooSmall,
        StoreError::BadDigest(_) => S3ErrorCode::BadDigest,
        StoreError::InvalidRequest(_) => S3ErrorCode::InvalidRequest,
    }
}

/// The headers that describe a delete marker. S3 uses headers because the response to a HEAD has no body.
fn headers(error: &StoreError) -> S3Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let version = match error {
        StoreError::NoSuchKey {
            marker: Some(version),
            ..
        } => version,
        StoreError::IsDeleteMarker {
            version, modified, ..
        } => {
            headers.insert(LAST_MODIFIED, http_date(*modified)?);
            version
        }
        _ => return Ok(headers),
    };
    headers.insert(
        HeaderName::from_static("x-amz-delete-marker"),
        HeaderValue::from_static("true"),
    );
    headers.insert(
        HeaderName::from_static("x-amz-version-id"),
        HeaderValue::from_str(version).map_err(S3Error::internal_error)?,
    );
    Ok(headers)
}

/// Adds the cause, the data folder and a remedy to the message of an internal error: the user of the client is
/// probably the operator of the server, too.
pub(crate) fn explain(mut error: S3Error, folder: &Path) -> S3Error {
    if error.code() != &S3ErrorCode::InternalError {
        return error;
    }
    let Some(cause) = error.source() else {
        return error;
    };
    let remedy = match cause.downcast_ref::<StoreError>() {
        Some(error) if is_full(error) => "free space there, or start with --data on another disk",
        Some(StoreError::Damaged { .. }) => "restore the folder from a copy, or start with another",
        _ => "check that folder and its disk, and try again",
    };
    let message = format!(
        "{}. The embedded S3 keeps its data in {}: {remedy}",
        error_chain(cause),
        folder.display()
    );
    error.set_message(message);
    error
}

/// Whether the disk, or the user's quota of it, is full.
fn is_full(error: &StoreError) -> bool {
    match error {
        StoreError::File { source, .. } => matches!(
            source.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        ),
        StoreError::Database(error) => error.sqlite_error_code() == Some(ErrorCode::DiskFull),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use axum::http::header::LAST_MODIFIED;
    use chrono::DateTime;
    use rusqlite::ffi;
    use s3s::{S3Error, S3ErrorCode, s3_error};

    use super::{StoreError, explain};

    fn message(error: impl Into<S3Error>) -> String {
        let error = explain(error.into(), Path::new("/data"));
        error.message().unwrap().to_owned()
    }

    #[test]
    fn internal_error_names_the_cause_the_folder_and_a_remedy() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let reason = full.to_string();
        assert_eq!(
            message(StoreError::file("/data/blobs/1")(full)),
            format!(
                "file /data/blobs/1 of the object store could not be read or written: {reason}. The embedded S3 \
                 keeps its data in /data: free space there, or start with --data on another disk"
            )
        );
        let full = ffi::Error::new(ffi::SQLITE_FULL);
        let full = rusqlite::Error::SqliteFailure(full, Some("database or disk is full".into()));
        let text = message(StoreError::from(full));
        assert!(text.contains("database or disk is full"), "{text}");
        assert!(text.ends_with("in /data: free space there, or start with --data on another disk"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let text = message(StoreError::file("/data/blobs")(denied));
        assert!(
            text.contains("permission denied") && text.contains("check that folder"),
            "{text}"
        );
        let number = "x".parse::<u8>().unwrap_err();
        let text = message(S3Error::internal_error(number));
        assert!(
            text.starts_with("invalid digit found in string. "),
            "{text}"
        );
    }

    #[test]
    fn damage_is_an_internal_error() {
        let error = S3Error::from(StoreError::damaged("part 1 has no blob"));
        assert_eq!(error.code(), &S3ErrorCode::InternalError);
        let text = message(error);
        assert!(text.starts_with("object store is damaged: part 1 has no blob. "));
    }

    #[test]
    fn client_errors_keep_their_message() {
        assert_eq!(
            message(StoreError::NoSuchBucket("moths".into())),
            "bucket moths does not exist"
        );
        assert_eq!(message(s3_error!(NotImplemented, "no tags")), "no tags");
    }

    #[test]
    fn headers_describe_a_delete_marker() {
        let error = S3Error::from(StoreError::IsDeleteMarker {
            key: "a".to_owned(),
            version: "v".to_owned(),
            modified: DateTime::UNIX_EPOCH,
        });
        let headers = error.headers().unwrap();
        assert_eq!(headers["x-amz-delete-marker"], "true");
        assert_eq!(headers["x-amz-version-id"], "v");
        assert_eq!(headers[LAST_MODIFIED], "Thu, 01 Jan 1970 00:00:00 GMT");
        let absent = StoreError::NoSuchKey {
            key: "a".to_owned(),
            marker: None,
        };
        assert!(S3Error::from(absent).headers().is_none());
        let malformed = StoreError::NoSuchKey {
            key: "a".to_owned(),
            marker: Some("\n".to_owned()),
        };
        let error = S3Error::from(malformed);
        assert_eq!(error.code(), &S3ErrorCode::InternalError);
    }
}
