//! Where a list of records goes on.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{By, Order, Query};

/// Where a list of records goes on: an opaque text, which is valid for the query that it came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Version of this format.
    v: u8,
    /// Hash of the query.
    q: String,
    /// The position.
    p: Position,
}

/// After which record a list goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Position {
    /// In the order of days.
    Day(Place),
    /// In the order of ReviewRank: after this one.
    Rank(String),
}

/// Longest sort key of DynamoDB, in bytes.
const MAX_SORT_KEY: usize = 1024;

impl Position {
    /// Whether an answer to `query` can have it.
    fn is_of(&self, query: &Query) -> bool {
        let is_key = |text: &String| (1..=MAX_SORT_KEY).contains(&text.len());
        let span = query.span;
        match self {
            Self::Rank(rank) => query.order == Order::LeastCertain && is_key(rank),
            Self::Day(place) => {
                let is_day = (span.from()..=span.to()).contains(&place.day);
                let has_keys = match (span.by(), &place.night_key) {
                    (By::Night, Some(night_key)) => {
                        is_key(night_key) && place.date.parse::<NaiveDate>().is_ok()
                    }
                    (By::Date, None) => place.date == place.day.to_string(),
                    _ => false,
                };
                query.order != Order::LeastCertain && is_day && has_keys && is_key(&place.id)
            }
        }
    }
}

/// The place of a record in a night or date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The night or date.
    pub(super) day: NaiveDate,
    /// PredictionDate.
    pub(super) date: String,
    /// ClassPredictionID.
    pub(super) id: String,
    /// NightKey, in a night.
    pub(super) night_key: Option<String>,
}

/// The text is no cursor of this query.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It is no cursor.
    #[error("this is no cursor: take nextCursor of an answer, or none to begin")]
    Malformed,
    /// It belongs to another query.
    #[error(
        "the cursor belongs to another query: begin without a cursor if you change the filters"
    )]
    OtherQuery,
}

const VERSION: u8 = 1;

impl Cursor {
    pub(super) fn new(query: &Query, position: Position) -> Self {
        Self {
            v: VERSION,
            q: hash(query),
            p: position,
        }
    }

    /// The position, if this is a cursor of `query`.
    ///
    /// # Errors
    ///
    /// [`CursorError::OtherQuery`] if it is not, and [`CursorError::Malformed`] if somebody made it up.
    pub(super) fn position(self, query: &Query) -> Result<Position, CursorError> {
        if self.q != hash(query) {
            return Err(CursorError::OtherQuery);
        }
        match self.p.is_of(query) {
            true => Ok(self.p),
            false => Err(CursorError::Malformed),
        }
    }
}

/// First 16 digits of the SHA-256 of the query.
#[expect(
    clippy::expect_used,
    reason = "strings, numbers and dates have a JSON form"
)]
fn hash(query: &Query) -> String {
    let json = serde_json::to_vec(query).expect("a query has a JSON form");
    hex::encode(&Sha256::digest(json)[..8])
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let json = URL_SAFE_NO_PAD.decode(text).ok();
        let cursor: Option<Self> = json.and_then(|json| serde_json::from_slice(&json).ok());
        cursor
            .filter(|cursor| cursor.v == VERSION)
            .ok_or(CursorError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Filter, Span};

    #[test]
    fn a_cursor_is_valid_for_its_query() {
        let day = NaiveDate::from_ymd_opt(2026, 5, 1).unwrap();
        let query = Query {
            span: Span::new(By::Night, day, day).unwrap(),
            filter: Filter::default(),
            order: Order::LeastCertain,
        };
        let position = Position::Rank("0.512000#1".into());
        let text = Cursor::new(&query, position.clone()).to_string();
        let cursor: Cursor = text.parse().unwrap();
        assert_eq!(cursor.clone().position(&query), Ok(position));
        let other = Query {
            order: Order::Oldest,
            ..query
        };
        assert_eq!(cursor.position(&other), Err(CursorError::OtherQuery));
        for malformed in ["", "abc", "?", &text[1..]] {
            assert_eq!(malformed.parse::<Cursor>(), Err(CursorError::Malformed));
        }
    }

    #[test]
    fn a_cursor_that_somebody_made_up_is_malformed() {
        let date = |day| NaiveDate::from_ymd_opt(2026, 5, day).unwrap();
        let query = |by| Query {
            span: Span::new(by, date(1), date(9)).unwrap(),
            filter: Filter::default(),
            order: Order::Newest,
        };
        let place = |day, night_key: Option<&str>| Place {
            day: date(day),
            date: date(day).to_string(),
            id: "FAW-1".into(),
            night_key: night_key.map(Into::into),
        };
        let position = |by, place| {
            let query = query(by);
            let cursor = Cursor::new(&query, Position::Day(place));
            cursor.position(&query).is_ok()
        };
        assert!(position(
            By::Night,
            place(3, Some("2026-05-03T20:00:00Z#1"))
        ));
        assert!(position(By::Date, place(3, None)));
        assert!(!position(By::Night, place(3, None)));
        assert!(!position(
            By::Date,
            place(3, Some("2026-05-03T20:00:00Z#1"))
        ));
        assert!(!position(By::Date, place(10, None)));
        let long = "x".repeat(MAX_SORT_KEY + 1);
        assert!(!position(By::Night, place(3, Some(&long))));
        let empty = Place {
            id: String::new(),
            ..place(3, None)
        };
        assert!(!position(By::Date, empty));
        let query = query(By::Night);
        let rank = Cursor::new(&query, Position::Rank("0.5#1".into()));
        assert_eq!(rank.position(&query), Err(CursorError::Malformed));
    }
}
