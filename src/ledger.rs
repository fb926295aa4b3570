//! Counting exactly once: the commit protocol over the two tables.
//!
//! The ledger has the partition key `LedgerKey` and two kinds of items:
//!
//! - `object/<uuid>`: that an object version was COUNTED, or REJECTED and why;
//! - `count/<date>/<class>`: `Issued`, the last ordinal given out, which only ever grows, and `Live`,
//!   the number of records there are.
//!
//! One `TransactWriteItems` puts the object's item if it is absent, puts the record with ordinal
//! n + 1, and sets `Issued` to n + 1 on the condition that it is still n. So a version is counted
//! once whoever else tries, and the ordinals of a day and class are 1..N without gap or repeat. A
//! plain `ADD` would not do: the SDK repeats a call whose answer was lost, and it would add twice.
//!
//! The item carries a `CommitId` drawn for each call of [`Ledger::commit`] and [`Ledger::reject`]. It
//! tells our own write, whose answer was lost, from a duplicate delivery.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        put_item::PutItemError,
        transact_write_items::{
            TransactWriteItemsError, builders::TransactWriteItemsFluentBuilder,
        },
    },
    types::{
        AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use uuid::Uuid;

use crate::{
    aws,
    error::{Error, Rejection, Source},
    object::ObjectVersion,
    prediction::{Confidence, LIKELIEST, Prediction},
    retry::{Backoff, Deadline},
};

/// Partition key of the ledger.
pub const LEDGER_KEY: &str = "LedgerKey";
/// Partition key of the predictions.
pub const PREDICTION_DATE: &str = "PredictionDate";
/// Sort key of the predictions.
pub const CLASS_PREDICTION_ID: &str = "ClassPredictionID";

type Item = HashMap<String, AttributeValue>;

/// The two tables.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    predictions: String,
    ledger: String,
}

/// What the ledger says of an object version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It has a record.
    Counted {
        /// Its class.
        class: String,
        /// Its day, `YYYY-MM-DD`.
        date: String,
        /// Its ordinal.
        count: u64,
    },
    /// It was refused for good.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// Whether a write was ours or was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written<T> {
    /// This call wrote it.
    Now(T),
    /// The ledger had this already; nothing was written.
    Before(Entry),
}

impl Ledger {
    /// Works on the two tables through `client`.
    pub fn new(client: Client, predictions: String, ledger: String) -> Self {
        Self {
            client,
            predictions,
            ledger,
        }
    }

    /// What the ledger says of the object version `id`.
    ///
    /// # Errors
    ///
    /// Where the table cannot be read before `deadline`, or the item is not as we write it.
    pub async fn lookup(&self, id: Uuid, deadline: Deadline) -> Result<Option<Entry>, Error> {
        match self.get(&object_key(id), deadline).await? {
            Some(item) => Ok(Some(entry(&item)?)),
            None => Ok(None),
        }
    }

    /// Counts `prediction`: writes its record with the next ordinal of its class and day, unless the
    /// object version is in the ledger already. Gives the ordinal.
    ///
    /// # Errors
    ///
    /// Where the tables refuse, or did not take it before `deadline`. It may then have been counted
    /// nevertheless; another call finds out.
    pub async fn commit(
        &self,
        prediction: &Prediction,
        deadline: Deadline,
    ) -> Result<Written<u64>, Error> {
        let commit_id = Uuid::new_v4();
        let counter_key = counter_key(prediction);
        let mut backoff = Backoff::new("commit the prediction", deadline);
        let mut fresh = None;
        loop {
            let issued = match fresh.take() {
                Some(issued) => issued,
                None => issued(
                    &counter_key,
                    self.get(&counter_key, deadline).await?.as_ref(),
                )?,
            };
            let error = match self
                .transaction(prediction, issued, commit_id)?
                .send()
                .await
            {
                Ok(_) => return Ok(Written::Now(issued + 1)),
                Err(error) => error,
            };
            match cancellation(&error) {
                Some(reasons) if reasons.iter().any(is_invalid) => {
                    return Err(self.failed("write to", &self.ledger, error));
                }
                Some([object, _, counter]) => {
                    if let Some(item) = object.item().filter(|_| is_failed_condition(object)) {
                        return counted(item, commit_id);
                    }
                    if is_failed_condition(counter) {
                        fresh = Some(self::issued(&counter_key, counter.item())?);
                    }
                }
                _ if aws::is_transient(&error) => {
                    // It may have been done all the same: the ledger is the truth.
                    if let Some(item) = self.get(&object_key(prediction.id), deadline).await? {
                        return counted(&item, commit_id);
                    }
                }
                _ => return Err(self.failed("write to", &self.ledger, error)),
            }
            backoff.pause(Some(error.into())).await?;
        }
    }

