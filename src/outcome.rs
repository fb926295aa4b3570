//! What became of one object, for the ledger, the log and the caller.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use crate::{error::Rejection, ledger::Entry, object::ObjectVersion, prediction::Prediction};

/// How an object ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Classified and counted, now.
    Recorded,
    /// Refused for good, now.
    Rejected,
    /// Recorded or rejected before.
    Duplicate,
    /// A folder marker: no photo, so it is neither recorded nor rejected.
    Folder,
    /// No outcome yet. The function never answers this: it fails, and Lambda sends the event again.
    /// `local` shows it of an object that it gave up on.
    Failed,
}

impl Outcome {
    /// The word that logs and reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Recorded => "recorded",
            Outcome::Rejected => "rejected",
            Outcome::Duplicate => "duplicate",
            Outcome::Folder => "folder",
            Outcome::Failed => "failed",
        }
    }
}

/// One object's outcome, as the function answers it, in the order of the event, and as
/// `local --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Object key, decoded.
    pub key: String,
    /// Version id, where the bucket has versions.
    pub version_id: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Class it counts in.
    pub class_name: Option<String>,
    /// Probability of that class; the ledger does not keep it, so a duplicate has none.
    pub probability: Option<f32>,
    /// Its ordinal in that class on that day, from 1.
    pub count: Option<u64>,
    /// The day it counts on, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Why it was rejected.
    pub reason: Option<String>,
}

impl Report {
    fn new(object: &ObjectVersion, outcome: Outcome) -> Self {
        Self {
            key: object.key.clone(),
            version_id: object
                .version
                .as_ref()
                .map(|version| version.as_str().to_owned()),
            outcome,
            class_name: None,
            probability: None,
            count: None,
            date: None,
            reason: None,
        }
    }

    /// `prediction` was counted as number `count`.
    pub fn recorded(prediction: &Prediction, count: u64) -> Self {
        Self {
            class_name: Some(prediction.class().to_string()),
            probability: Some(prediction.probability()),
            count: Some(count),
            date: Some(prediction.date().to_string()),
            ..Self::new(&prediction.created.object, Outcome::Recorded)
        }
    }

    /// `object`, created on `day`, was refused.
    pub fn rejected(object: &ObjectVersion, day: Option<NaiveDate>, rejection: &Rejection) -> Self {
        Self {
            date: day.map(|day| day.to_string()),
            reason: Some(rejection.to_string()),
            ..Self::new(object, Outcome::Rejected)
        }
    }

    /// `object` had `entry` in the ledger.
    pub fn duplicate(object: &ObjectVersion, entry: Entry) -> Self {
        let report = Self::new(object, Outcome::Duplicate);
        match entry {
            Entry::Counted { class, date, count } => Self {
                class_name: Some(class),
                date: Some(date),
                count: Some(count),
                ..report
            },
            Entry::Rejected { reason } => Self {
                reason: Some(reason),
                ..report
            },
        }
    }

    /// `object` is a folder marker.
    pub fn folder(object: &ObjectVersion) -> Self {
        Self::new(object, Outcome::Folder)
    }

    /// Report of a repeat of this object in the same invocation.
    pub fn again(&self) -> Self {
        let outcome = match self.outcome {
            Outcome::Folder => Outcome::Folder,
            _ => Outcome::Duplicate,
        };
        Self {
            outcome,
            probability: None,
            ..self.clone()
        }
    }

    /// `object` was given up on.
    pub fn failed(object: &ObjectVersion, reason: String) -> Self {
        Self {
            reason: Some(reason),
            ..Self::new(object, Outcome::Failed)
        }
    }
}
