//! The promise, checked in the tables: each object version is counted once, in one class, on one day. The
//! records of a day and class carry the ordinals 1..N without gap or repeat.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    event::{event, outcome, queue_event},
    item::{Item, number, string},
    photo::photo,
    stack::{BUCKET, Stack},
};

/// Key and version id.
pub(crate) type Version = (String, String);

/// The class of each uploaded object version, or `None` if the object is no photo.
pub(crate) type Reference = BTreeMap<Version, Option<&'static str>>;

/// Bound on the deliveries of one object version or message. No test comes near it by chance.
const MAX_DELIVERIES: usize = 100;

/// Uploads a photo of `class`, or an object that is no photo, and adds it to `reference`.
pub(crate) async fn upload(
    stack: &Stack,
    reference: &mut Reference,
    key: &str,
    class: Option<&'static str>,
) -> Version {
    let bytes = class.map_or_else(|| b"no photo".to_vec(), photo);
    let version = (key.to_owned(), stack.upload(key, bytes).await);
    reference.insert(version.clone(), class);
    version
}

/// Compares both tables with `reference`, which holds every object version that was delivered.
pub(crate) async fn check(stack: &Stack, reference: &Reference) {
    let counted = check_outcomes(stack, reference).await;
    let ordinals = check_records(stack, &counted).await;
    check_counters(stack, ordinals).await;
}

/// Ordinals by date and class.
type Ordinals = BTreeMap<(String, String), Vec<u64>>;

fn version(item: &Item) -> Version {
    (string(item, "ObjectKey"), string(item, "VersionId"))
}

/// Each object version has one outcome, the right one. Returns the ledger's items of those that were counted.
async fn check_outcomes(stack: &Stack, reference: &Reference) -> BTreeMap<Version, Item> {
    let mut counted = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for item in stack.ledger("object/").await {
        let version = version(&item);
        assert!(
            seen.insert(version.clone()),
            "{version:?} is in the ledger twice"
        );
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
    assert_eq!(seen, all, "object versions with an outcome");
    counted
}

/// Each counted object version has one record, which agrees with the ledger.
async fn check_records(stack: &Stack, counted: &BTreeMap<Version, Item>) -> Ordinals {
    let mut ordinals = Ordinals::new();
    let records = stack.records().await;
    assert_eq!(records.len(), counted.len(), "records and counted objects");
    for record in &records {
        let version = version(record);
        let item = &counted[&version];
        for attribute in [
            "ClassPredictionID",
            "ClassName",
            "PredictionDate",
            "Count_ClassName",
        ] {
            assert_eq!(
                record[attribute], item[attribute],
                "{attribute} of {version:?}"
            );
        }
        let day_and_class = (
            string(record, "PredictionDate"),
            string(record, "ClassName"),
        );
        let ordinal = number(record, "Count_ClassName") as u64;
        ordinals.entry(day_and_class).or_default().push(ordinal);
    }
    ordinals
}

/// The ordinals of each day and class are 1..N, and its counter is N; so are the sum of its bins and, by night, the
/// records.
async fn check_counters(stack: &Stack, ordinals: Ordinals) {
    let mut counters = BTreeMap::new();
    for counter in stack.ledger("count/").await {
        let key = string(&counter, "LedgerKey");
        let (date, class) = key["count/".len()..].split_once('/').unwrap();
        let issued = number(&counter, "Issued") as u64;
        assert_eq!(number(&counter, "Live") as u64, issued, "{key}");
        let bins = counter.keys().filter(|attribute| attribute.contains(".b"));
        let binned: f64 = bins.map(|bin| number(&counter, bin)).sum();
        assert_eq!(binned as u64, issued, "{key}");
        counters.insert((date.to_owned(), class.to_owned()), issued);
    }
    for (day_and_class, mut ordinals) in ordinals {
        ordinals.sort_unstable();
        let count = ordinals.len() as u64;
        assert_eq!(
            ordinals,
            (1..=count).collect::<Vec<_>>(),
            "{day_and_class:?}"
        );
        assert_eq!(
            counters.remove(&day_and_class),
            Some(count),
            "{day_and_class:?}"
        );
    }
    assert!(
        counters.is_empty(),
        "counters without records: {counters:?}"
    );
    check_nights(stack).await;
}

/// The counter of each night and class is the number of its records.
async fn check_nights(stack: &Stack) {
    let mut nights: BTreeMap<String, u64> = BTreeMap::new();
    for record in stack.records().await {
        let key = ["Night", "ClassName"].map(|attribute| string(&record, attribute));
        *nights
            .entry(format!("night/{}", key.join("/")))
            .or_default() += 1;
    }
    let counters = stack.ledger("night/").await.into_iter();
    let counters = counters.map(|counter| {
        let live = number(&counter, "Live") as u64;
        (string(&counter, "LedgerKey"), live)
    });
    assert_eq!(counters.collect::<BTreeMap<_, _>>(), nights);
}

/// Delivers an event of one object version once. Returns the answer or the error.
pub(crate) async fn deliver(stack: &Stack, (key, version): &Version) -> Result<Value, Value> {
    stack.invoke(&event(&[(BUCKET, key, Some(version))])).await
}

/// Delivers `version` until the function succeeds, as an event source does. Returns the outcome and the number
/// of deliveries.
pub(crate) async fn deliver_until_done(stack: &Stack, version: &Version) -> (Value, usize) {
    for deliveries in 1..=MAX_DELIVERIES {
        if let Ok(answer) = deliver(stack, version).await {
            return (outcome(&answer).clone(), deliveries);
        }
    }
    panic!("{version:?} failed {MAX_DELIVERIES} times");
}

/// A message for each of `versions`. Its id is its place.
pub(crate) fn messages(versions: &[Version]) -> Vec<(String, Value)> {
    let message = |(place, (key, version)): (usize, &Version)| {
        let body = event(&[(BUCKET, key, Some(version))]);
        (place.to_string(), body)
    };
    versions.iter().enumerate().map(message).collect()
}

/// Delivers `versions` as messages of one SQS event, and delivers failed messages again until none fails. Returns
/// the number of events.
pub(crate) async fn deliver_as_messages(stack: &Stack, versions: &[Version]) -> usize {
    let mut messages = messages(versions);
    for deliveries in 1..=MAX_DELIVERIES {
        // Without an answer, SQS delivers every message again.
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
