//! The JSON form of an outcome: in the function's answer, in log lines and in `--json` output.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ledger::Entry,
    object::{ObjectVersion, VersionId},
    outcome::{ARCHIVED, Outcome},
};

/// One photo's outcome in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Object key, decoded.
    pub key: String,
    /// Version id; `null` in a bucket without versions.
    pub version_id: Option<String>,
    /// The outcome in one word.
    pub outcome: Word,
    /// Class in which it counts.
    pub class_name: Option<String>,
    /// Probability of that class. The ledger does not keep it, so a duplicate has none.
    pub probability: Option<f32>,
    /// Its ordinal in that class on that day, from 1.
    pub count: Option<u64>,
    /// The day on which it counts, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// Why it was rejected.
    pub reason: Option<String>,
}

/// An outcome in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Word {
    /// Classified and counted by this invocation.
    Recorded,
    /// Refused for good.
    Rejected,
    /// Recorded or rejected before.
    Duplicate,
    /// A folder marker.
    Folder,
}

impl Word {
    /// The word in logs, tables and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Rejected => "rejected",
            Self::Duplicate => "duplicate",
            Self::Folder => "folder",
        }
    }
}

impl Report {
    /// The report of `object` and its `outcome`.
    pub(crate) fn new(object: &ObjectVersion, outcome: &Outcome) -> Self {
        let report = Self {
            key: object.key.clone(),
            version_id: object
                .version
                .as_ref()
                .map(VersionId::as_str)
                .map(Into::into),
            outcome: Word::Folder,
            class_name: None,
            probability: None,
            count: None,
            date: None,
            reason: None,
        };
        match outcome {
            Outcome::Recorded {
                class,
                probability,
                date,
                count,
            } => Self {
                outcome: Word::Recorded,
                class_name: Some(class.to_string()),
                probability: Some(*probability),
                count: Some(*count),
                date: Some(date.to_string()),
                ..report
            },
            Outcome::Rejected { rejection, date } => Self {
                outcome: Word::Rejected,
                date: date.map(|date| date.to_string()),
                reason: Some(rejection.to_string()),
                ..report
            },
            Outcome::Archived => Self {
                outcome: Word::Rejected,
                reason: Some(ARCHIVED.to_owned()),
                ..report
            },
            Outcome::Duplicate(Entry::Counted { class, date, count }) => Self {
                outcome: Word::Duplicate,
                class_name: Some(class.to_string()),
                date: Some(date.to_string()),
                count: Some(*count),
                ..report
            },
            Outcome::Duplicate(Entry::Rejected { reason }) => Self {
                outcome: Word::Duplicate,
                reason: Some(reason.clone()),
                ..report
            },
            Outcome::Folder => report,
        }
    }
}

/// Why the function's answer to a notification cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The answer has another shape.
    #[error(
        "the function's answer cannot be read ({0}): use the program of the version that is deployed"
    )]
    Shape(#[from] serde_json::Error),
    /// An outcome is that of another photo.
    #[error("the function answered for {answered}, but was asked for {asked}")]
    Other {
        /// Key in the answer.
        answered: String,
        /// Key in the event.
        asked: String,
    },
    /// The number of outcomes is not that of the photos.
    #[error("the function answered {outcomes} outcomes for {photos} photos")]
    Number {
        /// Number of outcomes in the answer.
        outcomes: usize,
        /// Number of photos in the event.
        photos: usize,
    },
}

