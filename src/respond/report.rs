//! The JSON form of an outcome: in the function's answer, in log lines and in `--json` output.

use serde::{Deserialize, Serialize};

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
    /// Version id; JSON `null` in a bucket without versions.
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
    /// Rejected for good.
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
            Outcome::Duplicate(Entry::Deleted { class, date, count }) => Self {
                outcome: Word::Duplicate,
                class_name: Some(class.to_string()),
                date: Some(date.to_string()),
                count: Some(*count),
                reason: Some("its record was deleted".to_owned()),
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
        let repeat = rejected.of_repeat();
        for (outcome, expected) in [
            (
                recorded,
                json!(["recorded", "FAW", 0.5, 17, "2026-11-20", null]),
            ),
            (
                rejected,
                json!(["rejected", null, null, null, "2026-11-20", gone]),
            ),
            (repeat, json!(["duplicate", null, null, null, null, gone])),
            (
                Outcome::Archived,
                json!(["rejected", null, null, null, null, ARCHIVED]),
            ),
            (
                Outcome::Duplicate(counted),
                json!(["duplicate", "FAW", null, 17, "2026-11-20", null]),
            ),
            (
                Outcome::Folder,
                json!(["folder", null, null, null, null, null]),
            ),
        ] {
            let report = serde_json::to_value(Report::new(&photo("a.jpg"), &outcome)).unwrap();
            assert_eq!(report["key"], "a.jpg");
            assert_eq!(report["versionId"], "v1");
            let members = [
                "outcome",
                "className",
                "probability",
                "count",
                "date",
                "reason",
            ];
            assert_eq!(json!(members.map(|member| &report[member])), expected);
            assert_eq!(report.as_object().unwrap().len(), 8);
        }
    }
}
