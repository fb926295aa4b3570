//! What people did to records, checked in the tables: the history of each photo is a row of changes that follow from one
//! another, its record is what the last of them made, and the counters are those of the records.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    item::{Item, number, string},
    promise::Version,
    stack::{BUCKET, Stack},
};
use moth_classifier::object::{ObjectCreated, ObjectVersion, VersionId};

/// The id of a photo.
pub(crate) fn id((key, version): &Version) -> String {
    let object = ObjectVersion {
        bucket: BUCKET.into(),
        key: key.clone(),
        version: VersionId::new(version),
    };
    let created = ObjectCreated::new(object, "us-east-1".into(), None);
    created.id.version().unwrap().to_string()
}

/// A photo as its history leaves it.
#[derive(Debug, Clone, PartialEq)]
struct Photo {
    /// The model's class.
    class: String,
    reviewed: Option<String>,
    is_deleted: bool,
    revision: u64,
}

impl Photo {
    fn effective(&self) -> &str {
        self.reviewed.as_ref().unwrap_or(&self.class)
    }

    /// Makes the change of a history item, which must be possible.
    fn change(&mut self, entry: &Item) {
        let kind = string(entry, "Kind");
        let class = string(entry, "ClassName");
        self.revision += 1;
        assert_eq!(self.is_deleted, kind == "restored", "{entry:?}");
        match kind.as_str() {
            "confirmed" | "relabelled" | "unknown" => {
                let expected = match class.as_str() {
                    class if class == self.class => "confirmed",
                    "UNKNOWN" => "unknown",
                    _ => "relabelled",
                };
                assert_eq!(kind, expected, "{entry:?}");
                self.reviewed = Some(class.clone());
            }
            "withdrawn" => {
                assert!(self.reviewed.is_some(), "{entry:?}");
                self.reviewed = None;
            }
            "deleted" => self.is_deleted = true,
            "restored" => self.is_deleted = false,
            _ => panic!("{entry:?}"),
        }
        assert_eq!(class, self.effective(), "{entry:?}");
    }
}

/// Numbers of a table, by key and attribute.
type Numbers = BTreeMap<(String, String), i64>;

/// Compares both tables with what the histories say. `classes` has the model's class of each photo. Returns the notes of
/// all changes.
pub(crate) async fn check(stack: &Stack, classes: &BTreeMap<String, &str>) -> BTreeSet<String> {
    let mut histories: BTreeMap<String, BTreeMap<u64, Item>> = BTreeMap::new();
    let mut notes = BTreeSet::new();
    for entry in stack.ledger("history/").await {
        let key = string(&entry, "LedgerKey");
        let (id, revision) = key["history/".len()..].split_once('/').unwrap();
        if entry.contains_key("Note") {
            let note = string(&entry, "Note");
            assert!(notes.insert(note), "a change was made twice: {entry:?}");
        }
        let history = histories.entry(id.to_owned()).or_default();
        history.insert(revision.parse().unwrap(), entry);
    }
    let records = stack.records().await;
    let records: BTreeMap<String, Item> = records
        .into_iter()
        .map(|record| {
            let key = string(&record, "ClassPredictionID");
            (key[key.len() - 36..].to_owned(), record)
        })
        .collect();
    let mut expected = Numbers::new();
    let mut add = |key: String, attribute: &str, number: i64| {
        *expected.entry((key, attribute.to_owned())).or_default() += number;
    };
    for object in stack.ledger("object/").await {
        let id = string(&object, "LedgerKey")["object/".len()..].to_owned();
        let mut photo = Photo {
            class: classes[&id].to_owned(),
            reviewed: None,
            is_deleted: false,
            revision: 0,
        };
        for (place, (revision, entry)) in histories.remove(&id).into_iter().flatten().enumerate() {
            assert_eq!(revision, place as u64 + 1, "{id}");
            photo.change(&entry);
        }
        let status = if photo.is_deleted {
            "DELETED"
        } else {
            "COUNTED"
        };
        assert_eq!(string(&object, "Status"), status, "{id}");
        let record = records.get(&id);
        assert_eq!(record.is_none(), photo.is_deleted, "{id}");
        let date = string(&object, "PredictionDate");
        add(format!("count/{date}/{}", photo.class), "Issued", 1);
        let Some(record) = record else { continue };
        check_record(record, &photo);
        let night = string(record, "Night");
        let effective = photo.effective();
        add(format!("count/{date}/{effective}"), "Live", 1);
        add(format!("night/{night}/{effective}"), "Live", 1);
        if let Some(reviewed) = &photo.reviewed {
            let version = string(record, "ModelVersion");
            let pair = format!("{}>{reviewed}", photo.class);
            add(format!("confusion/{version}"), &pair, 1);
        }
    }
    assert!(
        histories.is_empty(),
        "histories without photos: {histories:?}"
    );
    assert_eq!(counters(stack).await, expected);
    notes
}

fn check_record(record: &Item, photo: &Photo) {
    let revision = match record.contains_key("Revision") {
        true => number(record, "Revision") as u64,
        false => 0,
    };
    assert_eq!(revision, photo.revision, "{record:?}");
    assert_eq!(string(record, "ClassName"), photo.class);
    let reviewed = record.contains_key("ReviewedClass");
    let reviewed = reviewed.then(|| string(record, "ReviewedClass"));
    assert_eq!(reviewed, photo.reviewed, "{record:?}");
    assert!(
        photo.reviewed.is_none() || !record.contains_key("ReviewQueue"),
        "{record:?}"
    );
}

/// The numbers of the counters that are not 0, without bins and numbers of changes.
async fn counters(stack: &Stack) -> Numbers {
    let mut numbers = Numbers::new();
    for prefix in ["count/", "night/", "confusion/"] {
        for counter in stack.ledger(prefix).await {
            let key = string(&counter, "LedgerKey");
            for (attribute, value) in &counter {
                let Ok(value) = value.as_n() else { continue };
                let value: i64 = value.parse().unwrap();
                if value != 0 && attribute != "Changes" && !attribute.contains(".b") {
                    numbers.insert((key.clone(), attribute.clone()), value);
                }
            }
        }
    }
    numbers
}
