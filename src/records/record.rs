//! A record: what both tables say about one photo that was counted.

pub(crate) mod json;
mod read;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use crate::{
    capture::{CaptureDoubt, CaptureSource},
    model::Label,
    object::{ObjectId, ObjectVersion},
    photo::Position,
    prediction::PhotoFile,
};

/// What both tables say about one photo that was counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Id of the photo.
    pub id: ObjectId,
    /// The day on which it counts, in TIME_ZONE.
    pub date: NaiveDate,
    /// Time of day of the upload, in TIME_ZONE.
    pub time: NaiveTime,
    /// ClassName: the class in which the model counted it; UNKNOWN if the model was not certain.
    pub class: Label,
    /// Its ordinal in that class on that day, from 1.
    pub count: u64,
    /// The model's most probable label.
    pub predicted: Label,
    /// The probability of that label, 0 to 1.
    pub probability: f32,
    /// The most probable labels, the most probable first.
    pub probabilities: Vec<(Label, f32)>,
    /// First 12 digits of the model's SHA-256.
    pub model_version: String,
    /// When it was classified.
    pub predicted_at: DateTime<Utc>,
    /// The object version.
    pub object: ObjectVersion,
    /// When the photo was taken. `None` in a record of an older version of this program.
    pub captured: Option<Captured>,
    /// The station at which the camera is.
    pub station: Option<String>,
    /// The camera.
    pub camera: Option<String>,
    /// Position from EXIF.
    pub position: Option<Position>,
    /// The photo's file. `None` in a record of an older version of this program.
    pub file: Option<PhotoFile>,
    /// The latest review, if it was not withdrawn.
    pub review: Option<Review>,
    /// Number of changes by people.
    pub revision: u64,
    /// Whether it waits for review.
    pub waits_for_review: bool,
}

/// When a photo was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Captured {
    /// The time.
    pub at: DateTime<FixedOffset>,
    /// What says so.
    pub source: CaptureSource,
    /// Why the camera's clock was not believed.
    pub doubt: Option<CaptureDoubt>,
    /// Trap night: the date on which the night began.
    pub night: NaiveDate,
}

/// What a person says about a photo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// How the reviewer's class relates to the model's.
    pub status: ReviewStatus,
    /// The reviewer's class.
    pub class: Label,
    /// Name of the reviewer.
    pub by: String,
    /// Time of the review.
    pub at: DateTime<Utc>,
}

/// How a reviewer's class relates to the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, strum::Display, strum::EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum ReviewStatus {
    /// The model was right.
    Confirmed,
    /// It is another class.
    Relabelled,
    /// The reviewer cannot tell what the model told.
    Unknown,
}

impl ReviewStatus {
    /// The status of a review that says `reviewed` where the model said `class`.
    pub fn of(class: &Label, reviewed: &Label) -> Self {
        if class == reviewed {
            Self::Confirmed
        } else if *reviewed == Label::unknown() {
            Self::Unknown
        } else {
            Self::Relabelled
        }
    }
}

/// The attributes of a review.
pub(in crate::records) const REVIEW_STATUS: &str = "ReviewStatus";
pub(in crate::records) const REVIEWED_CLASS: &str = "ReviewedClass";
pub(in crate::records) const REVIEWED_BY: &str = "ReviewedBy";
pub(in crate::records) const REVIEWED_AT: &str = "ReviewedAt";
pub(in crate::records) const REVISION: &str = "Revision";
/// Highest revision. Nobody changes a record that often: a higher number is damage.
pub(in crate::records) const MAX_REVISION: u64 = 100_000;

impl Record {
    /// The class that counts: the reviewer's, otherwise the model's.
    pub fn effective_class(&self) -> &Label {
        match &self.review {
            Some(review) => &review.class,
            None => &self.class,
        }
    }

    /// Trap night; `None` in a record of an older version of this program.
    pub fn night(&self) -> Option<NaiveDate> {
        self.captured.map(|captured| captured.night)
    }

    /// When the object version was created, in TIME_ZONE.
    pub fn uploaded(&self) -> NaiveDateTime {
        self.date.and_time(self.time)
    }

    /// Sort key of the record: class, hyphen, UUID.
    pub fn class_prediction_id(&self) -> String {
        format!("{}-{}", self.class, self.id)
    }
}
