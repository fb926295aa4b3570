//! The prediction for one photo, in the terms and formats of its record.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;

use crate::{
    capture::Capture,
    model::{Label, Probabilities},
    object::{ObjectCreated, ObjectId},
};

/// A probability in the format of the Python function before this one: `"{:2.0f}%".format(100 * p)`.
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

/// The prediction for one photo: everything in its record except the ordinal.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The object version, and the region of its bucket.
    pub created: ObjectCreated,
    /// The id under which it is counted.
    pub id: ObjectId,
    /// The model's output.
    pub probabilities: Probabilities,
    /// The class in which it counts: the most probable label, or UNKNOWN.
    pub class: Label,
    /// Whether it waits for review.
    pub waits_for_review: bool,
    /// [`Manifest::model_version`](crate::model::Manifest::model_version).
    pub model_version: String,
    /// When the version was created, in TIME_ZONE: its Last-Modified, which no retry changes.
    pub uploaded: DateTime<Tz>,
    /// When and where the photo was taken.
    pub capture: Capture,
    /// The photo's file.
    pub file: PhotoFile,
    /// When it was classified.
    pub predicted_at: DateTime<Utc>,
}

/// The file of a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhotoFile {
    /// Columns of the upright photo.
    pub width: u32,
    /// Rows of the upright photo.
    pub height: u32,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

impl Prediction {
    /// The class in which it counts.
    pub fn class(&self) -> &Label {
        &self.class
    }

    /// The most probable label, if it counts as UNKNOWN.
    pub fn predicted_class(&self) -> Option<&Label> {
        let (label, _) = self.probabilities.top();
        (self.class != *label).then_some(label)
    }

    /// Probability of the most probable label.
    pub fn probability(&self) -> f32 {
        self.probabilities.top().1
    }

    /// The day on which it counts.
    pub fn date(&self) -> NaiveDate {
        self.uploaded.date_naive()
    }

    /// Time of day for CaptureTime.
    pub fn time(&self) -> NaiveTime {
        self.uploaded.time()
    }

    /// Sort key of the record: class, hyphen, UUID.
    pub fn class_prediction_id(&self) -> String {
        format!("{}-{}", self.class(), self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
