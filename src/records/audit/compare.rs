//! Compares the counters with the records, as both were read.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Dates, Finding,
    finding::Wrong,
    scan::{Day, Snapshot},
};
use crate::{
    error::{Error, chain},
    ledger::item::{self, Item},
    model::Label,
    records::{
        deltas::{CHANGES, LIVE, confusion_pair},
        drift::histograms,
    },
};

/// Highest number of ordinals that a finding lists.
const LISTED: usize = 100;

/// What seems wrong, each with the key of the counter that says so. A counter that cannot be read is damaged.
pub(super) fn candidates(snapshot: &Snapshot, dates: Dates) -> Vec<(String, Finding)> {
    let mut candidates = Vec::new();
    let counters = snapshot.counters.keys();
    let keys: BTreeSet<&String> = counters
        .chain(snapshot.numbers.keys())
        .chain(snapshot.days.keys())
        .collect();
    for key in keys {
        // Nights and confusion depend on records of all dates.
        if !dates.are_all() && !key.starts_with("count/") || snapshot.untrusted.concerns(key) {
            continue;
        }
        let found = of_counter(snapshot, key).unwrap_or_else(|error| {
            let reason = chain(&error);
            vec![Finding::Damaged { reason }]
        });
        candidates.extend(found.into_iter().map(|finding| (key.clone(), finding)));
    }
    candidates
}

/// What is wrong with one counter.
fn of_counter(snapshot: &Snapshot, key: &str) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let counter = snapshot.counters.get(key);
    if let Some(counter) = counter.filter(|counter| counter.contains_key(CHANGES)) {
        item::count(counter, CHANGES, key)?;
    }
    let wrong = wrong_numbers(snapshot, key, counter)?;
    if !wrong.is_empty() {
        findings.push(Finding::Numbers {
            key: key.to_owned(),
            counter: counter.cloned(),
            wrong,
        });
    }
    if !key.starts_with("count/") {
        return Ok(findings);
    }
    let none = Day::default();
    let day = snapshot.days.get(key).unwrap_or(&none);
    let issued = item::issued(key, counter)?;
    let (missing, repeated) = gaps(&day.ordinals, issued);
    if !missing.is_empty() || !repeated.is_empty() {
        findings.push(Finding::Ordinals {
            key: key.to_owned(),
            missing,
            repeated,
        });
    }
    let above: BTreeSet<u64> = day
        .ordinals
        .iter()
        .copied()
        .filter(|n| *n > issued)
        .collect();
    if let Some(&highest) = above.last() {
        findings.push(Finding::Issued {
            key: key.to_owned(),
            counter: counter.cloned(),
            issued,
            highest,
            is_row: highest - issued == above.len() as u64,
        });
    }
    findings.extend(bins(key, counter, day, issued)?);
    Ok(findings)
}

/// Numbers of records that differ from those of the counter.
fn wrong_numbers(
    snapshot: &Snapshot,
    key: &str,
    counter: Option<&Item>,
) -> Result<BTreeMap<String, Wrong>, Error> {
    let none = BTreeMap::new();
    let right = snapshot.numbers.get(key).unwrap_or(&none);
    let said = counter.map_or(Ok(BTreeMap::new()), |counter| said(key, counter))?;
    let attributes: BTreeSet<&String> = said.keys().chain(right.keys()).collect();
    let mut wrong = BTreeMap::new();
    for attribute in attributes {
        // An absent number is 0.
        let of = |numbers: &BTreeMap<String, i64>| numbers.get(attribute).copied().unwrap_or(0);
        let (says, records) = (of(&said), of(right));
        if says != records {
            wrong.insert(attribute.clone(), Wrong { says, records });
        }
    }
    Ok(wrong)
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
    let sum = said
        .values()
        .flatten()
        .fold(0, |sum: u64, bin| sum.saturating_add(*bin));
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

/// The class of the key of a counter; `None` for a confusion item.
pub(super) fn class_of(key: &str) -> Result<Option<Label>, Error> {
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
