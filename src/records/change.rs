//! Changes of one record by people: review, withdrawal of a review, deletion, restore.

mod error;
mod transaction;

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};

pub use self::error::ChangeError;
use self::{error::MAX_CLASSES, transaction::Sent};
use super::{
    Author, Note, Record,
    history::{self, ChangeKind, HistoryEntry},
    record::{REVISION, Review, ReviewStatus},
    state::{State, Stored},
};
use crate::{
    aws::{Backoff, Deadline},
    ledger::{BY_NIGHT, CLASS_PREDICTION_ID, CommitId, Ledger, TO_REVIEW, item},
    model::Label,
    object::ObjectId,
};

/// What a reviewer says about a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewVerdict {
    /// The model's class is right.
    Confirm,
    /// It is this class.
    Relabel(Label),
    /// The reviewer cannot tell.
    Unknown,
}

impl ReviewVerdict {
    /// The class that it gives to `record`.
    fn class(&self, record: &Record) -> Label {
        match self {
            Self::Confirm => record.class.clone(),
            Self::Relabel(class) => class.clone(),
            Self::Unknown => Label::unknown(),
        }
    }
}

impl Review {
    /// The conflict of somebody who has not seen this review of `record`.
    fn conflict(&self, record: &Record) -> ChangeError {
        ChangeError::Conflict {
            id: record.id,
            by: self.by.clone(),
            at: item::timestamp(self.at),
            kind: ChangeKind::of(self.status),
            class: self.class.clone(),
            revision: record.revision,
        }
    }
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It gets a review, in place of an earlier one.
    Review(ReviewVerdict),
    /// It loses its review, and waits for another if it had waited before.
    Withdraw,
    /// It is removed, and kept for 30 days.
    Delete,
    /// It comes back.
    Restore,
}

impl Ledger {
    /// Makes one `change` of the record of the photo with this `id`, and returns the record: as it is afterwards, or, if
    /// it was deleted, as it was. `expected` is the revision that `by` has seen. Without it, the record may have any, unless
    /// somebody else reviewed it. A change that the same person has made is not made again.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Conflict`] if the record has another revision than expected, or somebody else reviewed it or changes
    /// it at the same time.
    pub async fn change(
        &self,
        id: ObjectId,
        change: &Change,
        by: &Author,
        note: Option<&Note>,
        expected: Option<u64>,
        deadline: Deadline,
    ) -> Result<Record, ChangeError> {
        let call = Call {
            id,
            change,
            by,
            note,
            commit_id: CommitId::draw(),
        };
        let is_blind = expected.is_none();
        let mut expected = expected;
        let mut backoff = Backoff::new("change the record", deadline);
        loop {
            let state = self.state(id, deadline).await?;
            let seen = *expected.get_or_insert(state.revision());
            if seen != state.revision() {
                return self.overtaken(&call, seen, state, deadline).await;
            }
            if let State::Recorded(stored) = &state {
                if call.is_repeat(&stored.record) {
                    return Ok(stored.record.clone());
                }
                if is_blind
                    && *change != Change::Restore
                    && let Some(review) = call.foreign_review(&stored.record)
                {
                    return Err(review.conflict(&stored.record));
                }
            }
            let plan = self.plan(&call, state, deadline).await?;
            if let (Change::Review(_), Some(review)) = (change, &plan.after.review) {
                self.list_class(&review.class, deadline).await?;
            }
            let entry = HistoryEntry {
                revision: plan.after.revision,
                kind: plan.kind,
                class: plan.after.effective_class().clone(),
                by: by.as_str().to_owned(),
                at: plan.at,
                note: note.map(|note| note.as_str().to_owned()),
            };
            let items = self
                .transaction_of(id, &plan, &entry, call.commit_id)
                .map_err(|error| self.failed("write to", error))?;
            match self.send(items, call.commit_id, deadline).await? {
                Sent::Done => return Ok(plan.after),
                Sent::Found(found) => {
                    let found = history::entry(&found)?;
                    return match call.made(&found) {
                        true => Ok(plan.after),
                        false => Err(found.conflict(id)),
                    };
                }
                // An audit gave the record a night since it was read, or another change is on its way.
                Sent::Moved => {
                    backoff
                        .pause("the record changed since it was read")
                        .await?;
                }
            }
        }
    }

