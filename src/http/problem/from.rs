//! The problem of each error of the library.

use super::{Kind, Problem};
use crate::{
    error::{Error, chain},
    photo::Rejection,
    records::{ChangeError, CursorError, ListError, NameError, SpanError},
};

impl From<&Rejection> for Problem {
    fn from(rejection: &Rejection) -> Self {
        let kind = match rejection {
            Rejection::Empty => Kind::Empty,
            Rejection::TooManyBytes { .. } => Kind::TooManyBytes,
            Rejection::TooManyPixels { .. } => Kind::TooManyPixels,
            Rejection::NotAPhoto => Kind::NotAPhoto,
            Rejection::Unsupported { .. } => Kind::Unsupported,
            Rejection::Truncated(_) => Kind::Truncated,
            Rejection::Damaged { .. } => Kind::Damaged,
            Rejection::Gone => Kind::Gone,
        };
        Self::new(kind, rejection.to_string())
    }
}

impl From<Error> for Problem {
    /// The causes are in the log only: they name tables, hosts and request ids of AWS.
    fn from(error: Error) -> Self {
        tracing::error!(
            code = error.code(),
            reason = chain(&error),
            "request failed"
        );
        let kind = match &error {
            Error::Read { .. } | Error::Table { .. } => Kind::Unavailable,
            Error::Deadline { .. } => Kind::Deadline,
            Error::LedgerItem { .. }
            | Error::RecordItem { .. }
            | Error::Model(_)
            | Error::Aborted(_)
            | Error::NoResult { .. } => Kind::Internal,
        };
        let detail = match kind {
            Kind::Unavailable => {
                "a table or the bucket is unavailable: send the request again, and tell the operator if it keeps failing"
                    .to_owned()
            }
            Kind::Deadline => "the tables or the bucket did not respond in time. A change may have been made: read the record before you repeat it".to_owned(),
            // It names an item or a step, nothing secret.
            _ => error.to_string(),
        };
        Self::new(kind, detail)
    }
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let detail = error.to_string();
        match error {
            ChangeError::Ledger(error) => error.into(),
            ChangeError::NoRecord(_) | ChangeError::Rejected { .. } => {
                Self::new(Kind::NotFound, detail)
            }
            ChangeError::Deleted { by, at, .. } => Self::new(Kind::Deleted, detail)
                .with("by", by)
                .with("at", at),
            ChangeError::Expired(_) => Self::new(Kind::Deleted, detail),
            ChangeError::NotDeleted(_)
            | ChangeError::NotReviewed(_)
            | ChangeError::TooManyClasses(_) => Self::new(Kind::NotPossible, detail),
            ChangeError::Conflict {
                by,
                at,
                kind,
                class,
                revision,
                ..
            } => Self::new(Kind::Conflict, detail)
                .with("by", by)
                .with("at", at)
                .with("kind", kind.to_string())
                .with("className", class.as_str())
                .with("revision", revision),
            ChangeError::NoSuchRevision { revision, .. } => {
                Self::new(Kind::RevisionMismatch, detail).with("revision", revision)
            }
            ChangeError::Lost(_) => Self::new(Kind::Internal, detail),
        }
    }
}

impl From<ListError> for Problem {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Cursor(error) => error.into(),
            ListError::Ledger(error) => error.into(),
        }
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        Self::malformed(format!("cursor: {error}"))
    }
}

impl From<SpanError> for Problem {
    fn from(error: SpanError) -> Self {
        Self::new(Kind::NotPossible, format!("from, to: {error}"))
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Self {
        Self::new(Kind::NotPossible, error.to_string())
    }
}
