//! Deliveries on a later day, and to a later model.

use std::{collections::BTreeMap, fs, path::Path};

use chrono::{NaiveDate, TimeDelta, Utc};
use chrono_tz::Africa::Lagos;
use serde_json::Value;
use tempfile::TempDir;

use super::outcome;
use crate::support::{
    item::string,
    photo::COLOR_MODEL,
    promise::{self, Reference, deliver, upload},
    proxy::Fault,
    stack::{Options, Stack},
};

/// One process: a kill ends each of them, and Lambda may still pass an event to one that has not ended yet.
fn proxied() -> Options<'static> {
    Options {
        proxied: true,
        processes: 1,
        ..Options::invoked_by_hand()
    }
}

/// The embedded S3 dates every upload now. The proxy moves two of them to the last second of yesterday, in Lagos, and
/// one to the first second of today.
#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_after_midnight_counts_on_the_day_of_the_upload() {
    let stack = Stack::with(proxied()).await;
    let mut reference = Reference::new();
    let before = upload(&stack, &mut reference, "before.png", Some("FAW")).await;
    let lost = upload(&stack, &mut reference, "lost.png", Some("FAW")).await;
    let after = upload(&stack, &mut reference, "after.png", Some("FAW")).await;
    let now = Utc::now().with_timezone(&Lagos);
    let today = now.date_naive();
    let midnight = today.and_hms_opt(0, 0, 0).unwrap();
    let midnight = midnight.and_local_timezone(Lagos).unwrap().to_utc();
    let last_second = midnight - TimeDelta::seconds(1);
    for (key, at) in [
        ("before.png", last_second),
        ("lost.png", last_second),
        ("after.png", midnight),
    ] {
        let date = at.format("%a, %d %b %Y %H:%M:%S GMT");
        stack.s3_proxy().last_modified(key, &date.to_string());
    }
    assert_eq!(outcome(&deliver(&stack, &after).await.unwrap()), "recorded");

    // `lost` is committed, but the function is killed before it can answer.
    stack
        .dynamodb_proxy()
        .next("TransactWriteItems", Fault::KillAfter, 1);
    assert!(deliver(&stack, &lost).await.is_err());
    for (version, expected) in [
        (&before, "recorded"),
        (&lost, "duplicate"),
        (&lost, "duplicate"),
        (&before, "duplicate"),
        (&after, "duplicate"),
    ] {
        assert_eq!(outcome(&deliver(&stack, version).await.unwrap()), expected);
    }
    promise::check(&stack, &reference).await;
    let dates = dates(&stack).await;
    let yesterday = today.pred_opt().unwrap();
    for key in ["before.png", "lost.png"] {
        assert_eq!(dates[key], (yesterday, "23:59:59".to_owned()), "{key}");
    }
    assert_eq!(dates["after.png"], (today, "00:00:00".to_owned()));
    stack.stop().await;
}

/// Date and time of each record, by key.
async fn dates(stack: &Stack) -> BTreeMap<String, (NaiveDate, String)> {
    let records = stack.records().await;
    let date = |record| {
        let date = string(record, "PredictionDate").parse().unwrap();
        let date_and_time = (date, string(record, "CaptureTime"));
        (string(record, "ObjectKey"), date_and_time)
    };
    records.iter().map(date).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_counts_no_object_again() {
    let stack = Stack::with(proxied()).await;
    let mut reference = Reference::new();
    let old = upload(&stack, &mut reference, "old.png", Some("AAW")).await;
    let lost = upload(&stack, &mut reference, "lost.png", Some("AAW")).await;
    let new = upload(&stack, &mut reference, "new.png", Some("AAW")).await;
    deliver(&stack, &old).await.unwrap();
    let proxy = stack.dynamodb_proxy();
    proxy.next("TransactWriteItems", Fault::KillAfter, 1);
    assert!(deliver(&stack, &lost).await.is_err());
    proxy.next("TransactWriteItems", Fault::KillBefore, 1);
    assert!(deliver(&stack, &new).await.is_err());
    let folder = stack.stop().await;

    let model = model_with_reversed_labels();
    let stack = Stack::with(Options {
        variables: &[("MODEL_DIR", model.path().to_str().unwrap())],
        folder: Some(folder),
        ..Options::invoked_by_hand()
    })
    .await;
    for (version, expected, class) in [
        (&old, "duplicate", "AAW"),
        (&lost, "duplicate", "AAW"),
        (&new, "recorded", "FAW"),
        (&new, "duplicate", "FAW"),
    ] {
        let answer = deliver(&stack, version).await.unwrap();
        assert_eq!(outcome(&answer), expected);
        assert_eq!(answer["outcomes"][0]["className"], class);
    }
    reference.insert(new, Some("FAW"));
    promise::check(&stack, &reference).await;
    stack.stop().await;
}

/// The colour model, whose first output is now the last class.
fn model_with_reversed_labels() -> TempDir {
    let shipped = Path::new(COLOR_MODEL.1);
    let model = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(shipped.join("model.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["labels"].as_array_mut().unwrap().reverse();
    fs::write(model.path().join("model.json"), manifest.to_string()).unwrap();
    fs::copy(shipped.join("model.onnx"), model.path().join("model.onnx")).unwrap();
    model
}
