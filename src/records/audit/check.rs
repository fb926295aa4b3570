//! Looks again at what seems wrong, because it may have changed while it was read.

use std::collections::BTreeSet;

use super::{
    Dates, Finding,
    compare::{candidates, class_of},
    finding::RecordKey,
    scan::{Misfit, Object, Snapshot},
};
use crate::{
    aws::Deadline,
    error::{Error, chain},
    ledger::{
        Entry, Ledger, MAX_LOOKUP,
        item::{self, Item},
    },
    object::ObjectId,
    records::{
        Record,
        history::history_key,
        state::{key_of, record_key},
    },
};

/// What is wrong, and what changed while it was read.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    /// Keys of counters that seemed wrong and changed.
    pub(super) unsettled: BTreeSet<String>,
    /// Keys of counters whose photos changed. A counter that seems right nevertheless is right.
    moved: BTreeSet<String>,
}

pub(super) async fn check(
    ledger: &Ledger,
    snapshot: &mut Snapshot,
    dates: Dates,
    deadline: &impl Fn() -> Deadline,
) -> Result<Checked, Error> {
    let mut checked = Checked {
        findings: std::mem::take(&mut snapshot.findings),
        ..Checked::default()
    };
    for misfit in std::mem::take(&mut snapshot.misfits) {
        checked
            .misfit(ledger, snapshot, &misfit, deadline())
            .await?;
    }
    for (id, object) in std::mem::take(&mut snapshot.objects) {
        checked
            .object(ledger, snapshot, id, &object, deadline())
            .await?;
    }
    let candidates = candidates(snapshot, dates);
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
        snapshot: &mut Snapshot,
        misfit: &Misfit,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let record = &misfit.record;
        let (object, again) = read_again(ledger, record.id, Some(record), deadline).await?;
        let again = again.and_then(|item| Record::read(&item).ok());
        let Some(again) = again.filter(|again| again.revision == record.revision) else {
            self.moved(record);
            return Ok(());
        };
        let object = match object {
            Some(Ok(object)) => Some(object),
            // The scan has found it damaged.
            Some(Err(_)) => return Ok(()),
            None => None,
        };
        match object.as_ref().map(|object| object.fits(&again)) {
            Some(Ok(())) => {}
            Some(Err(Some(attribute))) => {
                snapshot.untrusted.add(Some(record.date.to_string()));
                self.findings.push(Finding::Differs {
                    id: record.id,
                    attribute,
                });
            }
            Some(Err(None)) | None => {
                let status = object.as_ref().map(|object| match object.entry {
                    Entry::Counted { .. } => "COUNTED".to_owned(),
                    Entry::Deleted { .. } => "DELETED".to_owned(),
                    Entry::Rejected { .. } => "REJECTED".to_owned(),
                });
                let record = RecordKey::of(&again);
                self.findings.push(Finding::NoObject { record, status });
                return Ok(());
            }
        }
        if misfit.object != object {
            self.moved(record);
        }
        let seen = snapshot.history.get(&record.id).copied().unwrap_or(0);
        let entries = entries(ledger, record.id, record.revision, seen, deadline).await?;
        let (_, last) = read_again(ledger, record.id, Some(record), deadline).await?;
        let last = last.and_then(|item| Record::read(&item).ok());
        if last.is_some_and(|last| last.revision == record.revision) {
            self.history(record.id, record.revision, entries);
        }
        Ok(())
    }

    /// Looks again at an object that has no record.
    async fn object(
        &mut self,
        ledger: &Ledger,
        snapshot: &mut Snapshot,
        id: ObjectId,
        object: &Object,
        deadline: Deadline,
    ) -> Result<(), Error> {
        match &object.entry {
            Entry::Rejected { .. } => Ok(()),
            Entry::Deleted { .. } => {
                let seen = snapshot.history.get(&id).copied().unwrap_or(0);
                if seen == object.revision {
                    return Ok(());
                }
                let entries = entries(ledger, id, object.revision, seen, deadline).await?;
                let (last, _) = read_again(ledger, id, None, deadline).await?;
                if last.is_some_and(|last| last.is_ok_and(|last| last == *object)) {
                    self.history(id, object.revision, entries);
                }
                Ok(())
            }
            Entry::Counted { class, date, count } => {
                let (again, record) = read_again(ledger, id, None, deadline).await?;
                let is_same = again.is_some_and(|again| again.is_ok_and(|again| again == *object));
                match record.as_ref().map(Record::read) {
                    None if is_same => {
                        // Its probability is lost with it.
                        let day = snapshot.days.entry(item::counter_key(*date, class));
                        day.or_default().forgotten += 1;
                        self.findings.push(Finding::NoRecord {
                            id,
                            date: *date,
                            class: class.clone(),
                            count: *count,
                        });
                    }
                    // It is a finding already.
                    Some(Err(_)) if is_same => {}
                    _ => drop(self.moved.insert(item::counter_key(*date, class))),
                }
                Ok(())
            }
        }
    }

    /// Compares the revision of a photo with the number of its history items.
    fn history(&mut self, id: ObjectId, revision: u64, entries: u64) {
        if entries != revision {
            self.findings.push(Finding::History {
                id,
                revision,
                entries,
            });
        }
    }

    fn moved(&mut self, record: &Record) {
        let key = item::counter_key(record.date, &record.class);
        self.moved.insert(key);
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
            let is_same = again.get(&key) == snapshot.counters.get(&key);
            match is_same && !self.moved.contains(&key) {
                true => self.findings.push(finding),
                false => drop(self.unsettled.insert(key)),
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
            match class_of(key) {
                Ok(Some(class)) if !snapshot.classes.contains(&class) => {
                    missing.insert(class);
                }
                Ok(_) => {}
                Err(error) => {
                    let reason = chain(&error);
                    self.findings.push(Finding::Damaged { reason });
                }
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let listed = match ledger.classes(deadline).await {
            Ok(listed) => listed,
            // The scan has found the list damaged.
            Err(Error::LedgerItem { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let unlisted = missing.into_iter().filter(|class| !listed.contains(class));
        self.findings
            .extend(unlisted.map(|class| Finding::Unlisted { class }));
        Ok(())
    }
}

/// The number of history items of a photo, up to one more than its revision. The scan has `seen` some of them. If that
/// is far from the revision, no changes meanwhile explain it.
async fn entries(
    ledger: &Ledger,
    id: ObjectId,
    revision: u64,
    seen: u64,
    deadline: Deadline,
) -> Result<u64, Error> {
    if revision.abs_diff(seen) > MAX_LOOKUP as u64 {
        return Ok(seen);
    }
    let keys = (1..=revision + 1).map(|revision| history_key(id, revision));
    Ok(ledger.read_all(keys.collect(), deadline).await?.len() as u64)
}

/// Object and item of the record of a photo as they are now. The key of the record is that of `record`, otherwise that of
/// the object.
async fn read_again(
    ledger: &Ledger,
    id: ObjectId,
    record: Option<&Record>,
    deadline: Deadline,
) -> Result<(Option<Result<Object, Error>>, Option<Item>), Error> {
    let key = item::object_key(id);
    let mut items = ledger.read(vec![key.clone()], deadline).await?;
    let found = items.remove(&key);
    let key = match (record, &found) {
        (Some(record), _) => Some(key_of(record)),
        (None, Some(object)) => record_key(object).ok(),
        (None, None) => None,
    };
    let record = match key {
        Some(key) => ledger.get(key, deadline).await?,
        None => None,
    };
    Ok((found.as_ref().map(Object::read), record))
}