    /// Writes that `object` is refused, unless it is in the ledger already.
    ///
    /// # Errors
    ///
    /// As [`commit`](Self::commit).
    pub async fn reject(
        &self,
        object: &ObjectVersion,
        id: Uuid,
        day: Option<NaiveDate>,
        rejection: &Rejection,
        deadline: Deadline,
    ) -> Result<Written<()>, Error> {
        let commit_id = Uuid::new_v4();
        let mut item = object_item(object, id, "REJECTED", commit_id, Utc::now());
        item.insert("Reason".into(), AttributeValue::S(rejection.to_string()));
        if let Some(day) = day {
            item.insert(PREDICTION_DATE.into(), AttributeValue::S(day.to_string()));
        }
        let mut backoff = Backoff::new("write the rejection", deadline);
        loop {
            let put = self
                .client
                .put_item()
                .table_name(&self.ledger)
                .set_item(Some(item.clone()))
                .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"))
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
            match put.send().await {
                Ok(_) => return Ok(Written::Now(())),
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(there)) => {
                        let there = there.item().unwrap_or(&item);
                        return Ok(match is_ours(there, commit_id) {
                            true => Written::Now(()),
                            false => Written::Before(entry(there)?),
                        });
                    }
                    _ if aws::is_transient(&error) => backoff.pause(Some(error.into())).await?,
                    _ => return Err(self.failed("write to", &self.ledger, error)),
                },
            }
        }
    }

    fn transaction(
        &self,
        prediction: &Prediction,
        issued: u64,
        commit_id: Uuid,
    ) -> Result<TransactWriteItemsFluentBuilder, Error> {
        let build = |error| self.failed("write to", &self.ledger, error);
        let count = issued + 1;
        let object = Put::builder()
            .table_name(&self.ledger)
            .set_item(Some(counted_item(prediction, count, commit_id)))
            .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(build)?;
        let record = Put::builder()
            .table_name(&self.predictions)
            .set_item(Some(record(prediction, count)))
            .build()
            .map_err(build)?;
        let counter = Update::builder()
            .table_name(&self.ledger)
            .key(LEDGER_KEY, AttributeValue::S(counter_key(prediction)))
            .update_expression("SET Issued = :count ADD Live :one")
            .expression_attribute_values(":count", number(count))
            .expression_attribute_values(":one", number(1u8))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let counter = match issued {
            0 => counter.condition_expression("attribute_not_exists(Issued)"),
            _ => counter
                .condition_expression("Issued = :issued")
                .expression_attribute_values(":issued", number(issued)),
        };
        let counter = counter.build().map_err(build)?;
        // Each call of `send` draws a request token of its own, which its own retries share.
        Ok(self
            .client
            .transact_write_items()
            .transact_items(TransactWriteItem::builder().put(object).build())
            .transact_items(TransactWriteItem::builder().put(record).build())
            .transact_items(TransactWriteItem::builder().update(counter).build()))
    }

    /// A consistent read of one ledger item.
    async fn get(&self, key: &str, deadline: Deadline) -> Result<Option<Item>, Error> {
        let mut backoff = Backoff::new("read the ledger", deadline);
        loop {
            let get = self
                .client
                .get_item()
                .table_name(&self.ledger)
                .key(LEDGER_KEY, AttributeValue::S(key.to_owned()))
                .consistent_read(true);
            match get.send().await {
                Ok(response) => return Ok(response.item),
                Err(error) if aws::is_transient(&error) => {
                    backoff.pause(Some(error.into())).await?
                }
                Err(error) => return Err(self.failed("read", &self.ledger, error)),
            }
        }
    }

    fn failed(&self, action: &'static str, table: &str, error: impl Into<Source>) -> Error {
        Error::Table {
            action,
            table: table.to_owned(),
            source: error.into(),
        }
    }
}

fn object_key(id: Uuid) -> String {
    format!("object/{id}")
}

fn counter_key(prediction: &Prediction) -> String {
    format!("count/{}/{}", prediction.date(), prediction.class())
}

fn number(n: impl ToString) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

/// What every `object/…` item says.
fn object_item(
    object: &ObjectVersion,
    id: Uuid,
    status: &str,
    commit_id: Uuid,
    committed_at: DateTime<Utc>,
) -> Item {
    let mut item = address(object);
    for (name, value) in [
        (LEDGER_KEY, object_key(id)),
        ("Status", status.to_owned()),
        ("CommitId", commit_id.to_string()),
        ("CommittedAt", timestamp(committed_at)),
    ] {
        item.insert(name.into(), AttributeValue::S(value));
    }
    item
}

