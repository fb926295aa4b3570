//! Whether a model still does on new photos what it did on old ones.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{Days, NaiveDate};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    By, Span,
    confusion::{Confusion, confusion},
    deltas::confusion_key,
    query::MAX_DAYS,
};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{
        Ledger,
        item::{self, Item},
    },
    model::{BINS, Label},
};

/// Number of days with photos that are the reference of a model without a histogram of its own.
const REFERENCE_DAYS: usize = 14;

/// Numbers of records in ten bins of their probability: under 0.1, …, from 0.9 on.
pub type Histogram = [u64; BINS];

/// Numbers of records by probability, and of those that count as UNKNOWN.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Confidences {
    /// By probability.
    #[schema(value_type = Vec<u64>, min_items = 10, max_items = 10)]
    pub bins: Histogram,
    /// Of them UNKNOWN.
    pub unknown: u64,
}

/// What a model version did in a span.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// The model version.
    pub model_version: String,
    /// Its records of the span.
    pub now: Confidences,
    /// What they are compared with; `None` if there is nothing to compare with.
    pub reference: Option<Confidences>,
    /// Whether the reference is in the manifest of the model, or its first days.
    pub reference_source: Option<ReferenceSource>,
    /// Population stability index between both histograms. Under 0.1 is stable, over 0.25 is a shift.
    pub psi: Option<f64>,
    /// Share of UNKNOWN, 0 to 1; `None` without records.
    pub unknown_rate: Option<f64>,
    /// What reviewers say.
    pub confusion: Confusion,
}

/// Where a reference comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema, strum::Display)]
#[serde(rename_all = "camelCase")]
pub enum ReferenceSource {
    /// The validation photos in the model's manifest.
    #[strum(serialize = "validation photos")]
    Manifest,
    /// The first days of the model version that have photos.
    #[strum(serialize = "first 14 days")]
    FirstDays,
}

impl Confidences {
    /// The number of records.
    pub fn total(&self) -> u64 {
        sum(&self.bins)
    }

    fn add(&mut self, other: &Histogram, is_unknown: bool) {
        for (bin, number) in self.bins.iter_mut().zip(other) {
            *bin = bin.saturating_add(*number);
        }
        if is_unknown {
            self.unknown = self.unknown.saturating_add(sum(other));
        }
    }
}

/// The number of records of a histogram. A damaged counter may say more than fits.
fn sum(bins: &Histogram) -> u64 {
    bins.iter()
        .fold(0, |sum: u64, bin| sum.saturating_add(*bin))
}

/// The population stability index of `now` against `reference`: Σ (p − q) ln(p / q) over the shares p and q of the bins.
/// Half a record is added to each bin, because an empty one would make it infinite. `None` if one of them is empty.
pub fn psi(now: &Histogram, reference: &Histogram) -> Option<f64> {
    let shares = |bins: &Histogram| {
        let total = sum(bins) as f64;
        let share = |bin: u64| (bin as f64 + 0.5) / (total + BINS as f64 / 2.0);
        (total > 0.0).then(|| bins.map(share))
    };
    let (now, reference) = (shares(now)?, shares(reference)?);
    let terms = now.iter().zip(&reference);
    Some(terms.map(|(p, q)| (p - q) * (p / q).ln()).sum())
}

impl Ledger {
    /// Compares the records of the dates of `span` with the reference of their model version: the one in `references`,
    /// or its first 14 days with photos before the span, within the year before the end of the span. A review counts in the confusion
    /// whatever the date of the record.
    ///
    /// # Errors
    ///
    /// If the table cannot be read before `deadline`, or has a malformed item.
    pub async fn drift(
        &self,
        span: Span,
        references: &BTreeMap<String, Confidences>,
        deadline: Deadline,
    ) -> Result<Vec<Drift>, Error> {
        let classes = self.classes(deadline).await?;
        let year = year_before(span);
        let counters = self
            .counters(year, &classes, item::counter_key, deadline)
            .await?;
        let by_version = by_version(year, &classes, &counters)?;
        let keys = by_version.keys().map(|version| confusion_key(version));
        let reviews = self.read_all(keys.collect(), deadline).await?;
        let mut all = Vec::new();
        for (version, days) in by_version {
            let total = |days: &mut dyn Iterator<Item = &Confidences>| {
                let mut sum = Confidences::default();
                for day in days {
                    sum.add(&day.bins, false);
                    sum.unknown = sum.unknown.saturating_add(day.unknown);
                }
                sum
            };
            let now = total(&mut days.range(span.from()..=span.to()).map(|(_, day)| day));
            let before = days.range(..span.from()).map(|(_, day)| day);
            let first = total(&mut before.take(REFERENCE_DAYS));
            let (reference, source) = match references.get(&version) {
                Some(reference) => (Some(*reference), Some(ReferenceSource::Manifest)),
                None if first.total() > 0 => (Some(first), Some(ReferenceSource::FirstDays)),
                None => (None, None),
            };
            let confused = reviews.get(&confusion_key(&version));
            if now.total() == 0 {
                continue;
            }
            all.push(Drift {
                psi: reference.and_then(|reference| psi(&now.bins, &reference.bins)),
                unknown_rate: Some(now.unknown as f64 / now.total() as f64),
                confusion: confusion(&confusion_key(&version), confused)?,
                model_version: version,
                now,
                reference,
                reference_source: source,
            });
        }
        Ok(all)
    }
}

