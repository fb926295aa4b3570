//! Repairs of what an audit found. Each writes on the condition that the item is still as it was found.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Put, TransactWriteItem, Update, builders::UpdateBuilder},
};
use chrono::SecondsFormat;

use super::{Finding, Repair, finding::RecordKey};
use crate::{
    aws::{self, Backoff, Deadline},
    capture::{CaptureSource, Rules, in_zone},
    error::Error,
    ledger::{
        BY_NIGHT, CLASS_PREDICTION_ID, LEDGER_KEY, Ledger, PREDICTION_DATE, REJECTIONS, TO_REVIEW,
        item::{self, Item},
    },
    object::ObjectId,
    records::{
        Record,
        deltas::{CHANGES, LIVE},
        drift::Histogram,
        record::REVISION,
        state::{key_of, ledger_key, record_key_of},
    },
};

/// Highest number of attributes in one update: an expression has up to 4 KB. An audit finds the others again.
const MAX_ATTRIBUTES: usize = 100;

pub(super) async fn repair(
    ledger: &Ledger,
    finding: &Finding,
    rules: &Rules,
    deadline: Deadline,
) -> Result<Repair, Error> {
    let items = match finding {
        Finding::Damaged { .. }
        | Finding::NoRecord { .. }
        | Finding::Differs { .. }
        | Finding::Ordinals { .. }
        | Finding::History { .. }
        | Finding::NoObject {
            status: Some(_), ..
        }
        | Finding::Issued { is_row: false, .. }
        | Finding::Bins { right: None, .. } => return Ok(Repair::Impossible),
        Finding::Unlisted { class } => {
            ledger.register(class, deadline).await?;
            return Ok(Repair::Mended);
        }
        Finding::NoObject { record, .. }
        | Finding::NoNight { record }
        | Finding::StillWaiting { record } => {
            let Some(record) = read(ledger, record, deadline).await? else {
                return Ok(Repair::Changed);
            };
            match finding {
                Finding::NoObject { .. } => object(ledger, &record),
                Finding::NoNight { .. } => night(ledger, &record, rules),
                _ => dequeue(ledger, &record),
            }
        }
        Finding::Issued {
            key,
            counter,
            highest,
            ..
        } => {
            let values = BTreeMap::from([("Issued".to_owned(), i128::from(*highest))]);
            set(ledger, key, counter.as_ref(), values)
        }
        Finding::Numbers {
            key,
            counter,
            wrong,
        } => {
            let right = wrong
                .iter()
                .map(|(name, wrong)| (name.clone(), wrong.records.into()));
            set(ledger, key, counter.as_ref(), right.collect())
        }
        Finding::Bins {
            key,
            counter,
            right: Some(right),
            ..
        } => set(ledger, key, Some(counter), right_bins(counter, right)),
        Finding::UnlistedRejection { id, object } => match item::text(object, "CommittedAt") {
            Ok(at) if !at.is_empty() => rejection(ledger, *id, object, &at),
            // Nobody knows when it was rejected.
            _ => return Ok(Repair::Impossible),
        },
    };
    let items = items.map_err(|error| ledger.failed("write to", error))?;
    send(ledger, items, deadline).await
}

/// The record with this key; `None` if it is gone.
async fn read(
    ledger: &Ledger,
    key: &RecordKey,
    deadline: Deadline,
) -> Result<Option<Record>, Error> {
    let item = ledger
        .get(record_key_of(key.date, &key.class, key.id), deadline)
        .await?;
    item.map(|item| Record::read(&item)).transpose()
}

/// The bins of a counter with those of `right`, by attribute.
fn right_bins(counter: &Item, right: &[(String, Histogram)]) -> BTreeMap<String, i128> {
    let wrong = counter.keys().filter(|attribute| attribute.contains(".b"));
    let mut values: BTreeMap<String, i128> = wrong.map(|name| (name.clone(), 0)).collect();
    for (version, bins) in right {
        for (bin, number) in bins.iter().enumerate().filter(|(_, number)| **number > 0) {
            values.insert(format!("{version}.b{bin}"), (*number).into());
        }
    }
    values
}