fn counted_item(prediction: &Prediction, count: u64, commit_id: Uuid) -> Item {
    let mut item = object_item(
        &prediction.created.object,
        prediction.id,
        "COUNTED",
        commit_id,
        prediction.predicted_at,
    );
    for (name, value) in [
        (PREDICTION_DATE, prediction.date().to_string()),
        (CLASS_PREDICTION_ID, prediction.class_prediction_id()),
        ("ClassName", prediction.class().to_string()),
        ("ModelVersion", prediction.model_version.clone()),
    ] {
        item.insert(name.into(), AttributeValue::S(value));
    }
    item.insert("Count_ClassName".into(), number(count));
    item
}

/// The record that the mobile app reads. The first seven attributes, and their formats, are those of
/// the function before this one.
fn record(prediction: &Prediction, count: u64) -> Item {
    let mut item = address(&prediction.created.object);
    for (name, value) in [
        (PREDICTION_DATE, prediction.date().to_string()),
        (CLASS_PREDICTION_ID, prediction.class_prediction_id()),
        ("ClassName", prediction.class().to_string()),
        (
            "CaptureTime",
            prediction.time().format("%H:%M:%S").to_string(),
        ),
        (
            "ImageURL_ClassName",
            prediction.created.object.url(&prediction.created.region),
        ),
        (
            "ConfidenceScore",
            Confidence(prediction.probability()).to_string(),
        ),
        ("ModelVersion", prediction.model_version.clone()),
        ("PredictedAt", timestamp(prediction.predicted_at)),
    ] {
        item.insert(name.into(), AttributeValue::S(value));
    }
    let likeliest = prediction.probabilities.likeliest(LIKELIEST).into_iter();
    let likeliest = likeliest.map(|(label, probability)| (label.to_string(), number(probability)));
    item.insert(
        "Probabilities".into(),
        AttributeValue::M(likeliest.collect()),
    );
    item.insert("Probability".into(), number(prediction.probability()));
    item.insert("Count_ClassName".into(), number(count));
    item
}

fn address(object: &ObjectVersion) -> Item {
    let mut item = Item::from([
        ("Bucket".into(), AttributeValue::S(object.bucket.clone())),
        ("ObjectKey".into(), AttributeValue::S(object.key.clone())),
    ]);
    if let Some(version) = &object.version {
        item.insert(
            "VersionId".into(),
            AttributeValue::S(version.as_str().to_owned()),
        );
    }
    item
}

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The reasons of a cancelled transaction, in the order of its three items.
fn cancellation(error: &SdkError<TransactWriteItemsError>) -> Option<&[CancellationReason; 3]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            cancelled.cancellation_reasons().try_into().ok()
        }
        _ => None,
    }
}

fn is_failed_condition(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Whether DynamoDB finds the request itself at fault, so that no repeat will help.
fn is_invalid(reason: &CancellationReason) -> bool {
    reason.code() == Some("ValidationError")
}

/// The ordinal given out last; 0 where there is no counter yet.
fn issued(counter_key: &str, counter: Option<&Item>) -> Result<u64, Error> {
    match counter {
        Some(item) if !item.is_empty() => count(item, "Issued", counter_key),
        _ => Ok(0),
    }
}

/// What a `commit` that finds `item` in its place has to say.
fn counted(item: &Item, commit_id: Uuid) -> Result<Written<u64>, Error> {
    Ok(match entry(item)? {
        Entry::Counted { count, .. } if is_ours(item, commit_id) => Written::Now(count),
        entry => Written::Before(entry),
    })
}

/// Whether the call that drew `commit_id` wrote `item`.
fn is_ours(item: &Item, commit_id: Uuid) -> bool {
    text(item, "CommitId").is_ok_and(|id| id == commit_id.to_string())
}

fn entry(item: &Item) -> Result<Entry, Error> {
    match text(item, "Status")?.as_str() {
        "COUNTED" => Ok(Entry::Counted {
            class: text(item, "ClassName")?,
            date: text(item, PREDICTION_DATE)?,
            count: count(item, "Count_ClassName", &text(item, LEDGER_KEY)?)?,
        }),
        "REJECTED" => Ok(Entry::Rejected {
            reason: text(item, "Reason")?,
        }),
        _ => Err(Error::LedgerItem {
            key: text(item, LEDGER_KEY)?,
            attribute: "Status",
        }),
    }
}

fn text(item: &Item, attribute: &'static str) -> Result<String, Error> {
    let key = || match item.get(LEDGER_KEY) {
        Some(AttributeValue::S(key)) => key.clone(),
        _ => String::new(),
    };
    match item.get(attribute) {
        Some(AttributeValue::S(value)) => Ok(value.clone()),
        _ => Err(Error::LedgerItem {
            key: key(),
            attribute,
        }),
    }
}

fn count(item: &Item, attribute: &'static str, key: &str) -> Result<u64, Error> {
    let value = item.get(attribute).and_then(|value| value.as_n().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| Error::LedgerItem {
            key: key.to_owned(),
            attribute,
        })
}
