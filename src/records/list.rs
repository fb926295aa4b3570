//! Lists of records, page by page.

use std::collections::VecDeque;

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::NaiveDate;
use futures_util::future::try_join_all;

use super::{
    By, Order, Query, Record,
    cursor::{Cursor, CursorError, Place, Position},
    read::{Fetched, Partition},
};
use crate::{
    aws::Deadline,
    error::Error,
    ledger::{
        BY_NIGHT, CLASS_PREDICTION_ID, Ledger, PREDICTION_DATE, TO_REVIEW,
        item::{self, Item},
    },
};

/// Highest number of records in a page.
pub const MAX_PAGE: usize = 1000;
/// A page ends when this many records were read for it, although fewer match its query.
const MAX_EXAMINED: usize = 5_000;
/// Lowest number of records in a query of DynamoDB. With fewer, a filter that few records meet would need many queries.
const MIN_QUERY: usize = 100;
/// Highest number of days that are read at once while they are empty.
const MAX_AHEAD: usize = 16;

/// One page of records.
#[derive(Debug, Default)]
pub struct Page {
    /// The records.
    pub records: Vec<Record>,
    /// Records that cannot be read: [`Error::RecordItem`].
    pub damaged: Vec<Error>,
    /// Where the list goes on; `None` at its end. A page may be short, or empty, and still go on.
    pub next: Option<Cursor>,
}

/// Why a list cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The cursor is not one of this query.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A table failed, or the time is up.
    #[error(transparent)]
    Ledger(#[from] Error),
}

impl Ledger {
    /// The next page of the records that `query` asks for: at most `limit`, which is 1 to [`MAX_PAGE`], from `cursor` on.
    ///
    /// # Errors
    ///
    /// [`ListError::Cursor`] if the cursor belongs to another query.
    pub async fn records(
        &self,
        query: &Query,
        limit: usize,
        cursor: Option<Cursor>,
        deadline: Deadline,
    ) -> Result<Page, ListError> {
        let position = cursor.map(|cursor| cursor.position(query)).transpose()?;
        let limit = limit.clamp(1, MAX_PAGE);
        let page = match (query.order, position) {
            (Order::LeastCertain, Some(Position::Rank(after))) => {
                self.queue(query, limit, Some(after), deadline).await?
            }
            (Order::LeastCertain, None) => self.queue(query, limit, None, deadline).await?,
            (Order::Newest | Order::Oldest, None) => {
                self.days(query, limit, None, deadline).await?
            }
            (Order::Newest | Order::Oldest, Some(Position::Day(after))) => {
                self.days(query, limit, Some(after), deadline).await?
            }
            _ => return Err(CursorError::Malformed.into()),
        };
        Ok(page)
    }

    /// A page in the order of days.
    async fn days(
        &self,
        query: &Query,
        limit: usize,
        from: Option<Place>,
        deadline: Deadline,
    ) -> Result<Page, Error> {
        let mut days: VecDeque<NaiveDate> = match query.order {
            Order::Oldest => query.span.days().into(),
            Order::Newest | Order::LeastCertain => query.span.days().into_iter().rev().collect(),
        };
        let mut start = None;
        if let Some(after) = from {
            while days.front().is_some_and(|day| *day != after.day) {
                days.pop_front();
            }
            start = Some(after.start_key());
        }
        let mut page = Page::default();
        let mut examined = 0;
        let mut ahead = 1;
        while !days.is_empty() {
            // After empty days, more days are read at once.
            let some: Vec<NaiveDate> = days.iter().copied().take(ahead).collect();
            let first = start.take();
            let partitions = some.iter().enumerate().map(|(place, &day)| {
                let start = first.clone().filter(|_| place == 0);
                partition(self, query, day, start, limit)
            });
            let partitions: Vec<_> = partitions.collect();
            let fetched = partitions.iter().map(|one| self.fetch(one, deadline));
            let fetched = try_join_all(fetched).await?;
            let all_are_empty = fetched.iter().all(|fetched| fetched.items.is_empty());
            ahead = if all_are_empty {
                (2 * ahead).min(MAX_AHEAD)
            } else {
                1
            };
            for (day, Fetched { items, next }) in some.into_iter().zip(fetched) {
                for item in items {
                    examined += 1;
                    let after = Place::of(day, &item, query.span.by())?;
                    page.take(&item, query);
                    if page.records.len() == limit || examined == MAX_EXAMINED {
                        page.next = Some(Cursor::new(query, Position::Day(after)));
                        return Ok(page);
                    }
                }
                if next.is_some() {
                    start = next;
                    break;
                }
                days.pop_front();
            }
        }
        Ok(page)
    }