    /// What to answer if the record has another revision than the one that the caller has `seen`: the record, if this call
    /// or an earlier one of the same person made the next revision, otherwise a conflict.
    async fn overtaken(
        &self,
        call: &Call<'_>,
        seen: u64,
        state: State,
        deadline: Deadline,
    ) -> Result<Record, ChangeError> {
        let (id, revision) = (call.id, state.revision());
        if revision < seen {
            return Err(ChangeError::NoSuchRevision {
                id,
                revision,
                expected: seen,
            });
        }
        let next = self.history_item(id, seen + 1, deadline).await?;
        if item::is_ours(&next, call.commit_id) || call.made(&history::entry(&next)?) {
            return match state {
                State::Recorded(stored)
                | State::Deleted {
                    copy: Some(stored), ..
                } => Ok(stored.record),
                State::Deleted { copy: None, .. } => Err(ChangeError::Expired(id)),
            };
        }
        let latest = self.history_item(id, revision, deadline).await?;
        Err(history::entry(&latest)?.conflict(id))
    }

    /// Adds `class` to the list of classes, if it is new: its counter may be the first.
    async fn list_class(&self, class: &Label, deadline: Deadline) -> Result<(), ChangeError> {
        let listed = self.classes(deadline).await?;
        if listed.contains(class) {
            return Ok(());
        }
        if listed.len() >= MAX_CLASSES {
            return Err(ChangeError::TooManyClasses(class.clone()));
        }
        Ok(self.register(class, deadline).await?)
    }

    /// What `change` makes of `state`.
    async fn plan(
        &self,
        call: &Call<'_>,
        state: State,
        deadline: Deadline,
    ) -> Result<Plan, ChangeError> {
        let &Call { id, change, by, .. } = call;
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
                let class = verdict.class(&after);
                let status = ReviewStatus::of(&after.class, &class);
                after.waits_for_review = false;
                after.review = Some(Review {
                    status,
                    class,
                    by: by.as_str().to_owned(),
                    at,
                });
                ChangeKind::of(status)
            }
            Change::Withdraw if after.review.is_none() => {
                return Err(ChangeError::NotReviewed(id));
            }
            Change::Withdraw => {
                after.review = None;
                after.waits_for_review = stored.item.contains_key(TO_REVIEW.sort_key);
                ChangeKind::Withdrawn
            }
            Change::Delete => ChangeKind::Deleted,
            Change::Restore => ChangeKind::Restored,
        };
        Ok(Plan {
            stored,
            after,
            kind,
            at,
        })
    }

    /// The error for a record that the change of `revision` deleted.
    pub(super) async fn deleted(
        &self,
        id: ObjectId,
        revision: u64,
        deadline: Deadline,
    ) -> Result<ChangeError, ChangeError> {
        let item = self.history_item(id, revision, deadline).await?;
        let entry = history::entry(&item)?;
        Ok(ChangeError::Deleted {
            id,
            by: entry.by,
            at: item::timestamp(entry.at),
        })
    }
}

/// One call of [`Ledger::change`].
struct Call<'a> {
    id: ObjectId,
    change: &'a Change,
    by: &'a Author,
    note: Option<&'a Note>,
    /// Marks what this call writes.
    commit_id: CommitId,
}

impl Call<'_> {
    /// Whether `record` has the review that this call would make.
    fn is_repeat(&self, record: &Record) -> bool {
        let (Change::Review(verdict), None, Some(review)) =
            (self.change, self.note, &record.review)
        else {
            return false;
        };
        review.by == self.by.as_str() && review.class == verdict.class(record)
    }

    /// The review of `record`, if another person made it.
    fn foreign_review<'r>(&self, record: &'r Record) -> Option<&'r Review> {
        let review = record.review.as_ref();
        review.filter(|review| review.by != self.by.as_str())
    }

    /// Whether the same person made the same change in an earlier call.
    fn made(&self, entry: &HistoryEntry) -> bool {
        entry.is_of(self.change, self.by, self.note)
    }
}

/// A change that is to be written.
struct Plan {
    /// The record before, or the copy of the deleted one.
    stored: Stored,
    /// The record after. If it is deleted, only the revision differs.
    after: Record,
    kind: ChangeKind,
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
