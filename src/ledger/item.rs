//! What the items of the two tables say, and how it is read back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use uuid::Uuid;

use super::Entry;
use crate::{
    error::{Error, Rejection},
    object::ObjectVersion,
    prediction::{Confidence, LIKELIEST, Prediction},
};

/// Partition key of the ledger.
pub const LEDGER_KEY: &str = "LedgerKey";
/// Partition key of the predictions.
pub const PREDICTION_DATE: &str = "PredictionDate";
/// Sort key of the predictions.
pub const CLASS_PREDICTION_ID: &str = "ClassPredictionID";

/// A global secondary index of the predictions. It is sparse: a record without its keys is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its partition key.
    pub partition_key: &'static str,
    /// Its sort key.
    pub sort_key: &'static str,
}

/// The indexes of the predictions, in the order in which a deployment adds them.
pub const INDEXES: [Index; 2] = [
    Index {
        name: "ByNight",
        partition_key: "Night",
        sort_key: "NightKey",
    },
    Index {
        name: "ToReview",
        partition_key: "ReviewQueue",
        sort_key: "ReviewRank",
    },
];

pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn object_key(id: Uuid) -> String {
    format!("object/{id}")
}

pub(super) fn counter_key(prediction: &Prediction) -> String {
    format!("count/{}/{}", prediction.date(), prediction.class())
}

pub(super) fn number(n: impl ToString) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

/// What every `object/…` item says.
fn object(
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

/// The `object/…` item of a refused object.
pub(super) fn rejected(
    refused: &ObjectVersion,
    id: Uuid,
    day: Option<NaiveDate>,
    rejection: &Rejection,
    commit_id: Uuid,
) -> Item {
    let mut item = object(refused, id, "REJECTED", commit_id, Utc::now());
    item.insert("Reason".into(), AttributeValue::S(rejection.to_string()));
    if let Some(day) = day {
        item.insert(PREDICTION_DATE.into(), AttributeValue::S(day.to_string()));
    }
    item
}

/// The `object/…` item of a counted object.
pub(super) fn counted(prediction: &Prediction, count: u64, commit_id: Uuid) -> Item {
    let mut item = object(
        &prediction.created.object,
        prediction.id,
        "COUNTED",
        commit_id,
        Utc::now(),
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
pub(super) fn record(prediction: &Prediction, count: u64) -> Item {
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

/// The ordinal given out last; 0 where there is no counter yet.
pub(super) fn issued(counter_key: &str, counter: Option<&Item>) -> Result<u64, Error> {
    match counter {
        Some(item) if !item.is_empty() => count(item, "Issued", counter_key),
        _ => Ok(0),
    }
}

/// Whether the call that drew `commit_id` wrote `item`.
pub(super) fn is_ours(item: &Item, commit_id: Uuid) -> bool {
    text(item, "CommitId").is_ok_and(|id| id == commit_id.to_string())
}

pub(super) fn entry(item: &Item) -> Result<Entry, Error> {
    match text(item, "Status")?.as_str() {
        "COUNTED" => Ok(Entry::Counted {
            class: text(item, "ClassName")?,
            date: text(item, PREDICTION_DATE)?,
            count: count(item, "Count_ClassName", &key(item)?)?,
        }),
        "REJECTED" => Ok(Entry::Rejected {
            reason: text(item, "Reason")?,
        }),
        _ => Err(Error::LedgerItem {
            key: key(item)?,
            attribute: "Status",
        }),
    }
}

/// Its LedgerKey.
pub(super) fn key(item: &Item) -> Result<String, Error> {
    text(item, LEDGER_KEY)
}

fn text(item: &Item, attribute: &'static str) -> Result<String, Error> {
    match (item.get(attribute), item.get(LEDGER_KEY)) {
        (Some(AttributeValue::S(value)), _) => Ok(value.clone()),
        (_, key) => Err(Error::LedgerItem {
            key: key
                .and_then(|key| key.as_s().ok())
                .cloned()
                .unwrap_or_default(),
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
