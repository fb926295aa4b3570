//! Records for people: reading, review, deletion, audit and export.
//!
//! What the model said never changes. Key, ClassName, Count_ClassName and Probability of a record are written once. A
//! review adds attributes, and the *effective class* of a record is ReviewedClass if there is one, otherwise ClassName.
//! `Issued` of a counter is the last ordinal that was issued. `Live` is the number of records with this effective class:
//! reviews, deletions and restores move it.
//!
//! The ledger has these items beside those of [`ledger`](crate::ledger):
//!
//! - `history/<uuid>/<revision>`: one change of a record: what, by whom, when, with a note;
//! - `deleted/<uuid>`: a copy of a deleted record, for 30 days;
//! - `confusion/<model version>`: for each pair of model's class and reviewer's class the number of reviewed records.
//!
//! Each change is one transaction. It puts the history item of the next revision if that is absent, and writes the record
//! on the condition that it still has the revision that was read. So of two people who change a record at once, one gets
//! [`ChangeError::Conflict`]. A change whose response was lost finds its own history item, by its CommitId. A revision
//! never comes twice, because deletions and restores are revisions too.

mod audit;
mod change;
mod confusion;
mod counts;
mod cursor;
mod deleted;
mod deltas;
mod deployments;
mod drift;
mod history;
mod list;
mod names;
mod query;
mod read;
mod record;
mod rejections;
mod state;

pub(crate) use self::{
    audit::{Dates, Finding, Repair, Report},
    record::json::RecordJson,
    rejections::RejectedJson,
};
pub use self::{
    change::{Change, ChangeError, ReviewVerdict},
    confusion::{Confusion, Share},
    counts::DayCounts,
    cursor::{Cursor, CursorError},
    deleted::Deleted,
    drift::{Confidences, Drift, Histogram, ReferenceSource, psi},
    history::{ChangeKind, HistoryEntry},
    list::{ListError, MAX_PAGE, Page},
    names::{Author, NameError, Note},
    query::{By, DEFAULT_DAYS, Filter, MAX_DAYS, Order, Query, ReviewFilter, Span, SpanError},
    record::{Captured, Record, Review, ReviewStatus},
    rejections::{MAX_REJECTIONS, Rejected, Rejections},
};
