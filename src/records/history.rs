//! The changes of a record, one after the other.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Author, Change, ChangeError, Note, ReviewVerdict,
    record::ReviewStatus,
    state::{ledger_key, time},
};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{
        CommitId, LEDGER_KEY, Ledger, MAX_LOOKUP,
        item::{self, Item},
    },
    model::Label,
    object::ObjectId,
};

/// What a person did to a record.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString, Serialize, ToSchema,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// Said that the model's class is right.
    Confirmed,
    /// Gave it another class.
    Relabelled,
    /// Said that the class cannot be told.
    Unknown,
    /// Took the review back.
    Withdrawn,
    /// Deleted the record.
    Deleted,
    /// Restored the record.
    Restored,
}

impl ChangeKind {
    /// Whether it is a review.
    fn is_review(self) -> bool {
        matches!(self, Self::Confirmed | Self::Relabelled | Self::Unknown)
    }

    /// A review with this status.
    pub(super) fn of(status: ReviewStatus) -> Self {
        match status {
            ReviewStatus::Confirmed => Self::Confirmed,
            ReviewStatus::Relabelled => Self::Relabelled,
            ReviewStatus::Unknown => Self::Unknown,
        }
    }
}

/// One change of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// The revision that it made, from 1.
    pub revision: u64,
    /// What was done.
    pub kind: ChangeKind,
    /// The effective class afterwards; of a deletion, before.
    #[serde(rename = "className", serialize_with = "as_text")]
    #[schema(value_type = String)]
    pub class: Label,
    /// Name of the person.
    pub by: String,
    /// Time of the change.
    #[serde(serialize_with = "as_timestamp")]
    pub at: DateTime<Utc>,
    /// The person's note.
    pub note: Option<String>,
}

fn as_text<S: serde::Serializer>(class: &Label, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(class.as_str())
}

fn as_timestamp<S: serde::Serializer>(
    at: &DateTime<Utc>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&item::timestamp(*at))
}

pub(super) fn history_key(id: ObjectId, revision: u64) -> String {
    format!("history/{id}/{revision}")
}

impl HistoryEntry {
    /// The `history/…` item.
    pub(super) fn item(&self, id: ObjectId, commit_id: CommitId) -> Item {
        let mut item = ledger_key(history_key(id, self.revision));
        for (name, value) in [
            ("Kind", self.kind.to_string()),
            ("ClassName", self.class.to_string()),
            ("By", self.by.clone()),
            ("At", item::timestamp(self.at)),
            ("CommitId", commit_id.to_string()),
        ] {
            item.insert(name.into(), AttributeValue::S(value));
        }
        if let Some(note) = &self.note {
            item.insert("Note".into(), AttributeValue::S(note.clone()));
        }
        item
    }

    /// Whether `by` made this `change` with this `note`: then a repeat of the call, whose response was lost, asks for what
    /// is done.
    pub(super) fn is_of(&self, change: &Change, by: &Author, note: Option<&Note>) -> bool {
        let is_change = match change {
            Change::Review(ReviewVerdict::Confirm) => self.kind == ChangeKind::Confirmed,
            Change::Review(ReviewVerdict::Relabel(class)) => {
                self.kind.is_review() && self.class == *class
            }
            Change::Review(ReviewVerdict::Unknown) => {
                self.kind.is_review() && self.class == Label::unknown()
            }
            Change::Withdraw => self.kind == ChangeKind::Withdrawn,
            Change::Delete => self.kind == ChangeKind::Deleted,
            Change::Restore => self.kind == ChangeKind::Restored,
        };
        is_change && self.by == by.as_str() && self.note.as_deref() == note.map(Note::as_str)
    }

    pub(super) fn conflict(self, id: ObjectId) -> ChangeError {
        ChangeError::Conflict {
            id,
            by: self.by,
            at: item::timestamp(self.at),
            kind: self.kind,
            class: self.class,
            revision: self.revision,
        }
    }
}

/// Reads a `history/…` item.
pub(super) fn entry(item: &Item) -> Result<HistoryEntry, Error> {
    let key = item::key(item)?;
    let invalid = |attribute| Error::LedgerItem {
        key: key.clone(),
        attribute,
    };
    let revision = key.rsplit('/').next().and_then(|text| text.parse().ok());
    Ok(HistoryEntry {
        revision: revision.ok_or_else(|| invalid("LedgerKey"))?,
        kind: item::text(item, "Kind")?
            .parse()
            .map_err(|_| invalid("Kind"))?,
        class: item::class(item)?,
        by: item::text(item, "By")?,
        at: time(item, "At")?,
        note: match item.contains_key("Note") {
            true => Some(item::text(item, "Note")?),
            false => None,
        },
    })
}

impl Ledger {
    /// Every change of the record of the photo with this `id`, the first one first. A deleted record has its history too.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoRecord`] or [`ChangeError::Rejected`] if it never had a record.
    pub async fn history(
        &self,
        id: ObjectId,
        deadline: Deadline,
    ) -> Result<Vec<HistoryEntry>, ChangeError> {
        let revision = self.state(id, deadline).await?.revision();
        let mut entries = Vec::new();
        for first in (1..=revision).step_by(MAX_LOOKUP) {
            let some = first..=revision.min(first + MAX_LOOKUP as u64 - 1);
            let keys = some.clone().map(|revision| history_key(id, revision));
            let mut items = self.read(keys.collect(), deadline).await?;
            for revision in some {
                entries.push(entry(&taken(&mut items, id, revision)?)?);
            }
        }
        Ok(entries)
    }

    /// The item of the change that made `revision`.
    pub(super) async fn history_item(
        &self,
        id: ObjectId,
        revision: u64,
        deadline: Deadline,
    ) -> Result<Item, Error> {
        let mut items = self.read(vec![history_key(id, revision)], deadline).await?;
        taken(&mut items, id, revision)
    }
}

/// The history item of `revision` among `items`.
fn taken(items: &mut HashMap<String, Item>, id: ObjectId, revision: u64) -> Result<Item, Error> {
    let key = history_key(id, revision);
    items.remove(&key).ok_or(Error::LedgerItem {
        key,
        attribute: LEDGER_KEY,
    })
}
