//! The state of one photo: its record, or the copy of a deleted one.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use super::{
    ChangeError, Record,
    record::{MAX_REVISION, REVISION},
};
use crate::{
    aws::{self, Backoff, Deadline},
    error::Error,
    ledger::{
        CLASS_PREDICTION_ID, LEDGER_KEY, Ledger, PREDICTION_DATE,
        item::{self, Item},
    },
    model::Label,
    object::ObjectId,
};

/// Attribute of a `deleted/…` item: the record, as a map.
pub(super) const DELETED_RECORD: &str = "Record";
/// Attribute of a `deleted/…` item: when DynamoDB removes it, in seconds since 1970.
pub(super) const EXPIRES_AT: &str = "ExpiresAt";

/// How long a deleted record can be restored.
pub(super) const KEPT: TimeDelta = TimeDelta::days(30);
/// Number of reads until object and record fit each other.
const READS: usize = 5;

/// Beginning of the keys of copies.
pub(super) const DELETED: &str = "deleted/";

pub(super) fn deleted_key(id: ObjectId) -> String {
    format!("{DELETED}{id}")
}

/// A photo that was counted.
pub(super) enum State {
    /// It has a record.
    Recorded(Stored),
    /// Its record was deleted.
    Deleted {
        /// The deleted record. `None` if it was deleted more than 30 days ago.
        copy: Option<Stored>,
        /// The revision of the deletion.
        revision: u64,
    },
}

/// A record with its item.
pub(super) struct Stored {
    pub(super) item: Item,
    pub(super) record: Record,
}

impl Stored {
    fn read(item: Item) -> Result<Self, Error> {
        let record = Record::read(&item)?;
        Ok(Self { item, record })
    }
}

impl State {
    pub(super) fn revision(&self) -> u64 {
        match self {
            Self::Recorded(stored) => stored.record.revision,
            Self::Deleted { revision, .. } => *revision,
        }
    }
}

impl Ledger {
    /// Reads the record of the photo with this `id`.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoRecord`], [`ChangeError::Rejected`] or [`ChangeError::Deleted`] if it has none.
    pub async fn record(&self, id: ObjectId, deadline: Deadline) -> Result<Record, ChangeError> {
        match self.state(id, deadline).await? {
            State::Recorded(stored) => Ok(stored.record),
            State::Deleted { revision, .. } => Err(self.deleted(id, revision, deadline).await?),
        }
    }

    pub(super) async fn state(
        &self,
        id: ObjectId,
        deadline: Deadline,
    ) -> Result<State, ChangeError> {
        let mut backoff = Backoff::new("read the record", deadline);
        for _ in 0..READS {
            let (object, deleted) = (item::object_key(id), deleted_key(id));
            let keys = vec![object.clone(), deleted.clone()];
            let mut items = self.read(keys, deadline).await?;
            let Some(object) = items.remove(&object) else {
                return Err(ChangeError::NoRecord(id));
            };
            let state = match item::text(&object, "Status")?.as_str() {
                "REJECTED" => {
                    let reason = item::text(&object, "Reason")?;
                    return Err(ChangeError::Rejected { id, reason });
                }
                "DELETED" => deletion(&object, items.remove(&deleted))?,
                _ => {
                    let item = self.record_item(record_key(&object)?, &mut backoff).await?;
                    item.map(Stored::read).transpose()?.map(State::Recorded)
                }
            };
            match state {
                Some(state) => return Ok(state),
                None => {
                    backoff
                        .pause("the record changed between two reads")
                        .await?
                }
            }
        }
        Err(ChangeError::Lost(id))
    }

    /// The item of the record with this `key`.
    pub(super) async fn get(&self, key: Item, deadline: Deadline) -> Result<Option<Item>, Error> {
        let mut backoff = Backoff::new("read the record", deadline);
        self.record_item(key, &mut backoff).await
    }