/// The longest span that ends where `span` ends.
fn year_before(span: Span) -> Span {
    let from = span.to().checked_sub_days(Days::new(MAX_DAYS - 1));
    // At the beginning of time there is no year before.
    let year = from.and_then(|from| Span::new(By::Date, from, span.to()).ok());
    year.unwrap_or(span)
}

/// The bins of the counters, by model version and date.
fn by_version(
    span: Span,
    classes: &BTreeSet<Label>,
    counters: &HashMap<String, Item>,
) -> Result<BTreeMap<String, BTreeMap<NaiveDate, Confidences>>, Error> {
    let mut all: BTreeMap<String, BTreeMap<NaiveDate, Confidences>> = BTreeMap::new();
    for date in span.days() {
        for class in classes {
            let key = item::counter_key(date, class);
            let Some(counter) = counters.get(&key) else {
                continue;
            };
            for (version, bins) in histograms(counter, &key)? {
                let day = all.entry(version).or_default().entry(date).or_default();
                day.add(&bins, *class == Label::unknown());
            }
        }
    }
    Ok(all)
}

/// The histograms of a counter, by model version.
pub(super) fn histograms(counter: &Item, key: &str) -> Result<BTreeMap<String, Histogram>, Error> {
    let mut histograms: BTreeMap<String, Histogram> = BTreeMap::new();
    for (attribute, value) in counter {
        let Some((version, bin)) = attribute.rsplit_once(".b") else {
            continue;
        };
        let invalid = || Error::LedgerItem {
            key: format!("{key} ({attribute})"),
            attribute: "bin",
        };
        let bin: usize = match bin.len() {
            1 => bin.parse().map_err(|_| invalid())?,
            _ => return Err(invalid()),
        };
        let AttributeValue::N(number) = value else {
            return Err(invalid());
        };
        let number = number.parse().map_err(|_| invalid())?;
        let histogram = histograms.entry(version.to_owned()).or_default();
        *histogram.get_mut(bin).ok_or_else(invalid)? = number;
    }
    Ok(histograms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psi_measures_how_far_two_histograms_are_apart() {
        let certain = [0, 0, 0, 0, 0, 0, 10, 20, 70, 900];
        let same = certain.map(|bin| 3 * bin);
        assert!(psi(&same, &certain).unwrap() < 0.01);
        let doubtful = [0, 0, 0, 50, 100, 150, 200, 200, 150, 150];
        assert!(psi(&doubtful, &certain).unwrap() > 1.0);
        assert_eq!(psi(&[0; 10], &certain), None);
        // By hand: (0.75 − 0.25) ln 3 for either of two bins that swap their shares, without the half records.
        let mut now = [0; 10];
        let mut reference = [0; 10];
        (now[0], now[9]) = (750_000, 250_000);
        (reference[0], reference[9]) = (250_000, 750_000);
        let expected = 3f64.ln();
        assert!((psi(&now, &reference).unwrap() - expected).abs() < 1e-3);
    }

    #[test]
    fn the_bins_of_a_counter_are_read_by_version() {
        let number = |n: i64| AttributeValue::N(n.to_string());
        let mut counter = Item::from([
            ("Issued".to_owned(), number(3)),
            ("0123456789ab.b0".to_owned(), number(1)),
            ("0123456789ab.b9".to_owned(), number(2)),
            ("ba9876543210.b5".to_owned(), number(7)),
        ]);
        let bins = histograms(&counter, "count/…").unwrap();
        assert_eq!(bins["0123456789ab"], [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(bins["ba9876543210"][5], 7);
        counter.insert("x.b10".into(), number(1));
        assert!(histograms(&counter, "count/…").is_err());
    }
}
