//! What the model says of one object, in the words and formats of the prediction record.

use std::{fmt, sync::Arc};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::object::ObjectCreated;

/// The classes a record names with their probabilities: a record stays under 1 KB, one write unit.
pub const LIKELIEST: usize = 5;

/// The name of a class: 1 to 100 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(String);

impl Label {
    /// The name as the manifest spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = String;

    fn try_from(label: String) -> Result<Self, String> {
        if (1..=100).contains(&label.len()) && !label.chars().any(char::is_control) {
            Ok(Self(label))
        } else {
            Err(format!(
                "label {label:?} is not 1 to 100 bytes without control characters"
            ))
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A probability as the old function printed it: Python's `"{:2.0f}%".format(100 * p)`.
///
/// ```
/// use moth_classifier::prediction::Confidence;
/// assert_eq!(Confidence(0.974).to_string(), "97%");
/// assert_eq!(Confidence(0.04).to_string(), " 4%");
/// // A tie goes to the even digit.
/// assert_eq!(Confidence(0.125).to_string(), "12%");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Confidence(
    /// 0 to 1.
    pub f32,
);

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:2.0}%", f64::from(self.0) * 100.0)
    }
}

/// One probability for each label: finite, 0 to 1, summing to 1 within rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    labels: Arc<[Label]>,
    values: Vec<f32>,
}

/// What keeps numbers from being probabilities.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ProbabilitiesError {
    /// Another number of values than labels.
    #[error("{values} outputs for {labels} labels")]
    Length {
        /// Number of outputs.
        values: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A value outside 0 to 1, or a sum that is not 1.
    #[error("outputs {0:?} are no probabilities")]
    Values(Vec<f32>),
}

impl Probabilities {
    /// Checks `values`, in the order of `labels`.
    ///
    /// # Errors
    ///
    /// Where they are not one probability for each label.
    pub fn new(labels: Arc<[Label]>, values: Vec<f32>) -> Result<Self, ProbabilitiesError> {
        if labels.is_empty() || values.len() != labels.len() {
            return Err(ProbabilitiesError::Length {
                values: values.len(),
                labels: labels.len(),
            });
        }
        // Rounding may leave a probability a few ulps outside; NaN fails every comparison.
        let in_range = values
            .iter()
            .all(|value| (-1e-6..=1.0 + 1e-6).contains(value));
        let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
        if !in_range || (sum - 1.0).abs() > 1e-3 {
            return Err(ProbabilitiesError::Values(values));
        }
        let values = values
            .into_iter()
            .map(|value| value.clamp(0.0, 1.0))
            .collect();
        Ok(Self { labels, values })
    }

    /// Softmax of `logits`.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn from_logits(labels: Arc<[Label]>, logits: &[f32]) -> Result<Self, ProbabilitiesError> {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Vec<f64> = logits
            .iter()
            .map(|&logit| f64::from(logit - max).exp())
            .collect();
        let sum: f64 = powers.iter().sum();
        Self::new(
            labels,
            powers.iter().map(|power| (power / sum) as f32).collect(),
        )
    }

    /// Labels and probabilities in the model's order.
    pub fn iter(&self) -> impl Iterator<Item = (&Label, f32)> {
        self.labels.iter().zip(self.values.iter().copied())
    }

    /// The likeliest class; of equals the first, as NumPy's argmax.
    pub fn top(&self) -> (&Label, f32) {
        let first = (&self.labels[0], self.values[0]);
        self.iter()
            .skip(1)
            .fold(first, |top, next| if next.1 > top.1 { next } else { top })
    }

    /// The `n` likeliest classes, likeliest first.
    pub fn likeliest(&self, n: usize) -> Vec<(&Label, f32)> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(n);
        all
    }
}

/// One prediction, everything of its record but the ordinal.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The object, and the region of its bucket.
    pub created: ObjectCreated,
    /// [`ObjectVersion::id`](crate::object::ObjectVersion::id).
    pub id: Uuid,
    /// What the model says.
    pub probabilities: Probabilities,
    /// [`Manifest::model_version`](crate::manifest::Manifest::model_version).
    pub model_version: String,
    /// When the object was created, in TIME_ZONE: the version's own LastModified, which no retry changes.
    pub captured: DateTime<Tz>,
    /// When it was classified.
    pub predicted_at: DateTime<Utc>,
}

impl Prediction {
    /// The predicted class.
    pub fn class(&self) -> &Label {
        self.probabilities.top().0
    }

    /// Probability of the predicted class.
    pub fn probability(&self) -> f32 {
        self.probabilities.top().1
    }

    /// The day it counts on.
    pub fn date(&self) -> NaiveDate {
        self.captured.date_naive()
    }

    /// Time of day, as CaptureTime shows it.
    pub fn time(&self) -> NaiveTime {
        self.captured.time()
    }

    /// Sort key of the record: class, hyphen, UUID.
    pub fn class_prediction_id(&self) -> String {
        format!("{}-{}", self.class(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(names: &[&str]) -> Arc<[Label]> {
        names
            .iter()
            .map(|name| Label::try_from((*name).to_owned()).unwrap())
            .collect()
    }

    #[test]
    fn confidence_is_pythons_format() {
        // Written by Python: "{:2.0f}%".format(100 * p) for p as float32.
        for (probability, text) in [
            (1.0, "100%"),
            (0.999, "100%"),
            (0.994, "99%"),
            (0.125, "12%"),
            (0.375, "38%"),
            (0.095, " 9%"),
            (0.001, " 0%"),
        ] {
            assert_eq!(Confidence(probability).to_string(), text);
        }
    }

    #[test]
    fn the_top_class_is_the_first_of_equals() {
        let probabilities =
            Probabilities::new(labels(&["A", "B", "C"]), vec![0.2, 0.4, 0.4]).unwrap();
        assert_eq!(probabilities.top().0.as_str(), "B");
        let likeliest: Vec<_> = probabilities
            .likeliest(2)
            .iter()
            .map(|(l, _)| l.as_str())
            .collect();
        assert_eq!(likeliest, ["B", "C"]);
    }

    #[test]
    fn numbers_that_are_no_probabilities_are_refused() {
        for values in [
            vec![0.5, 0.4],
            vec![f32::NAN, 1.0],
            vec![1.5, -0.5],
            vec![1.0],
        ] {
            assert!(Probabilities::new(labels(&["A", "B"]), values).is_err());
        }
    }

    #[test]
    fn softmax_survives_large_logits() {
        let probabilities =
            Probabilities::from_logits(labels(&["A", "B"]), &[1000.0, 1000.0]).unwrap();
        assert_eq!(probabilities.top(), (&labels(&["A"])[0], 0.5));
        assert!(Probabilities::from_logits(labels(&["A", "B"]), &[f32::NAN, 0.0]).is_err());
    }
}