/// Reads the outcomes from the function's answer to a notification of `photos`, in the order of the event.
///
/// # Errors
///
/// If the answer does not have exactly one outcome for each photo.
pub(crate) fn read_outcomes(
    answer: &Value,
    photos: &[ObjectVersion],
) -> Result<Vec<Report>, AnswerError> {
    #[derive(Deserialize)]
    struct Answer {
        outcomes: Vec<Report>,
    }
    let Answer { outcomes } = Answer::deserialize(answer)?;
    if outcomes.len() != photos.len() {
        return Err(AnswerError::Number {
            outcomes: outcomes.len(),
            photos: photos.len(),
        });
    }
    for (report, photo) in outcomes.iter().zip(photos) {
        if report.key != photo.key {
            return Err(AnswerError::Other {
                answered: report.key.clone(),
                asked: photo.key.clone(),
            });
        }
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{model::Label, photo::Rejection};

    fn photo(key: &str) -> ObjectVersion {
        ObjectVersion {
            bucket: "moths".into(),
            key: key.into(),
            version: VersionId::new("v1"),
        }
    }

    #[test]
    fn reports_have_the_same_members_for_every_outcome() {
        let class = Label::try_from("FAW".to_owned()).unwrap();
        let date = "2026-11-20".parse().unwrap();
        let counted = Entry::Counted {
            class: class.clone(),
            date,
            count: 17,
        };
        let recorded = Outcome::Recorded {
            class,
            probability: 0.5,
            date,
            count: 17,
        };
        let rejection = Rejection::Gone;
        let gone = rejection.to_string();
        let rejected = Outcome::Rejected {
            rejection,
            date: Some(date),
        };
        for (outcome, word, class, probability, count, date, reason) in [
            (
                recorded,
                "recorded",
                json!("FAW"),
                json!(0.5),
                json!(17),
                json!("2026-11-20"),
                json!(null),
            ),
            (
                rejected.clone(),
                "rejected",
                json!(null),
                json!(null),
                json!(null),
                json!("2026-11-20"),
                json!(gone),
            ),
            (
                rejected.of_repeat(),
                "duplicate",
                json!(null),
                json!(null),
                json!(null),
                json!(null),
                json!(gone),
            ),
            (
                Outcome::Archived,
                "rejected",
                json!(null),
                json!(null),
                json!(null),
                json!(null),
                json!(ARCHIVED),
            ),
            (
                Outcome::Duplicate(counted),
                "duplicate",
                json!("FAW"),
                json!(null),
                json!(17),
                json!("2026-11-20"),
                json!(null),
            ),
            (
                Outcome::Folder,
                "folder",
                json!(null),
                json!(null),
                json!(null),
                json!(null),
                json!(null),
            ),
        ] {
            assert_eq!(
                serde_json::to_value(Report::new(&photo("a.jpg"), &outcome)).unwrap(),
                json!({
                    "key": "a.jpg", "versionId": "v1", "outcome": word, "className": class,
                    "probability": probability, "count": count, "date": date, "reason": reason,
                })
            );
        }
    }

    fn read(outcomes: &[(&str, &str)]) -> Result<Vec<Report>, AnswerError> {
        let outcome = |(key, outcome): &(&str, &str)| json!({"key": key, "outcome": outcome});
        let outcomes: Vec<_> = outcomes.iter().map(outcome).collect();
        read_outcomes(
            &json!({"outcomes": outcomes}),
            &["a.jpg", "b.jpg"].map(photo),
        )
    }

    #[test]
    fn each_photo_has_its_outcome_or_the_answer_is_refused() {
        let good = read(&[("a.jpg", "recorded"), ("b.jpg", "rejected")]).unwrap();
        assert_eq!(good.len(), 2);
        for (outcomes, said) in [
            (&[("a.jpg", "recorded")][..], "1 outcomes for 2 photos"),
            (&[("a.jpg", "recorded"), ("c.jpg", "recorded")], "c.jpg"),
            // No version of the function answers this: a photo without outcome fails the invocation.
            (
                &[("a.jpg", "recorded"), ("b.jpg", "failed")],
                "cannot be read",
            ),
            (
                &[("a.jpg", "recorded"), ("b.jpg", "lost")],
                "cannot be read",
            ),
        ] {
            let error = read(outcomes).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(read_outcomes(&json!(null), &[]).is_err());
    }
}