    /// Reads a record by its key.
    async fn record_item(&self, key: Item, backoff: &mut Backoff) -> Result<Option<Item>, Error> {
        loop {
            let get = self
                .client
                .get_item()
                .table_name(&self.predictions)
                .set_key(Some(key.clone()))
                .consistent_read(true);
            match backoff.attempt(get.send()).await? {
                Ok(response) => return Ok(response.item),
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error) => return Err(self.failed_on(&self.predictions, "read", error)),
            }
        }
    }
}

/// Key of the record of an `object/…` item.
pub(super) fn record_key(object: &Item) -> Result<Item, Error> {
    let text = |name| item::text(object, name).map(AttributeValue::S);
    Ok(HashMap::from([
        (PREDICTION_DATE.into(), text(PREDICTION_DATE)?),
        (CLASS_PREDICTION_ID.into(), text(CLASS_PREDICTION_ID)?),
    ]))
}

/// The state of a photo with this DELETED object and `deleted/…` item. `None` if they do not fit, because somebody restored
/// or deleted the record between the reads of both.
fn deletion(object: &Item, deleted: Option<Item>) -> Result<Option<State>, Error> {
    let revision = revision(object)?;
    let is_over = Utc::now() - time(object, "DeletedAt")? >= KEPT;
    let copy = match deleted {
        _ if is_over => None,
        None => return Ok(None),
        Some(deleted) => match copy_of(deleted)? {
            Some(copy) if copy.record.revision != revision => return Ok(None),
            copy => copy,
        },
    };
    Ok(Some(State::Deleted { copy, revision }))
}

/// The revision of a deletion, in its object item.
pub(super) fn revision(object: &Item) -> Result<u64, Error> {
    let key = item::key(object)?;
    let revision = item::count(object, REVISION, &key)?;
    match revision {
        0..=MAX_REVISION => Ok(revision),
        _ => Err(Error::LedgerItem {
            key,
            attribute: REVISION,
        }),
    }
}

/// The record in a `deleted/…` item. `None` if its time is over: DynamoDB removes it up to days later.
pub(super) fn copy_of(mut deleted: Item) -> Result<Option<Stored>, Error> {
    let key = item::key(&deleted)?;
    if deleted_at(&deleted)? + KEPT <= Utc::now() {
        return Ok(None);
    }
    match deleted.remove(DELETED_RECORD) {
        Some(AttributeValue::M(record)) => Stored::read(record).map(Some),
        _ => Err(Error::LedgerItem {
            key,
            attribute: DELETED_RECORD,
        }),
    }
}

/// When the record of a `deleted/…` item was deleted: [`KEPT`] before it expires.
pub(super) fn deleted_at(deleted: &Item) -> Result<DateTime<Utc>, Error> {
    let key = item::key(deleted)?;
    let expires_at = item::count(deleted, EXPIRES_AT, &key)?;
    let expires_at = i64::try_from(expires_at).ok();
    expires_at
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .and_then(|expires_at| expires_at.checked_sub_signed(KEPT))
        .ok_or(Error::LedgerItem {
            key,
            attribute: EXPIRES_AT,
        })
}

/// Key of a record.
pub(super) fn key_of(record: &Record) -> Item {
    record_key_of(record.date, &record.class, record.id)
}

/// Key of the record of a photo that the model counted in `class` on `date`.
pub(super) fn record_key_of(date: NaiveDate, class: &Label, id: ObjectId) -> Item {
    HashMap::from([
        (PREDICTION_DATE.into(), AttributeValue::S(date.to_string())),
        (
            CLASS_PREDICTION_ID.into(),
            AttributeValue::S(format!("{class}-{id}")),
        ),
    ])
}

/// Key of a ledger item.
pub(super) fn ledger_key(key: String) -> Item {
    HashMap::from([(LEDGER_KEY.into(), AttributeValue::S(key))])
}

/// A time attribute of an item of the ledger.
pub(super) fn time(item: &Item, attribute: &'static str) -> Result<DateTime<Utc>, Error> {
    let text = item::text(item, attribute)?;
    let key = item::key(item)?;
    text.parse()
        .map_err(|_| Error::LedgerItem { key, attribute })
}