/// Sends a transaction. A repair whose response was lost is [`Repair::Changed`].
async fn send(
    ledger: &Ledger,
    items: Vec<TransactWriteItem>,
    deadline: Deadline,
) -> Result<Repair, Error> {
    let mut backoff = Backoff::new("repair the tables", deadline);
    loop {
        let transaction = ledger
            .client
            .transact_write_items()
            .set_transact_items(Some(items.clone()));
        let error = match backoff.attempt(transaction.send()).await? {
            Ok(_) => return Ok(Repair::Mended),
            Err(error) => error,
        };
        if has_code(&error, "ConditionalCheckFailed") {
            return Ok(Repair::Changed);
        }
        let is_conflict = has_code(&error, "TransactionConflict")
            || has_code(&error, "ThrottlingError")
            || has_code(&error, "ProvisionedThroughputExceeded");
        match is_conflict || aws::is_transient(&error) {
            true => backoff.pause(error).await?,
            false => return Err(ledger.failed("write to", error)),
        }
    }
}

/// Whether DynamoDB cancelled the transaction with this code.
fn has_code(error: &SdkError<TransactWriteItemsError>, code: &str) -> bool {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => cancelled
            .cancellation_reasons()
            .iter()
            .any(|reason| reason.code() == Some(code)),
        _ => false,
    }
}

/// Sets numbers of a counter, if it did not change since it was found.
fn set(
    ledger: &Ledger,
    key: &str,
    counter: Option<&Item>,
    values: BTreeMap<String, i128>,
) -> Result<Vec<TransactWriteItem>, BuildError> {
    let mut update = Update::builder()
        .table_name(&ledger.ledger)
        .set_key(Some(ledger_key(key.to_owned())))
        .expression_attribute_values(":one", item::number(1));
    let mut set = Vec::new();
    for (place, (attribute, value)) in values.into_iter().take(MAX_ATTRIBUTES).enumerate() {
        set.push(format!("#a{place} = :a{place}"));
        update = update
            .expression_attribute_names(format!("#a{place}"), attribute)
            .expression_attribute_values(format!(":a{place}"), item::number(value));
    }
    let update = update.update_expression(format!("SET {} ADD {CHANGES} :one", set.join(", ")));
    let update = match counter {
        None => update.condition_expression(format!("attribute_not_exists({LEDGER_KEY})")),
        Some(counter) => unchanged(update, counter, &["Issued", CHANGES, LIVE]),
    };
    Ok(vec![
        TransactWriteItem::builder().update(update.build()?).build(),
    ])
}

/// Adds the condition that `attributes` are those of `item`.
fn unchanged(mut update: UpdateBuilder, item: &Item, attributes: &[&str]) -> UpdateBuilder {
    let mut conditions = Vec::new();
    for name in attributes {
        match item.get(*name) {
            Some(value) => {
                conditions.push(format!("{name} = :old{name}"));
                update = update.expression_attribute_values(format!(":old{name}"), value.clone());
            }
            None => conditions.push(format!("attribute_not_exists({name})")),
        }
    }
    update.condition_expression(conditions.join(" AND "))
}

/// Puts the COUNTED object of a record.
fn object(ledger: &Ledger, record: &Record) -> Result<Vec<TransactWriteItem>, BuildError> {
    let put = Put::builder()
        .table_name(&ledger.ledger)
        .set_item(Some(item::counted_record(record)))
        .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"));
    Ok(vec![TransactWriteItem::builder().put(put.build()?).build()])
}

