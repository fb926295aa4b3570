//! Changes of one record by people: review, withdrawal of a review, deletion, restore.

mod transaction;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

use self::transaction::Sent;
use super::{
    Author, Note, Record,
    history::{self, Entry, Kind},
    record::{REVISION, Review, ReviewStatus},
    state::{State, Stored},
};
use crate::{
    aws::{Backoff, Deadline},
    error::Error,
    ledger::{BY_NIGHT, CLASS_PREDICTION_ID, CommitId, Ledger, TO_REVIEW, item},
    model::Label,
    object::ObjectId,
};

/// What a reviewer says about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The model's class is right.
    Confirm,
    /// It is this class.
    Relabel(Label),
    /// The reviewer cannot tell.
    Unknown,
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets a review, in place of an earlier one.
    Review(Verdict),
    /// It loses its review, and waits for another if it had waited before.
    Withdraw,
    /// It is removed, and kept for 30 days.
    Delete,
    /// It comes back.
    Restore,
}

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
    #[error("the record {0} is not deleted")]
    NotDeleted(ObjectId),
    /// A withdrawal where there is no review.
    #[error("the record {0} has no review")]
    NotReviewed(ObjectId),
    /// Somebody else changed the record.
    #[error("{by} changed the record {id} at {at} ({kind}): look at it again")]
    Conflict {
        /// The photo.
        id: ObjectId,
        /// Who changed it.
        by: String,
        /// When, RFC 3339.
        at: String,
        /// What they did.
        kind: Kind,
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
    /// A table failed, or the time is up. After [`Error::Deadline`], the change may have been made.
    #[error(transparent)]
    Ledger(#[from] Error),
}

impl Ledger {
    /// Makes one `change` of the record of the photo with this `id`, and returns the record: as it is afterwards, or, if
    /// it was deleted, as it was. `expected` is the revision that `by` has seen; without it, the record may have any.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Conflict`] if the record has another revision than expected, or somebody else changes it at the
    /// same time.
    pub async fn change(
        &self,
        id: ObjectId,
        change: &Change,
        by: &Author,
        note: Option<&Note>,
        expected: Option<u64>,
        deadline: Deadline,
    ) -> Result<Record, ChangeError> {
        let commit_id = CommitId::draw();
        let mut expected = expected;
        let mut backoff = Backoff::new("change the record", deadline);
        loop {
            let state = self.state(id, deadline).await?;
            let revision = state.revision();
            let expected = *expected.get_or_insert(revision);
            if expected != revision {
                return Err(self.conflict(id, revision, expected, deadline).await?);
            }
            let plan = self.plan(id, state, change, by, deadline).await?;
            let entry = Entry {
                revision: revision + 1,
                kind: plan.kind,
                class: plan.after.effective_class().clone(),
                by: by.as_str().to_owned(),
                at: plan.at,
                note: note.map(|note| note.as_str().to_owned()),
            };
            // Its counter may be the first one of this class.
            if let Some(review) = &plan.after.review {
                self.register(&review.class, deadline).await?;
            }
            let items = self
                .transaction_of(id, &plan, &entry, commit_id)
                .map_err(|error| self.failed("write to", error))?;
            match self.send(items, commit_id, deadline).await? {
                Sent::Done => return Ok(plan.after),
                // Another person, or this one in a call whose response was lost.
                Sent::Found(found) => {
                    let found = history::entry(&found)?;
                    return match found.is_repeat_of(&entry) {
                        true => Ok(plan.after),
                        false => Err(found.conflict(id)),
                    };
                }
                // An audit gave the record a night since it was read.
                Sent::Moved => {
                    backoff
                        .pause("the record changed since it was read")
                        .await?
                }
            }
        }
    }

    /// What `change` makes of `state`.
    async fn plan(
        &self,
        id: ObjectId,
        state: State,
        change: &Change,
        by: &Author,
        deadline: Deadline,
    ) -> Result<Plan, ChangeError> {
        let at = Utc::now();
        let stored = match (state, change) {
            (State::Deleted { copy, .. }, Change::Restore) => {
                copy.ok_or(ChangeError::Expired(id))?
            }
            (State::Deleted { revision, .. }, _) => {
                return Err(self.deleted(id, revision, deadline).await?);
            }
            (State::Recorded(_), Change::Restore) => return Err(ChangeError::NotDeleted(id)),
            (State::Recorded(stored), _) => stored,
        };
        let mut after = stored.record.clone();
        after.revision += 1;
        let kind = match change {
            Change::Review(verdict) => {
                let class = match verdict {
                    Verdict::Confirm => after.class.clone(),
                    Verdict::Relabel(class) => class.clone(),
                    Verdict::Unknown => Label::unknown(),
                };
                let status = ReviewStatus::of(&after.class, &class);
                after.waits_for_review = false;
                after.review = Some(Review {
                    status,
                    class,
                    by: by.as_str().to_owned(),
                    at,
                });
                Kind::of(status)
            }
            Change::Withdraw if after.review.is_none() => {
                return Err(ChangeError::NotReviewed(id));
            }
            Change::Withdraw => {
                after.review = None;
                after.waits_for_review = stored.item.contains_key(TO_REVIEW.sort_key);
                Kind::Withdrawn
            }
            Change::Delete => Kind::Deleted,
            Change::Restore => Kind::Restored,
        };
        Ok(Plan {
            stored,
            after,
            kind,
            at,
        })
    }

    /// The conflict with the change that made `revision`, where another was `expected`.
    async fn conflict(
        &self,
        id: ObjectId,
        revision: u64,
        expected: u64,
        deadline: Deadline,
    ) -> Result<ChangeError, ChangeError> {
        if revision < expected {
            return Ok(ChangeError::NoSuchRevision {
                id,
                revision,
                expected,
            });
        }
        let entry = self.history_entry(id, revision, deadline).await?;
        Ok(entry.conflict(id))
    }

    /// The error for a record that the change of `revision` deleted.
    pub(super) async fn deleted(
        &self,
        id: ObjectId,
        revision: u64,
        deadline: Deadline,
    ) -> Result<ChangeError, ChangeError> {
        let entry = self.history_entry(id, revision, deadline).await?;
        Ok(ChangeError::Deleted {
            id,
            by: entry.by,
            at: item::timestamp(entry.at),
        })
    }
}

/// A change that is to be written.
struct Plan {
    /// The record before, or the copy of the deleted one.
    stored: Stored,
    /// The record after. If it is deleted, only the revision differs.
    after: Record,
    kind: Kind,
    at: DateTime<Utc>,
}

impl Plan {
    /// The condition that the record still has the revision and the night that were read, and its values. The changes of
    /// the night counters would be wrong for another night.
    fn unchanged(&self) -> (String, HashMap<String, AttributeValue>) {
        let mut values = HashMap::new();
        let mut is_same = |name: &str| match self.stored.item.get(name) {
            Some(value) => {
                let placeholder = format!(":old{name}");
                values.insert(placeholder.clone(), value.clone());
                format!("{name} = {placeholder}")
            }
            None => format!("attribute_not_exists({name})"),
        };
        let conditions = [
            format!("attribute_exists({CLASS_PREDICTION_ID})"),
            is_same(REVISION),
            is_same(BY_NIGHT.partition_key),
        ];
        (conditions.join(" AND "), values)
    }
}
