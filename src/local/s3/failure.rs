//! Failures of the server, in the words its client gets.

use std::io::ErrorKind;
use std::path::Path;

use rusqlite::ErrorCode;
use s3s::{S3Error, S3ErrorCode};

use super::error::StoreError;
use crate::error::chain;

/// Names the cause of a failure of the server to its client, the folder that it is about, and what to do: whoever
/// runs the client most likely runs the server too.
pub(super) fn explain(mut error: S3Error, folder: &Path) -> S3Error {
    if error.code() != &S3ErrorCode::InternalError {
        return error;
    }
    let Some(cause) = error.source() else {
        return error;
    };
    let remedy = match cause.downcast_ref::<StoreError>() {
        Some(error) if is_full(error) => "free space there, or start with --data on another disk",
        _ => "check that folder and its disk, and try again",
    };
    let message = format!(
        "{}. The embedded S3 keeps its data in {}: {remedy}",
        chain(cause),
        folder.display()
    );
    error.set_message(message);
    error
}

/// Whether the disk, or this user's quota of it, is full.
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

    use rusqlite::ffi;
    use s3s::{S3Error, s3_error};

    use super::{StoreError, explain};

    fn explained(error: impl Into<S3Error>) -> String {
        let error = explain(error.into(), Path::new("/data"));
        error.message().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_failure_names_its_cause_the_folder_and_what_to_do() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let reason = full.to_string();
        assert_eq!(
            explained(StoreError::file("/data/blobs/1")(full)),
            format!(
                "file /data/blobs/1 of the object store could not be read or written: {reason}. The embedded S3 \
                 keeps its data in /data: free space there, or start with --data on another disk"
            )
        );
        let full = ffi::Error::new(ffi::SQLITE_FULL);
        let full = rusqlite::Error::SqliteFailure(full, Some("database or disk is full".into()));
        let said = explained(StoreError::from(full));
        assert!(said.contains("database or disk is full"), "{said}");
        assert!(said.ends_with("in /data: free space there, or start with --data on another disk"));
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let said = explained(StoreError::file("/data/blobs")(denied));
        assert!(
            said.contains("permission denied") && said.contains("check that folder"),
            "{said}"
        );
        let number = "x".parse::<u8>().unwrap_err();
        let said = explained(S3Error::internal_error(number));
        assert!(
            said.starts_with("invalid digit found in string. "),
            "{said}"
        );
    }

    #[test]
    fn a_refusal_says_what_it_said() {
        assert_eq!(
            explained(StoreError::NoSuchBucket("moths".into())),
            "bucket moths does not exist"
        );
        assert_eq!(explained(s3_error!(NotImplemented, "no tags")), "no tags");
    }
}