/// An update of a record that still has its revision.
fn of_record(ledger: &Ledger, record: &Record) -> (UpdateBuilder, String) {
    let update = Update::builder()
        .table_name(&ledger.predictions)
        .set_key(Some(key_of(record)));
    let exists = format!("attribute_exists({CLASS_PREDICTION_ID})");
    match record.revision {
        0 => (
            update,
            format!("{exists} AND attribute_not_exists({REVISION})"),
        ),
        revision => (
            update.expression_attribute_values(":revision", item::number(revision)),
            format!("{exists} AND {REVISION} = :revision"),
        ),
    }
}

/// Gives a record the night of its upload, and counts it there.
fn night(
    ledger: &Ledger,
    record: &Record,
    rules: &Rules,
) -> Result<Vec<TransactWriteItem>, BuildError> {
    // The clock of TIME_ZONE showed this time when the photo was uploaded. At the ends of time there is no night.
    let uploaded = in_zone(record.uploaded(), rules.time_zone)
        .unwrap_or_else(|| record.predicted_at.fixed_offset());
    let night = rules.night(uploaded);
    let (update, condition) = of_record(ledger, record);
    let partition = BY_NIGHT.partition_key;
    let mut update = update
        .update_expression(format!(
            "SET CapturedAt = :at, CaptureSource = :source, {partition} = :night, {} = :key",
            BY_NIGHT.sort_key
        ))
        .condition_expression(format!("{condition} AND attribute_not_exists({partition})"));
    for (name, value) in [
        (":at", uploaded.to_rfc3339_opts(SecondsFormat::Secs, true)),
        (":source", CaptureSource::Upload.to_string()),
        (":night", night.to_string()),
        (":key", item::captured_key(uploaded.to_utc(), record.id)),
    ] {
        update = update.expression_attribute_values(name, AttributeValue::S(value));
    }
    let counter = Update::builder()
        .table_name(&ledger.ledger)
        .set_key(Some(ledger_key(item::night_key(
            night,
            record.effective_class(),
        ))))
        .update_expression(format!("ADD {LIVE} :one, {CHANGES} :one"))
        .expression_attribute_values(":one", item::number(1));
    Ok(vec![
        TransactWriteItem::builder().update(update.build()?).build(),
        TransactWriteItem::builder()
            .update(counter.build()?)
            .build(),
    ])
}

/// Takes a reviewed record out of the queue.
fn dequeue(ledger: &Ledger, record: &Record) -> Result<Vec<TransactWriteItem>, BuildError> {
    let (update, condition) = of_record(ledger, record);
    let update = update
        .update_expression(format!("REMOVE {}", TO_REVIEW.partition_key))
        .condition_expression(condition);
    Ok(vec![
        TransactWriteItem::builder().update(update.build()?).build(),
    ])
}

/// Adds a rejection, which was committed `at` this time, to the list of its day.
fn rejection(
    ledger: &Ledger,
    id: ObjectId,
    object: &Item,
    at: &str,
) -> Result<Vec<TransactWriteItem>, BuildError> {
    let day = match item::text(object, PREDICTION_DATE) {
        Ok(day) => day,
        // The object could not be read.
        Err(_) => at.chars().take("2026-05-01".len()).collect(),
    };
    let (on, sort) = (REJECTIONS.partition_key, REJECTIONS.sort_key);
    let update = Update::builder()
        .table_name(&ledger.ledger)
        .set_key(Some(ledger_key(item::object_key(id))))
        .update_expression(format!("SET {on} = :on, {sort} = :at"))
        .condition_expression(format!(
            "#status = :rejected AND attribute_not_exists({on})"
        ))
        .expression_attribute_names("#status", "Status")
        .expression_attribute_values(":rejected", AttributeValue::S("REJECTED".into()))
        .expression_attribute_values(":on", AttributeValue::S(day))
        .expression_attribute_values(":at", AttributeValue::S(format!("{at}#{id}")));
    Ok(vec![
        TransactWriteItem::builder().update(update.build()?).build(),
    ])
}
