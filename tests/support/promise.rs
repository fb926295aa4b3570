//! The promise, held against the tables: each object version is counted once, in one class, on one
//! day, and the records of a day and class carry the ordinals 1..N without gap or repeat.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Item, Stack, event, number, outcome, queue_event, string};

/// Key and version id.
pub type Version = (String, String);

/// What is known of an object version before anything ran: its class, or `None` where it is no picture.
pub type Reference = BTreeMap<Version, Option<&'static str>>;

/// Holds both tables against `reference`, which has every object version that was delivered.
pub async fn check(stack: &Stack, reference: &Reference) {
    let version = |item: &Item| (string(item, "ObjectKey"), string(item, "VersionId"));
    let mut counted = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for item in stack.ledger("object/").await {
        let version = version(&item);
        assert!(seen.insert(version.clone()), "{version:?} is there twice");
        match reference[&version] {
            Some(class) => {
                assert_eq!(string(&item, "Status"), "COUNTED", "{version:?}");
                assert_eq!(string(&item, "ClassName"), class, "{version:?}");
                counted.insert(version, item);
            }
            None => assert_eq!(string(&item, "Status"), "REJECTED", "{version:?}"),
        }
    }
    let all: BTreeSet<Version> = reference.keys().cloned().collect();
    assert_eq!(seen, all, "each version has its outcome");

    let mut ordinals: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    let records = stack.records().await;
    assert_eq!(records.len(), counted.len(), "one record for each counted");
    for record in &records {
        let item = &counted[&version(record)];
        for same in [
            "ClassPredictionID",
            "ClassName",
            "PredictionDate",
            "Count_ClassName",
        ] {
            assert_eq!(record[same], item[same], "{same}");
        }
        let of = (
            string(record, "PredictionDate"),
            string(record, "ClassName"),
        );
        let ordinal = number(record, "Count_ClassName") as u64;
        ordinals.entry(of).or_default().push(ordinal);
    }
    let mut counters = BTreeMap::new();
    for counter in stack.ledger("count/").await {
        let key = string(&counter, "LedgerKey");
        let (date, class) = key["count/".len()..].split_once('/').unwrap();
        let issued = number(&counter, "Issued") as u64;
        assert_eq!(number(&counter, "Live") as u64, issued, "{key}");
        counters.insert((date.to_owned(), class.to_owned()), issued);
    }
    for (of, mut ordinals) in ordinals {
        ordinals.sort_unstable();
        let expected: Vec<u64> = (1..=ordinals.len() as u64).collect();
        assert_eq!(ordinals, expected, "{of:?}");
        assert_eq!(counters.remove(&of), Some(expected.len() as u64), "{of:?}");
    }
    assert!(counters.is_empty(), "{counters:?}");
}

/// Delivers each of `versions` in an event of its own, once. The answer or the error.
pub async fn deliver(stack: &Stack, (key, version): &Version) -> Result<Value, Value> {
    stack.invoke(&event(&[("moths", key, Some(version))])).await
}

/// Delivers `version` until the function succeeds, as its source does. The outcome, and the number of
/// deliveries it took.
pub async fn deliver_until_done(stack: &Stack, version: &Version) -> (Value, usize) {
    for deliveries in 1..=MAX_DELIVERIES {
        if let Ok(answer) = deliver(stack, version).await {
            return (outcome(&answer).clone(), deliveries);
        }
    }
    panic!("{version:?} failed {MAX_DELIVERIES} times");
}

/// Delivers `versions` as messages of one SQS event, and those that failed again until none does. The
/// number of events it took.
pub async fn deliver_as_messages(stack: &Stack, versions: &[Version]) -> usize {
    let message = |(index, (key, version)): (usize, &Version)| {
        let body = event(&[("moths", key, Some(version))]);
        (index.to_string(), body)
    };
    let mut messages: Vec<(String, Value)> = versions.iter().enumerate().map(message).collect();
    for deliveries in 1..=MAX_DELIVERIES {
        // Without an answer every message comes back.
        if let Ok(answer) = stack.invoke(&queue_event(&messages)).await {
            let failures = answer["batchItemFailures"].as_array().unwrap();
            messages.retain(|(id, _)| failures.contains(&json!({"itemIdentifier": id})));
        }
        if messages.is_empty() {
            return deliveries;
        }
    }
    panic!("{} messages failed {MAX_DELIVERIES} times", messages.len());
}

/// More than any chance of ours needs.
const MAX_DELIVERIES: usize = 100;
