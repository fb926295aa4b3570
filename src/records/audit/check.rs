//! Compares what both tables said, and looks again at what seems wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Dates, Finding,
    scan::{Day, Misfit, Object, Snapshot},
};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{
        Entry, Ledger,
        item::{self, Item},
    },
    model::Label,
    object::ObjectId,
    records::{
        Record,
        deltas::{LIVE, confusion_pair},
        drift::histograms,
        history::history_key,
        state::{key_of, record_key},
    },
};

/// Highest number of ordinals that a finding lists.
const LISTED: usize = 100;

/// What is wrong, and what changed while it was read.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    pub(super) unsettled: BTreeSet<String>,
}

pub(super) async fn check(
    ledger: &Ledger,
    snapshot: &Snapshot,
    dates: Dates,
    deadline: &impl Fn() -> Deadline,
) -> Result<Checked, Error> {
    let mut checked = Checked {
        findings: snapshot.findings.clone(),
        unsettled: BTreeSet::new(),
    };
    for misfit in &snapshot.misfits {
        checked.misfit(ledger, misfit, deadline()).await?;
    }
    for (&id, object) in &snapshot.objects {
        checked
            .object(ledger, snapshot, id, object, deadline())
            .await?;
    }
    let mut candidates = numbers(snapshot, dates)?;
    candidates.extend(days(snapshot)?);
    checked
        .settle(ledger, snapshot, candidates, deadline())
        .await?;
    checked.classes(ledger, snapshot, deadline()).await?;
    Ok(checked)
}

impl Checked {
    /// Looks again at a record whose object or history does not fit.
    async fn misfit(
        &mut self,
        ledger: &Ledger,
        misfit: &Misfit,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let record = &misfit.record;
        let (object, again) = now(ledger, record.id, Some(record), deadline).await?;
        let again = again.and_then(|item| Record::read(&item).ok());
        let Some(again) = again.filter(|again| again.revision == record.revision) else {
            self.unsettled(record);
            return Ok(());
        };
        match object.as_ref().map(|object| object.fits(&again)) {
            Some(Ok(())) => {}
            Some(Err(Some(attribute))) => self.findings.push(Finding::Differs {
                id: record.id,
                attribute,
            }),
            Some(Err(None)) | None => {
                let status = object.as_ref().map(|object| match object.entry {
                    Entry::Counted { .. } => "COUNTED".to_owned(),
                    Entry::Deleted { .. } => "DELETED".to_owned(),
                    Entry::Rejected { .. } => "REJECTED".to_owned(),
                });
                let record = Box::new(again);
                self.findings.push(Finding::NoObject { record, status });
                return Ok(());
            }
        }
        if misfit.object != object {
            self.unsettled(record);
        }
        self.history(ledger, record.id, record.revision, deadline)
            .await
    }

    /// Looks again at an object that has no record.
    async fn object(
        &mut self,
        ledger: &Ledger,
        snapshot: &Snapshot,
        id: ObjectId,
        object: &Object,
        deadline: Deadline,
    ) -> Result<(), Error> {
        match &object.entry {
            Entry::Rejected { .. } => Ok(()),
            Entry::Deleted { .. } => {
                let entries = snapshot.history.get(&id).copied().unwrap_or(0);
                match entries == object.revision {
                    true => Ok(()),
                    false => self.history(ledger, id, object.revision, deadline).await,
                }
            }
            Entry::Counted { class, date, count } => {
                let (again, record) = now(ledger, id, None, deadline).await?;
                let is_same = again.as_ref() == Some(object);
                match record.as_ref().map(Record::read) {
                    None if is_same => self.findings.push(Finding::NoRecord {
                        id,
                        date: *date,
                        class: class.clone(),
                        count: *count,
                    }),
                    // It is a finding already.
                    Some(Err(_)) if is_same => {}
                    _ => drop(self.unsettled.insert(item::counter_key(*date, class))),
                }
                Ok(())
            }
        }
    }

    /// Counts the history items of a photo.
    async fn history(
        &mut self,
        ledger: &Ledger,
        id: ObjectId,
        revision: u64,
        deadline: Deadline,
    ) -> Result<(), Error> {
        // One more, to see an item that is too much.
        let keys = (1..=revision + 1).map(|revision| history_key(id, revision));
        let entries = ledger.read_all(keys.collect(), deadline).await?.len() as u64;
        if entries != revision {
            self.findings.push(Finding::History {
                id,
                revision,
                entries,
            });
        }
        Ok(())
    }

