//! Why a record is not changed.

use crate::{error::Error, model::Label, object::ObjectId, records::history::ChangeKind};

/// Highest number of classes, the model's and the reviewers' together. Each takes part in each count, and their list is one
/// item.
pub(super) const MAX_CLASSES: usize = 200;

/// Why a record was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The photo was never counted.
    #[error("there is no record {0}")]
    NoRecord(ObjectId),
    /// The photo was rejected.
    #[error("{id} has no record: it was rejected, because {reason}")]
    Rejected {
        /// The photo.
        id: ObjectId,
        /// The reason in the ledger.
        reason: String,
    },
    /// The record was deleted.
    #[error("{by} deleted the record {id} at {at}: restore it first")]
    Deleted {
        /// The photo.
        id: ObjectId,
        /// Who deleted it.
        by: String,
        /// When, RFC 3339.
        at: String,
    },
    /// The record was deleted more than 30 days ago.
    #[error("the record {0} was deleted more than 30 days ago, and cannot be restored")]
    Expired(ObjectId),
    /// A restore of a record that is not deleted.
    #[error("the record {0} is not deleted, so it cannot be restored")]
    NotDeleted(ObjectId),
    /// A withdrawal where there is no review.
    #[error("the record {0} has no review that could be taken back")]
    NotReviewed(ObjectId),
    /// Somebody else changed the record.
    #[error(
        "{by} changed the record {id} at {at} ({kind} {class}): look at it, and change revision {revision}"
    )]
    Conflict {
        /// The photo.
        id: ObjectId,
        /// Who changed it.
        by: String,
        /// When, RFC 3339.
        at: String,
        /// What they did.
        kind: ChangeKind,
        /// The effective class afterwards.
        class: Label,
        /// The revision that they made.
        revision: u64,
    },
    /// The record has fewer revisions than the caller says to have seen.
    #[error("the record {id} has revision {revision}, not {expected}")]
    NoSuchRevision {
        /// The photo.
        id: ObjectId,
        /// The revision that it has.
        revision: u64,
        /// The revision that was expected.
        expected: u64,
    },
    /// There are too many classes for a new one.
    #[error("there are {MAX_CLASSES} classes already: {0} cannot be added. Choose one of them")]
    TooManyClasses(Label),
    /// The photo is counted, and its record is lost.
    #[error("the photo {0} is counted and has no record: run audit")]
    Lost(ObjectId),
    /// A table failed, or the time is up. After [`Error::Deadline`], the change may have been made.
    #[error(transparent)]
    Ledger(#[from] Error),
}
