//! What the function answers, in the shape that the event's source reads.

use serde::{Deserialize, Serialize};

use crate::{
    object::ObjectVersion,
    outcome::{Outcome, Report},
};

/// The function's answer where it succeeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// To S3, EventBridge and SNS, which do not read it, and to whoever invokes the function by hand:
    /// an outcome for each object of the event, in its order.
    Notification {
        /// One for each object created.
        outcomes: Vec<Report>,
    },
    /// To SQS: the messages to be delivered again. It deletes the others.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
    #[serde(rename_all = "camelCase")]
    Queue {
        /// The failed ones.
        batch_item_failures: Vec<FailedMessage>,
    },
    /// To S3 Batch Operations, for its completion report.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html>
    #[serde(rename_all = "camelCase")]
    BatchOperations {
        /// As in the event.
        invocation_schema_version: String,
        /// What to think of a task that is not among the results.
        treat_missing_keys_as: ResultCode,
        /// As in the event.
        invocation_id: String,
        /// One for each task.
        results: Vec<TaskResult>,
    },
}

/// Why the function's answer to a notification cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It is of another shape.
    #[error(
        "the function's answer cannot be read ({0}): use the redeliver of the version that is deployed"
    )]
    Shape(#[from] serde_json::Error),
    /// An outcome is of another photo.
    #[error("the function answered for {answered}, and was asked for {asked}")]
    Other {
        /// Key in the answer.
        answered: String,
        /// Key in the event.
        asked: String,
    },
    /// A photo has no outcome.
    #[error("the function answered that {0} has no outcome yet")]
    Failed(String),
    /// It does not tell of each photo.
    #[error("the function answered {outcomes} outcomes for {photos} photos")]
    Number {
        /// How many it tells of.
        outcomes: usize,
        /// How many there were in the event.
        photos: usize,
    },
}

/// Reads the outcomes from the function's answer to a notification of `photos`, in the order of the event.
///
/// # Errors
///
/// Where the answer does not have one outcome for each photo.
pub fn read_outcomes(answer: &[u8], photos: &[ObjectVersion]) -> Result<Vec<Report>, AnswerError> {
    #[derive(Deserialize)]
    struct Answer {
        outcomes: Vec<Report>,
    }
    let Answer { outcomes } = serde_json::from_slice(answer)?;
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
        if report.outcome == Outcome::Failed {
            return Err(AnswerError::Failed(report.key.clone()));
        }
    }
    Ok(outcomes)
}

/// A message that SQS is to deliver again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedMessage {
    /// Its `messageId`.
    pub item_identifier: String,
}

/// What became of one task of S3 Batch Operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskResult {
    /// As in the event.
    pub task_id: String,
    /// Whether it is done.
    pub result_code: ResultCode,
    /// What the completion report says of it.
    pub result_string: String,
}

/// How a task of S3 Batch Operations ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum ResultCode {
    /// Recorded, now or before.
    Succeeded,
    /// To be tried again.
    TemporaryFailure,
    /// Refused for good, or not a task.
    PermanentFailure,
}

/// S3 Batch Operations takes no longer result strings.
const MAX_RESULT_STRING: usize = 1024;

impl TaskResult {
    /// The object of task `task_id` has its outcome.
    pub fn ended(task_id: String, report: &Report) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let (result_code, result_string) = match (&report.class_name, report.count) {
            _ if report.outcome == Outcome::Folder => (
                ResultCode::Succeeded,
                "a folder marker, not a photo: nothing to do".to_owned(),
            ),
            (Some(class), Some(count)) => {
                let word = match report.outcome {
                    Outcome::Duplicate => "already recorded",
                    _ => "recorded",
                };
                let date = text(&report.date);
                (
                    ResultCode::Succeeded,
                    format!("{word}: {class} number {count} of {date}"),
                )
            }
            _ => (
                ResultCode::PermanentFailure,
                format!("rejected: {}", text(&report.reason)),
            ),
        };
        Self::new(task_id, result_code, result_string)
    }

    /// Task `task_id` did not come to an outcome.
    pub fn failed(task_id: String, reason: &str, is_permanent: bool) -> Self {
        let result_code = match is_permanent {
            true => ResultCode::PermanentFailure,
            false => ResultCode::TemporaryFailure,
        };
        Self::new(task_id, result_code, reason.to_owned())
    }

    fn new(task_id: String, result_code: ResultCode, mut result_string: String) -> Self {
        result_string.truncate(result_string.floor_char_boundary(MAX_RESULT_STRING));
        Self {
            task_id,
            result_code,
            result_string,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(outcomes: &[(&str, &str)]) -> Result<Vec<Report>, AnswerError> {
        let photos = ["a.jpg", "b.jpg"].map(|key| ObjectVersion {
            bucket: "moths".into(),
            key: key.into(),
            version: None,
        });
        let outcome = |(key, outcome): &(&str, &str)| json!({"key": key, "outcome": outcome});
        let outcomes: Vec<_> = outcomes.iter().map(outcome).collect();
        read_outcomes(
            json!({"outcomes": outcomes}).to_string().as_bytes(),
            &photos,
        )
    }

    #[test]
    fn each_photo_has_its_outcome_or_the_answer_is_refused() {
        let good = read(&[("a.jpg", "recorded"), ("b.jpg", "rejected")]).unwrap();
        assert_eq!(good.len(), 2);
        for (outcomes, said) in [
            (&[("a.jpg", "recorded")][..], "1 outcomes for 2 photos"),
            (&[("a.jpg", "recorded"), ("c.jpg", "recorded")], "c.jpg"),
            (
                &[("a.jpg", "recorded"), ("b.jpg", "failed")],
                "b.jpg has no outcome",
            ),
            (
                &[("a.jpg", "recorded"), ("b.jpg", "lost")],
                "cannot be read",
            ),
        ] {
            let error = read(outcomes).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(read_outcomes(b"null", &[]).is_err());
    }
}
