//! The items of the two tables: how they are written and read.

use std::collections::HashMap;

use super::{CommitId, Entry};
use crate::{
    capture::Capture,
    error::Error,
    model::{Label, confidence_bin},
    object::{ObjectId, ObjectVersion},
    photo::{Position, Rejection},
    prediction::{Confidence, PhotoFile, Prediction},
    records::Record,
};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};

/// Number of classes in `Probabilities`. With five of them a record with usual keys stays under 1 KB, one write unit.
const TOP_CLASSES: usize = 5;

/// Partition key of the ledger table.
pub const LEDGER_KEY: &str = "LedgerKey";
/// Partition key of the predictions table.
pub const PREDICTION_DATE: &str = "PredictionDate";
/// Sort key of the predictions table.
pub const CLASS_PREDICTION_ID: &str = "ClassPredictionID";

/// A global secondary index. It is sparse: it contains the items that have its key attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its partition key.
    pub partition_key: &'static str,
    /// Its sort key.
    pub sort_key: &'static str,
}

/// The records of a night, by the time at which their photos were taken.
pub const BY_NIGHT: Index = Index {
    name: "ByNight",
    partition_key: "Night",
    sort_key: "NightKey",
};

/// The records of a class that wait for review, the least certain first.
pub const TO_REVIEW: Index = Index {
    name: "ToReview",
    partition_key: "ReviewQueue",
    sort_key: "ReviewRank",
};

/// The rejected photos of a day, by the time of their rejection. An index of the ledger.
pub const REJECTIONS: Index = Index {
    name: "Rejections",
    partition_key: "RejectedOn",
    sort_key: "RejectedAt",
};

/// The indexes of the predictions table, in the order in which a deployment adds them.
pub const INDEXES: [Index; 2] = [BY_NIGHT, TO_REVIEW];

pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn object_key(id: ObjectId) -> String {
    format!("object/{id}")
}

/// Key of the counter of a day and class.
pub(crate) fn counter_key(date: NaiveDate, class: &Label) -> String {
    format!("count/{date}/{class}")
}

/// Key of the counter of a night and class.
pub(crate) fn night_key(night: NaiveDate, class: &Label) -> String {
    format!("night/{night}/{class}")
}

/// Key of the item whose string set [`NAMES`] has every class that has a counter.
pub(crate) const CLASSES: &str = "classes";
/// The string set of [`CLASSES`].
pub(crate) const NAMES: &str = "Names";

/// The attribute of a counter that counts records with this `probability`, from 0 to 1, of a model version: from b0,
/// under 10 %, to b9.
pub(crate) fn bin_attribute(model_version: &str, probability: f32) -> String {
    format!("{model_version}.b{}", confidence_bin(probability))
}

/// Sort key of a record in [`BY_NIGHT`].
pub(crate) fn captured_key(captured_at: DateTime<Utc>, id: ObjectId) -> String {
    format!(
        "{}#{id}",
        captured_at.to_rfc3339_opts(SecondsFormat::Secs, true)
    )
}

pub(crate) fn number(n: impl ToString) -> AttributeValue {
    AttributeValue::N(n.to_string())
}

/// The attributes of every `object/…` item.
fn object_item(
    object: &ObjectVersion,
    id: ObjectId,
    status: &str,
    commit_id: CommitId,
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

/// The `object/…` item of a rejected photo.
pub(super) fn rejected(
    object: &ObjectVersion,
    id: ObjectId,
    day: Option<NaiveDate>,
    rejection: &Rejection,
    commit_id: CommitId,
) -> Item {
    let now = Utc::now();
    let mut item = object_item(object, id, "REJECTED", commit_id, now);
    // Without the object, the day of its upload is unknown.
    let on = day.unwrap_or(now.date_naive());
    for (name, value) in [
        ("Reason", rejection.to_string()),
        (REJECTIONS.partition_key, on.to_string()),
        (REJECTIONS.sort_key, format!("{}#{id}", timestamp(now))),
    ] {
        item.insert(name.into(), AttributeValue::S(value));
    }
    if let Some(day) = day {
        item.insert(PREDICTION_DATE.into(), AttributeValue::S(day.to_string()));
    }
    item
}

/// The `object/…` item of a counted photo.
pub(super) fn counted(prediction: &Prediction, count: u64, commit_id: CommitId) -> Item {
    let Prediction { created, id, .. } = prediction;
    let mut item = object_item(&created.object, *id, "COUNTED", commit_id, Utc::now());
    let key = (prediction.date(), prediction.class_prediction_id());
    counted_as(
        &mut item,
        key,
        prediction.class(),
        count,
        &prediction.model_version,
    );
    item
}

/// The `object/…` item that the photo of `record` must have had.
pub(crate) fn counted_record(record: &Record) -> Item {
    let commit_id = CommitId::draw();
    let Record { object, id, .. } = record;
    let mut item = object_item(object, *id, "COUNTED", commit_id, record.predicted_at);
    let key = (record.date, record.class_prediction_id());
    counted_as(
        &mut item,
        key,
        &record.class,
        record.count,
        &record.model_version,
    );
    item
}

/// Adds the key of the record, and how the photo was counted.
fn counted_as(
    item: &mut Item,
    (date, class_prediction_id): (NaiveDate, String),
    class: &Label,
    count: u64,
    model_version: &str,
) {
    for (name, value) in [
        (PREDICTION_DATE, date.to_string()),
        (CLASS_PREDICTION_ID, class_prediction_id),
        ("ClassName", class.to_string()),
        ("ModelVersion", model_version.to_owned()),
    ] {
        item.insert(name.into(), AttributeValue::S(value));
    }
    item.insert("Count_ClassName".into(), number(count));
}

/// The prediction record. The mobile app reads it: PredictionDate, ClassPredictionID, ClassName,
/// Count_ClassName, CaptureTime, ImageURL_ClassName and ConfidenceScore have the names and formats of the
/// Python function before this one.
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
    let top = prediction.probabilities.top_n(TOP_CLASSES).into_iter();
    let top = top.map(|(label, probability)| (label.to_string(), number(probability)));
    item.insert("Probabilities".into(), AttributeValue::M(top.collect()));
    item.insert("Probability".into(), number(prediction.probability()));
    capture(prediction, &mut item);
    file(&prediction.file, &mut item);
    if let Some(label) = prediction.predicted_class() {
        item.insert(
            "PredictedClass".into(),
            AttributeValue::S(label.to_string()),
        );
    }
    if prediction.waits_for_review {
        // Fixed digits, so that the sort key orders by probability.
        let rank = format!("{:.6}#{}", prediction.probability(), prediction.id);
        item.insert(
            TO_REVIEW.partition_key.into(),
            AttributeValue::S(prediction.class().to_string()),
        );
        item.insert(TO_REVIEW.sort_key.into(), AttributeValue::S(rank));
    }
    item.insert("Count_ClassName".into(), number(count));
    item
}

