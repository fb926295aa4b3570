//! Reads both tables: the ledger first, then the records.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::NaiveDate;

use super::{Dates, Finding, finding::RecordKey};
use crate::{
    aws::Deadline,
    error::{Error, chain},
    ledger::{
        Entry, Ledger, PREDICTION_DATE, REJECTIONS,
        item::{self, CLASSES, Item},
    },
    model::{Label, confidence_bin},
    object::ObjectId,
    records::{
        Record,
        counts::names,
        deltas::Deltas,
        deployments::{DEPLOYMENTS, deployments_of},
        drift::Histogram,
        state::{DELETED_RECORD, revision},
    },
};

/// What both tables said.
#[derive(Default)]
pub(super) struct Snapshot {
    /// The items `count/…`, `night/…` and `confusion/…`, by key.
    pub(super) counters: HashMap<String, Item>,
    /// The object items that no record has claimed.
    pub(super) objects: HashMap<ObjectId, Object>,
    /// Numbers of history items.
    pub(super) history: HashMap<ObjectId, u64>,
    /// Listed classes.
    pub(super) classes: BTreeSet<Label>,
    /// What the counters should say, by key and attribute: `Live`, and pairs of classes.
    pub(super) numbers: HashMap<String, BTreeMap<String, i64>>,
    /// The photos of a date and class, by the key of their counter.
    pub(super) days: BTreeMap<String, Day>,
    /// Records that cannot be trusted to say where they count.
    pub(super) untrusted: Untrusted,
    /// What is wrong whatever happened meanwhile.
    pub(super) findings: Vec<Finding>,
    /// Records and objects that do not fit, to be read again.
    pub(super) misfits: Vec<Misfit>,
    pub(super) records: u64,
    pub(super) items: u64,
}

/// Which counters cannot be checked, because a damaged record may count there.
#[derive(Default)]
pub(super) struct Untrusted {
    /// Dates of damaged records.
    dates: BTreeSet<String>,
    /// Whether there is a damaged record of an unknown date.
    is_everywhere: bool,
}

impl Untrusted {
    /// A damaged record, with its PredictionDate if that can be read.
    pub(super) fn add(&mut self, date: Option<String>) {
        match date {
            Some(date) => drop(self.dates.insert(date)),
            None => self.is_everywhere = true,
        }
    }

    /// Whether a damaged record may count in the counter with this `key`. Its night and its effective class are unknown.
    pub(super) fn concerns(&self, key: &str) -> bool {
        let date = key
            .strip_prefix("count/")
            .and_then(|rest| rest.split('/').next());
        match date {
            Some(date) => self.is_everywhere || self.dates.contains(date),
            None => self.is_everywhere || !self.dates.is_empty(),
        }
    }
}

/// The photos of a date and class.
#[derive(Default)]
pub(super) struct Day {
    /// Ordinals of records and deleted records.
    pub(super) ordinals: Vec<u64>,
    /// Bins of their probabilities, by model version.
    pub(super) bins: BTreeMap<String, Histogram>,
    /// Number of deleted records whose probability is forgotten.
    pub(super) forgotten: u64,
}

/// An object item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) entry: Entry,
    /// Revision of a deletion.
    pub(super) revision: u64,
}

/// A record whose object does not fit.
pub(super) struct Misfit {
    pub(super) record: Record,
    pub(super) object: Option<Object>,
}

impl Object {
    pub(super) fn read(item: &Item) -> Result<Self, Error> {
        let entry = item::entry(item)?;
        Ok(Self {
            revision: match entry {
                Entry::Deleted { .. } => revision(item)?,
                Entry::Counted { .. } | Entry::Rejected { .. } => 0,
            },
            entry,
        })
    }

    /// Whether it is the COUNTED object of `record`; otherwise the attribute in which they differ, or `None` if it is
    /// not COUNTED.
    pub(super) fn fits(&self, record: &Record) -> Result<(), Option<&'static str>> {
        let Entry::Counted { class, date, count } = &self.entry else {
            return Err(None);
        };
        if *date != record.date {
            Err(Some(PREDICTION_DATE))
        } else if *class != record.class {
            Err(Some("ClassName"))
        } else if *count != record.count {
            Err(Some("Count_ClassName"))
        } else {
            Ok(())
        }
    }
}

