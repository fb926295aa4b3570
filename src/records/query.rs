//! Which records are asked for.

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Record, ReviewStatus};
use crate::model::Label;

/// Longest span, in days: a leap year.
pub const MAX_DAYS: u64 = 366;
/// Days of a span without a first day.
pub const DEFAULT_DAYS: u64 = 30;

/// What the days of a span are.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumString,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// Trap nights: when the photos were taken. Records of an older version of this program have none.
    Night,
    /// Dates: when the photos were uploaded, in TIME_ZONE.
    Date,
}

/// Some nights or dates in a row: 1 to [`MAX_DAYS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    by: By,
    from: NaiveDate,
    to: NaiveDate,
}

/// The days are no span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// The first is after the last.
    #[error("{from} is after {to}")]
    Reversed {
        /// The first day.
        from: NaiveDate,
        /// The last day.
        to: NaiveDate,
    },
    /// There are too many.
    #[error("{from} to {to} are {days} days: ask for at most {MAX_DAYS} at a time")]
    TooLong {
        /// The first day.
        from: NaiveDate,
        /// The last day.
        to: NaiveDate,
        /// Number of days.
        days: u64,
    },
}

impl Span {
    /// The days from `from` to `to`, both included.
    ///
    /// # Errors
    ///
    /// If they are no days, or more than [`MAX_DAYS`].
    pub fn new(by: By, from: NaiveDate, to: NaiveDate) -> Result<Self, SpanError> {
        let days = to.signed_duration_since(from).num_days() + 1;
        match u64::try_from(days) {
            Ok(1..=MAX_DAYS) => Ok(Self { by, from, to }),
            Ok(days @ 1..) => Err(SpanError::TooLong { from, to, days }),
            Ok(0) | Err(_) => Err(SpanError::Reversed { from, to }),
        }
    }

    /// The days from `from` to `to`; by default the `days` days that end with `to`, or with `today`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_defaults(
        by: By,
        from: Option<NaiveDate>,
        to: Option<NaiveDate>,
        days: u64,
        today: NaiveDate,
    ) -> Result<Self, SpanError> {
        let to = to.unwrap_or(today);
        // At the beginning of time there is no day before.
        let default = || to.checked_sub_days(Days::new(days - 1)).unwrap_or(to);
        Self::new(by, from.unwrap_or_else(default), to)
    }

    /// What its days are.
    pub fn by(self) -> By {
        self.by
    }

    /// The first day.
    pub fn from(self) -> NaiveDate {
        self.from
    }

    /// The last day.
    pub fn to(self) -> NaiveDate {
        self.to
    }

    /// Its days, the first one first.
    pub fn days(self) -> Vec<NaiveDate> {
        let days = self.from.iter_days();
        days.take_while(|day| *day <= self.to).collect()
    }

    /// Whether a record belongs to it.
    fn has(self, record: &Record) -> bool {
        let day = match self.by {
            By::Night => record.night(),
            By::Date => Some(record.date),
        };
        day.is_some_and(|day| (self.from..=self.to).contains(&day))
    }
}

/// The order of records.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumString,
)]
#[strum(serialize_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// By day, the last one first. Within a night by the time at which the photos were taken; within a date by class.
    Newest,
    /// The reverse.
    Oldest,
    /// By probability, the lowest first. Only records that wait for review.
    LeastCertain,
}

/// What is known of the review of a record.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumString,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum ReviewFilter {
    /// It waits for review.
    Waiting,
    /// It has none.
    None,
    /// It has one.
    Reviewed,
    /// The reviewer said that the model was right.
    Confirmed,
    /// The reviewer gave it another class.
    Relabelled,
    /// The reviewer could not tell.
    Unknown,
}

/// Conditions on records. An absent one is met by every record.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Filter {
    /// The effective class.
    pub class: Option<Label>,
    /// The station.
    pub station: Option<String>,
    /// The review.
    pub review: Option<ReviewFilter>,
    /// The lowest probability.
    pub min_probability: Option<f32>,
    /// The highest probability.
    pub max_probability: Option<f32>,
    /// The model version.
    pub model_version: Option<String>,
}

impl Filter {
    /// Whether `record` meets every condition.
    pub fn matches(&self, record: &Record) -> bool {
        let review = record.review.as_ref().map(|review| review.status);
        let reviewed = |filter| match filter {
            ReviewFilter::Waiting => record.waits_for_review,
            ReviewFilter::None => review.is_none(),
            ReviewFilter::Reviewed => review.is_some(),
            ReviewFilter::Confirmed => review == Some(ReviewStatus::Confirmed),
            ReviewFilter::Relabelled => review == Some(ReviewStatus::Relabelled),
            ReviewFilter::Unknown => review == Some(ReviewStatus::Unknown),
        };
        let class = self.class.as_ref();
        let station = self.station.as_ref();
        let version = self.model_version.as_ref();
        class.is_none_or(|class| class == record.effective_class())
            && station.is_none_or(|station| Some(station) == record.station.as_ref())
            && self.review.is_none_or(reviewed)
            && self
                .min_probability
                .is_none_or(|least| record.probability >= least)
            && self
                .max_probability
                .is_none_or(|most| record.probability <= most)
            && version.is_none_or(|version| *version == record.model_version)
    }
}

/// Which records, in which order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Query {
    /// Their nights or dates.
    pub span: Span,
    /// Conditions on them.
    pub filter: Filter,
    /// Their order.
    pub order: Order,
}

impl Query {
    /// Whether it asks for `record`.
    pub fn matches(&self, record: &Record) -> bool {
        self.span.has(record) && self.filter.matches(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: &str, to: &str) -> Result<Span, SpanError> {
        Span::new(By::Night, from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn a_span_has_a_day_to_a_year() {
        let days = span("2026-02-27", "2026-03-01").unwrap().days();
        assert_eq!(days.len(), 3);
        assert_eq!(days[1].to_string(), "2026-02-28");
        assert_eq!(span("2026-05-01", "2026-05-01").unwrap().days().len(), 1);
        assert!(span("2024-01-01", "2024-12-31").is_ok());
        let error = span("2026-05-02", "2026-05-01").unwrap_err().to_string();
        assert_eq!(error, "2026-05-02 is after 2026-05-01");
        let error = span("2024-01-01", "2025-01-01").unwrap_err().to_string();
        assert!(error.contains("367 days"), "{error}");
    }
}
