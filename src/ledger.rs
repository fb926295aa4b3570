//! Counting exactly once: the commit protocol over the two tables.
//!
//! The ledger has the partition key `LedgerKey` and these kinds of items:
//!
//! - `object/<uuid>`: the object version is COUNTED, REJECTED with a reason, or DELETED by a person;
//! - `count/<date>/<class>`: `Issued`, the last ordinal that was issued, which never decreases; `Live`, the number of
//!   records with this effective class; and for each model version the numbers of records in ten bins of their
//!   probability;
//! - `night/<night>/<class>`: `Live`, the number of records of a trap night with this effective class;
//! - `classes`: `Names`, every class that has a counter.
//!
//! [`records`](crate::records) adds the items of reviews and deletions.
//!
//! Predictions of one day, class and night are committed together. One `TransactWriteItems` puts each photo's
//! object item if it is absent, puts the records with the ordinals n + 1 … n + k, adds k to the night, and sets
//! `Issued` to n + k on the condition that it is still n. So each object version is counted once, even with concurrent
//! writers, and the ordinals of a day and class are 1..N without gap or repeat. An `ADD` alone would not do: the SDK
//! repeats a call whose response was lost, and the counter would grow twice. The `ADD` of the night is safe, because the
//! transaction fails as a whole if one of its objects exists.
//!
//! A cancelled transaction returns the items that failed their conditions. Photos that are counted already
//! leave the group, and the others are tried again at once. If only the counter failed, they are tried again after a
//! pause with full jitter, and n is read after the pause. The cancellation could return n too, but in a burst that value
//! is stale after the pause. The read costs 1/30 of a failed transaction. It makes bursts drain 2 to 8 times faster.
//!
//! Each `object/…` item has a `CommitId`. Each call of [`Ledger::commit`] and [`Ledger::reject`] creates one. It
//! distinguishes our own write, whose response was lost, from a duplicate delivery. If the process dies
//! after the commit, the event is delivered again, and the lookup finds the photo counted.
//!
//! # Cost
//!
//! A transaction consumes two write units for each item of up to 1 KB: 2(2k + 2) for k predictions. That is 8 for each
//! photo with k = 1, 4.4 with k = 10 and 4.08 with k = 49. A cancelled transaction costs as much. The index `ByNight` adds
//! one unit for each record, and `ToReview` one for each that waits for review.
//! `benches/contention.rs` measures what contention for a counter adds.

mod commit;
pub(crate) mod item;
mod read;
mod register;
mod reject;
mod transaction;

use std::fmt;

use aws_sdk_dynamodb::Client;
use chrono::NaiveDate;
use uuid::Uuid;

use crate::{
    error::{Error, Source},
    model::Label,
};
pub use commit::Committed;
pub use item::{
    BY_NIGHT, CLASS_PREDICTION_ID, INDEXES, Index, LEDGER_KEY, PREDICTION_DATE, REJECTIONS,
    TO_REVIEW,
};

/// Maximum number of predictions in one transaction: an object item and a record for each, and the counters of day and
/// night, are the 100 items that DynamoDB allows.
pub const MAX_GROUP: usize = 49;
/// Maximum number of keys in one `BatchGetItem`.
pub const MAX_LOOKUP: usize = 100;

/// The two tables.
#[derive(Debug, Clone)]
pub struct Ledger {
    pub(crate) client: Client,
    pub(crate) predictions: String,
    pub(crate) ledger: String,
}

/// What the ledger says about an object version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It has a record.
    Counted {
        /// The class in which it counts.
        class: Label,
        /// The day on which it counts.
        date: NaiveDate,
        /// Its ordinal in that class on that day.
        count: u64,
    },
    /// It had a record, which a person deleted.
    Deleted {
        /// The class in which the model counted it.
        class: Label,
        /// The day on which it was counted.
        date: NaiveDate,
        /// Its ordinal, which no other photo gets.
        count: u64,
    },
    /// It was rejected for good.
    Rejected {
        /// The reason, as stored.
        reason: String,
    },
}

/// Whether this call wrote the item or found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written<T> {
    /// This call wrote it.
    Now(T),
    /// The ledger had this entry already; nothing was written.
    Before(Entry),
}

/// Marks the items that one call writes, so that its retries recognise them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CommitId(Uuid);

impl CommitId {
    pub(crate) fn draw() -> Self {
        Self(Uuid::new_v4())
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Ledger {
    /// Works on the tables `predictions` and `ledger` through `client`.
    pub fn new(client: Client, predictions: String, ledger: String) -> Self {
        Self {
            client,
            predictions,
            ledger,
        }
    }

    /// A call on the ledger failed.
    pub(crate) fn failed(&self, action: &'static str, error: impl Into<Source>) -> Error {
        self.failed_on(&self.ledger, action, error)
    }

    /// A call on `table` failed.
    pub(crate) fn failed_on(
        &self,
        table: &str,
        action: &'static str,
        error: impl Into<Source>,
    ) -> Error {
        Error::Table {
            action,
            table: table.to_owned(),
            source: error.into(),
        }
    }
}