impl Snapshot {
    pub(super) async fn read(
        ledger: &Ledger,
        dates: Dates,
        deadline: &impl Fn() -> Deadline,
        progress: &mut impl FnMut(u64),
    ) -> Result<Self, Error> {
        let mut snapshot = Self::default();
        let mut deleted = HashMap::new();
        let mut start = None;
        loop {
            let page = ledger.scan(&ledger.ledger, None, start, deadline()).await?;
            for item in page.items {
                snapshot.items += 1;
                if let Err(error) = snapshot.item(item, dates, &mut deleted) {
                    let reason = chain(&error);
                    snapshot.findings.push(Finding::Damaged { reason });
                }
            }
            progress(snapshot.items);
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        snapshot.count_deleted(&deleted);
        let mut numbers = Deltas::default();
        let mut start = None;
        loop {
            let page = ledger
                .scan(&ledger.predictions, None, start, deadline())
                .await?;
            for item in page.items {
                snapshot.record(&item, dates, &mut numbers);
            }
            progress(snapshot.items + snapshot.records);
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        snapshot.numbers = numbers.into_counters();
        Ok(snapshot)
    }

    /// Takes an item of the ledger.
    fn item(
        &mut self,
        item: Item,
        dates: Dates,
        deleted: &mut HashMap<ObjectId, Record>,
    ) -> Result<(), Error> {
        let key = item::key(&item)?;
        let Some((kind, rest)) = key.split_once('/') else {
            match key.as_str() {
                CLASSES => self.classes = names(&item)?,
                DEPLOYMENTS => drop(deployments_of(&item)?),
                _ => {}
            }
            return Ok(());
        };
        let id = |text: &str| {
            text.parse::<ObjectId>().map_err(|_| Error::LedgerItem {
                key: key.clone(),
                attribute: "LedgerKey",
            })
        };
        match kind {
            "object" => {
                let object = Object::read(&item)?;
                let id = id(rest)?;
                let date = match &object.entry {
                    Entry::Counted { date, .. } | Entry::Deleted { date, .. } => *date,
                    Entry::Rejected { .. } => {
                        if !item.contains_key(REJECTIONS.partition_key) {
                            self.findings
                                .push(Finding::UnlistedRejection { id, object: item });
                        }
                        return Ok(());
                    }
                };
                if dates.has(date) {
                    self.objects.insert(id, object);
                }
            }
            "history" => {
                let id = id(rest.split_once('/').map_or(rest, |(id, _)| id))?;
                *self.history.entry(id).or_default() += 1;
            }
            "deleted" => {
                // The object item says whether the record is deleted. An expired copy may still be there.
                if let Some(AttributeValue::M(record)) = item.get(DELETED_RECORD) {
                    deleted.insert(id(rest)?, Record::read(record)?);
                }
            }
            "count" => {
                let date = rest.split_once('/').and_then(|(date, _)| date.parse().ok());
                let date: NaiveDate = date.ok_or_else(|| Error::LedgerItem {
                    key: key.clone(),
                    attribute: "LedgerKey",
                })?;
                if dates.has(date) {
                    self.counters.insert(key, item);
                }
            }
            "night" | "confusion" if dates.are_all() => drop(self.counters.insert(key, item)),
            _ => {}
        }
        Ok(())
    }

    /// Counts the ordinals of deleted records, and their bins as far as copies tell.
    fn count_deleted(&mut self, copies: &HashMap<ObjectId, Record>) {
        for (id, object) in &self.objects {
            let Entry::Deleted { class, date, count } = &object.entry else {
                continue;
            };
            let day = self
                .days
                .entry(item::counter_key(*date, class))
                .or_default();
            day.ordinals.push(*count);
            match copies.get(id) {
                Some(record) => day.bin(record),
                None => day.forgotten += 1,
            }
        }
    }

    /// Takes a record.
    fn record(&mut self, item: &Item, dates: Dates, numbers: &mut Deltas) {
        let record = match Record::read(item) {
            Ok(record) => record,
            Err(error) => {
                let reason = chain(&error);
                self.findings.push(Finding::Damaged { reason });
                self.untrusted.add(item::text(item, PREDICTION_DATE).ok());
                return;
            }
        };
        if !dates.has(record.date) {
            return;
        }
        self.records += 1;
        numbers.count(&record, 1);
        let day = self
            .days
            .entry(item::counter_key(record.date, &record.class))
            .or_default();
        day.ordinals.push(record.count);
        day.bin(&record);
        let entries = self.history.get(&record.id).copied().unwrap_or(0);
        let object = self.objects.remove(&record.id);
        let fits = object
            .as_ref()
            .is_some_and(|object| object.fits(&record).is_ok());
        // A change since the ledger was read shows as a misfit of the revision.
        if !fits || entries != record.revision {
            let record = record.clone();
            self.misfits.push(Misfit { record, object });
        }
        let key = || RecordKey::of(&record);
        if record.captured.is_none() {
            self.findings.push(Finding::NoNight { record: key() });
        }
        if record.review.is_some() && record.waits_for_review {
            self.findings.push(Finding::StillWaiting { record: key() });
        }
    }
}

impl Day {
    fn bin(&mut self, record: &Record) {
        let bin = confidence_bin(record.probability);
        self.bins.entry(record.model_version.clone()).or_default()[bin] += 1;
    }
}