    /// A page of the records that wait for review, the least certain first.
    async fn queue(
        &self,
        query: &Query,
        limit: usize,
        mut after: Option<String>,
        deadline: Deadline,
    ) -> Result<Page, Error> {
        let classes = self.classes(deadline).await?;
        let mut page = Page::default();
        let mut examined = 0;
        loop {
            let partitions = classes.iter().map(|class| Partition {
                table: &self.predictions,
                index: Some(TO_REVIEW),
                key: (TO_REVIEW.partition_key, class.to_string()),
                after: after.clone().map(|after| (TO_REVIEW.sort_key, after)),
                start: None,
                forward: true,
                limit: query_limit(limit),
            });
            let partitions: Vec<_> = partitions.collect();
            let fetched = partitions.iter().map(|one| self.fetch(one, deadline));
            let (ranked, is_end) = merge(try_join_all(fetched).await?)?;
            for (rank, item) in ranked {
                examined += 1;
                page.take(&item, query);
                if page.records.len() == limit || examined == MAX_EXAMINED {
                    page.next = Some(Cursor::new(query, Position::Rank(rank)));
                    return Ok(page);
                }
                after = Some(rank);
            }
            if is_end {
                return Ok(page);
            }
        }
    }
}

impl Page {
    /// Adds the record in `item` if `query` asks for it.
    fn take(&mut self, item: &Item, query: &Query) {
        match Record::read(item) {
            Ok(record) if query.matches(&record) => self.records.push(record),
            Ok(_) => {}
            Err(damaged) => self.damaged.push(damaged),
        }
    }
}

/// Items of several queues by rank, and whether these are all. Behind the last rank of a queue that goes on, nothing is
/// known of that queue, so the items behind it are left out.
fn merge(queues: Vec<Fetched>) -> Result<(Vec<(String, Item)>, bool), Error> {
    let mut ranked = Vec::new();
    let mut known: Option<String> = None;
    for queue in queues {
        let mut last = None;
        for item in queue.items {
            let rank = sort_key(&item, TO_REVIEW.sort_key)?;
            last = Some(rank.clone());
            ranked.push((rank, item));
        }
        if let Some(last) = last.filter(|_| queue.next.is_some()) {
            known = Some(known.map_or(last.clone(), |known| known.min(last)));
        }
    }
    ranked.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(known) = &known {
        ranked.retain(|(rank, _)| rank <= known);
    }
    Ok((ranked, known.is_none()))
}

/// The records of a night or date.
fn partition<'a>(
    ledger: &'a Ledger,
    query: &Query,
    day: NaiveDate,
    start: Option<Item>,
    limit: usize,
) -> Partition<'a> {
    let (index, name) = match query.span.by() {
        By::Night => (Some(BY_NIGHT), BY_NIGHT.partition_key),
        By::Date => (None, PREDICTION_DATE),
    };
    Partition {
        table: &ledger.predictions,
        index,
        key: (name, day.to_string()),
        after: None,
        start,
        forward: query.order == Order::Oldest,
        limit: query_limit(limit),
    }
}

/// The limit of a query of DynamoDB for a page of `limit` records.
fn query_limit(limit: usize) -> i32 {
    // A page has at most MAX_PAGE records.
    limit.max(MIN_QUERY) as i32
}

fn sort_key(item: &Item, attribute: &'static str) -> Result<String, Error> {
    item::text(item, attribute).map_err(|_| Error::RecordItem {
        record: item::text(item, CLASS_PREDICTION_ID).unwrap_or_else(|_| "?".to_owned()),
        attribute,
    })
}

impl Place {
    fn of(day: NaiveDate, item: &Item, by: By) -> Result<Self, Error> {
        Ok(Self {
            day,
            date: sort_key(item, PREDICTION_DATE)?,
            id: sort_key(item, CLASS_PREDICTION_ID)?,
            night_key: match by {
                By::Night => Some(sort_key(item, BY_NIGHT.sort_key)?),
                By::Date => None,
            },
        })
    }

    /// The key of the record, from which DynamoDB goes on.
    fn start_key(&self) -> Item {
        let mut key = vec![
            (PREDICTION_DATE, self.date.clone()),
            (CLASS_PREDICTION_ID, self.id.clone()),
        ];
        if let Some(night_key) = &self.night_key {
            key.push((BY_NIGHT.partition_key, self.day.to_string()));
            key.push((BY_NIGHT.sort_key, night_key.clone()));
        }
        let text = |(name, value): (&str, String)| (name.to_owned(), AttributeValue::S(value));
        key.into_iter().map(text).collect()
    }
}
