//! Reads the function's answer to a notification, for the commands that invoke it.

use serde::Deserialize;
use serde_json::Value;

use super::report::Report;
use crate::object::{ObjectVersion, VersionId};

/// Why the function's answer to a notification cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// The answer has another shape.
    #[error(
        "the function's answer cannot be read ({0}): the function and this program are of different versions"
    )]
    Shape(#[from] serde_json::Error),
    /// An outcome names another object version.
    #[error("the function answered for {answered}, but was asked for {asked}")]
    Other {
        /// The object version in the answer.
        answered: Box<ObjectVersion>,
        /// The object version in the event.
        asked: Box<ObjectVersion>,
    },
    /// The numbers of outcomes and photos differ.
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
/// If the keys and versions in the answer are not those of `photos`, in the same order.
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
        // The function keeps a version that the event names.
        let named = photo.version.as_ref().map(VersionId::as_str);
        let is_other =
            report.key != photo.key || (named.is_some() && report.version_id.as_deref() != named);
        if is_other {
            return Err(AnswerError::Other {
                answered: Box::new(ObjectVersion {
                    bucket: photo.bucket.clone(),
                    key: report.key.clone(),
                    version: report.version_id.clone().and_then(VersionId::new),
                }),
                asked: Box::new(photo.clone()),
            });
        }
    }
    Ok(outcomes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn photo(key: &str) -> ObjectVersion {
        ObjectVersion {
            bucket: "moths".into(),
            key: key.into(),
            version: VersionId::new("v1"),
        }
    }

    fn read(outcomes: &[(&str, &str)]) -> Result<Vec<Report>, AnswerError> {
        let outcome = |(key, outcome): &(&str, &str)| json!({"key": key, "versionId": "v1", "outcome": outcome});
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
        let outcomes =
            json!({"outcomes": [{"key": "a.jpg", "versionId": "v2", "outcome": "recorded"}]});
        let error = read_outcomes(&outcomes, &[photo("a.jpg")]).unwrap_err();
        assert!(error.to_string().contains("versionId=v2"), "{error}");
        assert!(read_outcomes(&json!(null), &[]).is_err());
    }
}