/// Adds when and where the photo was taken.
fn capture(prediction: &Prediction, item: &mut Item) {
    let Capture {
        at,
        source,
        doubt,
        night,
        station,
        camera,
        position,
    } = &prediction.capture;
    let mut insert = |name: &str, value: String| {
        item.insert(name.into(), AttributeValue::S(value));
    };
    insert("CapturedAt", at.to_rfc3339_opts(SecondsFormat::Secs, true));
    insert("CaptureSource", source.to_string());
    insert(BY_NIGHT.partition_key, night.to_string());
    insert(BY_NIGHT.sort_key, captured_key(at.to_utc(), prediction.id));
    for (name, value) in [
        ("CaptureDoubt", doubt.map(|doubt| doubt.to_string())),
        ("Station", station.clone()),
        ("Camera", camera.clone()),
    ] {
        if let Some(value) = value {
            insert(name, value);
        }
    }
    if let Some(Position {
        latitude,
        longitude,
    }) = position
    {
        // Six digits are a tenth of a metre.
        for (name, degrees) in [("Latitude", latitude), ("Longitude", longitude)] {
            item.insert(name.into(), number(format_args!("{degrees:.6}")));
        }
    }
}

/// Adds the photo's file.
fn file(file: &PhotoFile, item: &mut Item) {
    for (name, value) in [
        ("Width", u64::from(file.width)),
        ("Height", u64::from(file.height)),
        ("Bytes", file.bytes),
    ] {
        item.insert(name.into(), number(value));
    }
    item.insert("Sha256".into(), AttributeValue::S(hex::encode(file.sha256)));
}

/// Attributes that name an object version.
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

pub(crate) fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The last ordinal that was issued; 0 if there is no counter yet, or one that a review began.
pub(crate) fn issued(counter_key: &str, counter: Option<&Item>) -> Result<u64, Error> {
    match counter {
        Some(item) if item.contains_key("Issued") => count(item, "Issued", counter_key),
        Some(_) | None => Ok(0),
    }
}

/// Whether the call with this `commit_id` wrote `item`.
pub(crate) fn is_ours(item: &Item, commit_id: CommitId) -> bool {
    text(item, "CommitId").is_ok_and(|id| id == commit_id.to_string())
}

/// Reads an `object/…` item.
pub(crate) fn entry(item: &Item) -> Result<Entry, Error> {
    match text(item, "Status")?.as_str() {
        "COUNTED" => Ok(Entry::Counted {
            class: class(item)?,
            date: date(item)?,
            count: count(item, "Count_ClassName", &key(item)?)?,
        }),
        "DELETED" => Ok(Entry::Deleted {
            class: class(item)?,
            date: date(item)?,
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

/// The item's LedgerKey.
pub(crate) fn key(item: &Item) -> Result<String, Error> {
    text(item, LEDGER_KEY)
}

pub(crate) fn text(item: &Item, attribute: &'static str) -> Result<String, Error> {
    match item.get(attribute) {
        Some(AttributeValue::S(value)) => Ok(value.clone()),
        _ => Err(invalid(item, attribute)),
    }
}

pub(crate) fn class(item: &Item) -> Result<Label, Error> {
    let class = text(item, "ClassName")?;
    Label::try_from(class).map_err(|_| invalid(item, "ClassName"))
}

fn date(item: &Item) -> Result<NaiveDate, Error> {
    let date = text(item, PREDICTION_DATE)?;
    date.parse().map_err(|_| invalid(item, PREDICTION_DATE))
}

pub(crate) fn count(item: &Item, attribute: &'static str, key: &str) -> Result<u64, Error> {
    let value = item.get(attribute).and_then(|value| value.as_n().ok());
    value
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| Error::LedgerItem {
            key: key.to_owned(),
            attribute,
        })
}

fn invalid(item: &Item, attribute: &'static str) -> Error {
    let key = match item.get(LEDGER_KEY) {
        Some(AttributeValue::S(key)) => key.clone(),
        _ => "without LedgerKey".to_owned(),
    };
    Error::LedgerItem { key, attribute }
}

#[cfg(test)]
pub(super) mod tests;