    fn unsettled(&mut self, record: &Record) {
        let key = item::counter_key(record.date, &record.class);
        self.unsettled.insert(key);
    }

    /// Takes the `candidates` whose counters did not change since they were read.
    async fn settle(
        &mut self,
        ledger: &Ledger,
        snapshot: &Snapshot,
        candidates: Vec<(String, Finding)>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let keys: BTreeSet<&String> = candidates.iter().map(|(key, _)| key).collect();
        let keys = keys.into_iter().cloned().collect();
        let again = ledger.read_all(keys, deadline).await?;
        for (key, finding) in candidates {
            if again.get(&key) != snapshot.counters.get(&key) {
                self.unsettled.insert(key);
            } else if !self.unsettled.contains(&key) {
                self.findings.push(finding);
            }
        }
        Ok(())
    }

    /// Finds classes that have a counter and are not listed.
    async fn classes(
        &mut self,
        ledger: &Ledger,
        snapshot: &Snapshot,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let mut missing = BTreeSet::new();
        for key in snapshot.counters.keys() {
            if let Some(class) = class_of(key)?
                && !snapshot.classes.contains(&class)
            {
                missing.insert(class);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let listed = ledger.classes(deadline).await?;
        let unlisted = missing.into_iter().filter(|class| !listed.contains(class));
        self.findings
            .extend(unlisted.map(|class| Finding::Unlisted { class }));
        Ok(())
    }
}

/// The class of the key of a counter; `None` for a confusion item.
fn class_of(key: &str) -> Result<Option<Label>, Error> {
    let mut parts = key.splitn(3, '/');
    let (kind, _, class) = (parts.next(), parts.next(), parts.next());
    match (kind, class) {
        (Some("count" | "night"), Some(class)) => {
            let invalid = |_| Error::LedgerItem {
                key: key.to_owned(),
                attribute: "LedgerKey",
            };
            Label::try_from(class.to_owned()).map(Some).map_err(invalid)
        }
        _ => Ok(None),
    }
}

/// Object and item of the record of a photo as they are now. The key of the record is that of `record`, otherwise that of
/// the object.
async fn now(
    ledger: &Ledger,
    id: ObjectId,
    record: Option<&Record>,
    deadline: Deadline,
) -> Result<(Option<Object>, Option<Item>), Error> {
    let key = item::object_key(id);
    let mut items = ledger.read(vec![key.clone()], deadline).await?;
    let found = items.remove(&key);
    let object = found.as_ref().map(Object::read).transpose()?;
    let record = match (record, &found) {
        (Some(record), _) => ledger.get(key_of(record), deadline).await?,
        (None, Some(object)) => {
            let key = record_key(object)?;
            ledger.get(key, deadline).await?
        }
        (None, None) => None,
    };
    Ok((object, record))
}

/// Numbers of records that differ from those of the counters.
fn numbers(snapshot: &Snapshot, dates: Dates) -> Result<Vec<(String, Finding)>, Error> {
    let none = BTreeMap::new();
    let mut found = Vec::new();
    let keys: BTreeSet<&String> = snapshot
        .counters
        .keys()
        .chain(snapshot.numbers.keys())
        .collect();
    for key in keys {
        if !dates.are_all() && !key.starts_with("count/") {
            continue;
        }
        let counter = snapshot.counters.get(key);
        let right = snapshot.numbers.get(key).unwrap_or(&none);
        let said = counter.map_or(Ok(BTreeMap::new()), |counter| said(key, counter))?;
        let attributes: BTreeSet<&String> = said.keys().chain(right.keys()).collect();
        for attribute in attributes {
            let says = said.get(attribute).copied().unwrap_or(0);
            let records = right.get(attribute).copied().unwrap_or(0);
            if says != records {
                let finding = Finding::Number {
                    key: key.clone(),
                    attribute: attribute.clone(),
                    counter: counter.cloned(),
                    says,
                    records,
                };
                found.push((key.clone(), finding));
            }
        }
    }
    Ok(found)
}

/// The numbers of records that a counter says: `Live`, or the pairs of a confusion item.
fn said(key: &str, counter: &Item) -> Result<BTreeMap<String, i64>, Error> {
    let is_number = |attribute: &str| match key.starts_with("confusion/") {
        true => confusion_pair(attribute).is_some(),
        false => attribute == LIVE,
    };
    let mut said = BTreeMap::new();
    for (attribute, value) in counter.iter().filter(|(attribute, _)| is_number(attribute)) {
        let number = value.as_n().ok().and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| Error::LedgerItem {
            key: format!("{key} ({attribute})"),
            attribute: LIVE,
        })?;
        said.insert(attribute.clone(), number);
    }
    Ok(said)
}

/// Dates and classes whose ordinals or bins do not agree with `Issued`.
fn days(snapshot: &Snapshot) -> Result<Vec<(String, Finding)>, Error> {
    let mut found = Vec::new();
    let none = Day::default();
    let counters = snapshot.counters.keys();
    let counters = counters.filter(|key| key.starts_with("count/"));
    let keys: BTreeSet<&String> = counters.chain(snapshot.days.keys()).collect();
    for key in keys {
        let day = snapshot.days.get(key).unwrap_or(&none);
        let counter = snapshot.counters.get(key);
        let issued = item::issued(key, counter)?;
        let (missing, repeated) = gaps(&day.ordinals, issued);
        let highest = day.ordinals.iter().copied().max().unwrap_or(0);
        if !missing.is_empty() || !repeated.is_empty() {
            let finding = Finding::Ordinals {
                key: key.clone(),
                missing,
                repeated,
            };
            found.push((key.clone(), finding));
        }
        if issued < highest {
            let finding = Finding::Issued {
                key: key.clone(),
                counter: counter.cloned(),
                issued,
                highest,
            };
            found.push((key.clone(), finding));
        }
        if let Some(finding) = bins(key, counter, day, issued)? {
            found.push((key.clone(), finding));
        }
    }
    Ok(found)
}

/// Whether the bins of a counter are right.
fn bins(
    key: &str,
    counter: Option<&Item>,
    day: &Day,
    issued: u64,
) -> Result<Option<Finding>, Error> {
    let Some(counter) = counter else {
        return Ok(None);
    };
    let mut said = histograms(counter, key)?;
    said.retain(|_, bins| bins.iter().any(|bin| *bin > 0));
    let sum = said.values().flatten().sum();
    let is_right = match day.forgotten {
        0 => said == day.bins,
        _ => sum == issued,
    };
    Ok((!is_right).then(|| Finding::Bins {
        key: key.to_owned(),
        counter: counter.clone(),
        sum,
        issued,
        right: (day.forgotten == 0).then(|| day.bins.clone().into_iter().collect()),
    }))
}

/// The ordinals from 1 to `issued` that are missing, and those that are repeated; at most [`LISTED`] of each.
fn gaps(ordinals: &[u64], issued: u64) -> (Vec<u64>, Vec<u64>) {
    let mut sorted = ordinals.to_vec();
    sorted.sort_unstable();
    let mut repeated: Vec<u64> = sorted
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| pair[0])
        .collect();
    repeated.dedup();
    repeated.truncate(LISTED);
    sorted.dedup();
    let mut missing = Vec::new();
    let mut next = 1;
    for ordinal in sorted.into_iter().chain([issued.saturating_add(1)]) {
        let room = LISTED - missing.len();
        missing.extend((next..ordinal).take(room));
        next = next.max(ordinal.saturating_add(1));
    }
    (missing, repeated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repeats_are_found() {
        assert_eq!(gaps(&[1, 2, 3], 3), (vec![], vec![]));
        assert_eq!(gaps(&[5, 1, 3, 3, 3], 6), (vec![2, 4, 6], vec![3]));
        assert_eq!(gaps(&[], 0), (vec![], vec![]));
        // An ordinal above Issued is no gap.
        assert_eq!(gaps(&[1, 2], 1), (vec![], vec![]));
        let (missing, _) = gaps(&[u64::MAX], u64::MAX);
        assert_eq!((missing.len(), missing[0]), (LISTED, 1));
    }

    #[test]
    fn a_class_may_have_a_slash() {
        let class = class_of("night/2026-05-01/A/B").unwrap().unwrap();
        assert_eq!(class.as_str(), "A/B");
        assert_eq!(class_of("confusion/0123456789ab").unwrap(), None);
        assert!(class_of("count/2026-05-01/").is_err());
    }
}
