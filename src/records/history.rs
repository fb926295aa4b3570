//! The changes of a record, one after the other.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{ChangeError, record::ReviewStatus, state::ledger_key, state::time};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{
        CommitId, Ledger, MAX_LOOKUP,
        item::{self, Item},
    },
    model::Label,
    object::ObjectId,
};

/// What a person did to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString, Serialize)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Kind {
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

impl Kind {
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The revision that it made, from 1.
    pub revision: u64,
    /// What was done.
    pub kind: Kind,
    /// The effective class afterwards; of a deletion, before.
    #[serde(rename = "className", serialize_with = "as_text")]
    pub class: Label,
    /// Who did it.
    pub by: String,
    /// When.
    #[serde(serialize_with = "as_timestamp")]
    pub at: DateTime<Utc>,
    /// Why.
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

impl Entry {
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

    /// Whether the same person did the same in an earlier call, whose response they may not have seen.
    pub(super) fn is_repeat_of(&self, other: &Self) -> bool {
        let said = |entry: &Self| {
            let Self {
                revision,
                kind,
                class,
                by,
                note,
                at: _,
            } = entry.clone();
            (revision, kind, class, by, note)
        };
        said(self) == said(other)
    }

    pub(super) fn conflict(self, id: ObjectId) -> ChangeError {
        ChangeError::Conflict {
            id,
            by: self.by,
            at: item::timestamp(self.at),
            kind: self.kind,
            revision: self.revision,
        }
    }
}

/// Reads a `history/…` item.
pub(super) fn entry(item: &Item) -> Result<Entry, Error> {
    let key = item::key(item)?;
    let invalid = |attribute| Error::LedgerItem {
        key: key.clone(),
        attribute,
    };
    let revision = key.rsplit('/').next().and_then(|text| text.parse().ok());
    Ok(Entry {
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
    ) -> Result<Vec<Entry>, ChangeError> {
        let revision = self.state(id, deadline).await?.revision();
        let revisions: Vec<u64> = (1..=revision).collect();
        let mut entries = Vec::with_capacity(revisions.len());
        for some in revisions.chunks(MAX_LOOKUP) {
            let keys = some.iter().map(|&revision| history_key(id, revision));
            let mut items = self.read(keys.collect(), deadline).await?;
            for &revision in some {
                entries.push(taken(&mut items, id, revision)?);
            }
        }
        Ok(entries)
    }

    /// The change that made `revision`.
    pub(super) async fn history_entry(
        &self,
        id: ObjectId,
        revision: u64,
        deadline: Deadline,
    ) -> Result<Entry, ChangeError> {
        let mut items = self.read(vec![history_key(id, revision)], deadline).await?;
        Ok(taken(&mut items, id, revision)?)
    }
}

/// The entry of `revision` among `items`.
fn taken(
    items: &mut std::collections::HashMap<String, Item>,
    id: ObjectId,
    revision: u64,
) -> Result<Entry, Error> {
    let key = history_key(id, revision);
    match items.remove(&key) {
        Some(item) => entry(&item),
        None => Err(Error::LedgerItem {
            key,
            attribute: "LedgerKey",
        }),
    }
}
