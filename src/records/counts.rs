//! Numbers of records by night or date.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::NaiveDate;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{By, Filter, ListError, MAX_PAGE, Order, Query, Span, deltas::LIVE};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{
        Ledger, MAX_LOOKUP,
        item::{self, CLASSES, Item, NAMES},
    },
    model::Label,
};

/// Number of lookups of the ledger at once.
const LOOKUPS: usize = 8;

/// The records of one night or date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayCounts {
    /// The night or date.
    pub day: NaiveDate,
    /// The number of records with each effective class. A class without records is absent.
    pub classes: BTreeMap<Label, u64>,
}

impl DayCounts {
    /// The number of all records.
    pub fn total(&self) -> u64 {
        let numbers = self.classes.values();
        numbers.fold(0, |sum: u64, number| sum.saturating_add(*number))
    }
}

impl Ledger {
    /// Every class that has a counter, in alphabetical order.
    ///
    /// # Errors
    ///
    /// If the table cannot be read before `deadline`.
    pub async fn classes(&self, deadline: Deadline) -> Result<BTreeSet<Label>, Error> {
        let mut items = self.read(vec![CLASSES.to_owned()], deadline).await?;
        match items.remove(CLASSES) {
            Some(item) => names(&item),
            None => Ok(BTreeSet::new()),
        }
    }

    /// The number of records of each day of `span`, also of days without records: reviews, deletions and restores count.
    ///
    /// # Errors
    ///
    /// If the table cannot be read before `deadline`.
    pub async fn counts(&self, span: Span, deadline: Deadline) -> Result<Vec<DayCounts>, Error> {
        let classes = self.classes(deadline).await?;
        let key = match span.by() {
            By::Night => item::night_key,
            By::Date => item::counter_key,
        };
        let counters = self.counters(span, &classes, key, deadline).await?;
        let mut days = Vec::new();
        for day in span.days() {
            let mut counts = BTreeMap::new();
            for class in &classes {
                let key = key(day, class);
                let Some(counter) = counters.get(&key) else {
                    continue;
                };
                // A counter of a class that was never counted on this day has only what reviews moved.
                let live = item::count(counter, LIVE, &key)?;
                if live > 0 {
                    counts.insert(class.clone(), live);
                }
            }
            days.push(DayCounts {
                day,
                classes: counts,
            });
        }
        Ok(days)
    }

    /// The number of records of one `station` on each day of `span`. There are no counters of stations, so this reads each
    /// record. `deadline` gives each page of records its time.
    ///
    /// # Errors
    ///
    /// If the table cannot be read, or has a damaged record: then nobody knows its station.
    pub async fn counts_of_station(
        &self,
        span: Span,
        station: &str,
        deadline: impl Fn() -> Deadline,
    ) -> Result<Vec<DayCounts>, ListError> {
        let query = Query {
            span,
            filter: Filter {
                station: Some(station.to_owned()),
                ..Filter::default()
            },
            order: Order::Oldest,
        };
        let days = span.days().into_iter();
        let mut days: BTreeMap<NaiveDate, BTreeMap<Label, u64>> =
            days.map(|day| (day, BTreeMap::new())).collect();
        let mut cursor = None;
        loop {
            let page = self.records(&query, MAX_PAGE, cursor, deadline()).await?;
            if let Some(damaged) = page.damaged.into_iter().next() {
                return Err(damaged.into());
            }
            for record in &page.records {
                let day = match span.by() {
                    By::Night => record.night(),
                    By::Date => Some(record.date),
                };
                let counts = day.and_then(|day| days.get_mut(&day));
                let counts = counts.ok_or_else(|| Error::RecordItem {
                    record: record.class_prediction_id(),
                    attribute: "day of this span",
                })?;
                *counts.entry(record.effective_class().clone()).or_default() += 1;
            }
            cursor = page.next;
            if cursor.is_none() {
                let days = days.into_iter();
                return Ok(days
                    .map(|(day, classes)| DayCounts { day, classes })
                    .collect());
            }
        }
    }

    /// The counters of the days of `span` and of `classes`, by ledger key.
    pub(super) async fn counters(
        &self,
        span: Span,
        classes: &BTreeSet<Label>,
        key: fn(NaiveDate, &Label) -> String,
        deadline: Deadline,
    ) -> Result<HashMap<String, Item>, Error> {
        let days = span.days();
        let keys = days
            .iter()
            .flat_map(|&day| classes.iter().map(move |class| key(day, class)));
        self.read_all(keys.collect(), deadline).await
    }

    /// The items with these distinct `keys`, any number of them, by key.
    pub(super) async fn read_all(
        &self,
        keys: Vec<String>,
        deadline: Deadline,
    ) -> Result<HashMap<String, Item>, Error> {
        let lookups = keys
            .chunks(MAX_LOOKUP)
            .map(|some| self.read(some.to_vec(), deadline));
        let found: Vec<_> = stream::iter(lookups.collect::<Vec<_>>())
            .buffer_unordered(LOOKUPS)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// The classes in the item [`CLASSES`].
pub(super) fn names(item: &Item) -> Result<BTreeSet<Label>, Error> {
    let invalid = || Error::LedgerItem {
        key: CLASSES.to_owned(),
        attribute: NAMES,
    };
    match item.get(NAMES) {
        Some(AttributeValue::Ss(names)) => names
            .iter()
            .map(|name| Label::try_from(name.clone()).map_err(|_| invalid()))
            .collect(),
        _ => Err(invalid()),
    }
}
