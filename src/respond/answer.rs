//! The function's answer, in the shape that the event's source reads.

use serde::Serialize;

use super::{
    report::Report,
    settle::{Settled, SettledPart},
};
use crate::{
    event::Source,
    ledger::Entry,
    outcome::{ARCHIVED, Outcome},
};

/// The function's answer if the invocation succeeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Answer {
    /// For S3, EventBridge and SNS, which ignore it, and for whoever invokes the function by hand: an
    /// outcome for each object of the event, in its order.
    Notification {
        /// One for each created object.
        outcomes: Vec<Report>,
    },
    /// For SQS: the messages to deliver again. Lambda deletes the others.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
    #[serde(rename_all = "camelCase")]
    Queue {
        /// The messages in which a record failed.
        batch_item_failures: Vec<FailedMessage>,
    },
    /// For S3 Batch Operations and its completion report.
    ///
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html>
    #[serde(rename_all = "camelCase")]
    BatchOperations {
        /// From the event.
        invocation_schema_version: String,
        /// The result code of a task that is not among the results.
        treat_missing_keys_as: ResultCode,
        /// From the event.
        invocation_id: String,
        /// One for each task.
        results: Vec<TaskResult>,
    },
}

/// A message that SQS delivers again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedMessage {
    /// Its `messageId`.
    pub item_identifier: String,
}

/// Result of one task of S3 Batch Operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskResult {
    /// From the event.
    pub task_id: String,
    /// Whether the task is done.
    pub result_code: ResultCode,
    /// Explanation in the completion report.
    pub result_string: String,
}

/// How a task of S3 Batch Operations ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum ResultCode {
    /// Recorded now or before, or nothing to do.
    Succeeded,
    /// To be tried again.
    TemporaryFailure,
    /// Rejected for good, or malformed.
    PermanentFailure,
}

/// The error of an invocation: every record was tried, and `failures` lists those that failed. Lambda sends the event
/// again, and photos with an outcome are then skipped.
#[derive(Debug, thiserror::Error)]
#[error("{} of {records} records failed: {}", failures.len(), failures.join("; "))]
pub struct InvocationError {
    /// Whether all failures are malformed records. A retry does not help these.
    pub is_malformed: bool,
    records: usize,
    failures: Vec<String>,
}

/// The answer that `source` reads.
///
/// # Errors
///
/// If `source` is a notification and a record failed.
pub(crate) fn answer(source: Source, parts: Vec<SettledPart>) -> Result<Answer, InvocationError> {
    match source {
        Source::Notification => notification(parts),
        Source::Queue => Ok(queue(parts)),
        Source::BatchOperations {
            schema_version,
            invocation_id,
        } => Ok(Answer::BatchOperations {
            invocation_schema_version: schema_version,
            treat_missing_keys_as: ResultCode::TemporaryFailure,
            invocation_id,
            results: tasks(parts),
        }),
    }
}

fn notification(parts: Vec<SettledPart>) -> Result<Answer, InvocationError> {
    let records: Vec<Settled> = parts.into_iter().flat_map(|part| part.records).collect();
    let mut error = InvocationError {
        is_malformed: true,
        records: records.len(),
        failures: Vec::new(),
    };
    let mut outcomes = Vec::with_capacity(records.len());
    for record in records {
        match record {
            Settled::Ended {
                object, outcome, ..
            } => outcomes.push(Report::new(&object, &outcome)),
            Settled::Failed {
                is_malformed,
                reason,
                ..
            } => {
                error.is_malformed &= is_malformed;
                error.failures.push(reason);
            }
        }
    }
    match error.failures.is_empty() {
        true => Ok(Answer::Notification { outcomes }),
        false => Err(error),
    }
}

fn queue(parts: Vec<SettledPart>) -> Answer {
    let is_failed = |record: &Settled| matches!(record, Settled::Failed { .. });
    let failed = parts
        .into_iter()
        .filter(|part| part.records.iter().any(is_failed));
    Answer::Queue {
        batch_item_failures: failed
            .map(|part| FailedMessage {
                item_identifier: part.id,
            })
            .collect(),
    }
}

fn tasks(parts: Vec<SettledPart>) -> Vec<TaskResult> {
    let mut results = Vec::with_capacity(parts.len());
    for SettledPart { id, records } in parts {
        for record in records {
            results.push(TaskResult::new(id.clone(), record));
        }
    }
    results
}

/// Maximum length of a result string, in bytes.
const MAX_RESULT_STRING: usize = 1024;

impl TaskResult {
    fn new(task_id: String, record: Settled) -> Self {
        let (result_code, mut result_string) = match record {
            Settled::Ended { outcome, .. } => task_result(&outcome),
            Settled::Failed {
                is_malformed,
                reason,
                ..
            } => match is_malformed {
                true => (ResultCode::PermanentFailure, reason),
                false => (ResultCode::TemporaryFailure, reason),
            },
        };
        result_string.truncate(result_string.floor_char_boundary(MAX_RESULT_STRING));
        Self {
            task_id,
            result_code,
            result_string,
        }
    }
}

fn task_result(outcome: &Outcome) -> (ResultCode, String) {
    use ResultCode::{PermanentFailure, Succeeded};
    match outcome {
        Outcome::Recorded {
            class, date, count, ..
        } => (
            Succeeded,
            format!("recorded: {class} number {count} of {date}"),
        ),
        Outcome::Duplicate(Entry::Counted { class, date, count }) => (
            Succeeded,
            format!("already recorded: {class} number {count} of {date}"),
        ),
        Outcome::Duplicate(Entry::Deleted { class, date, count }) => (
            Succeeded,
            format!("recorded as {class} number {count} of {date} and deleted"),
        ),
        Outcome::Folder => (
            Succeeded,
            "a folder marker, not a photo: nothing to do".to_owned(),
        ),
        Outcome::Rejected { rejection, .. } => (PermanentFailure, format!("rejected: {rejection}")),
        Outcome::Archived => (PermanentFailure, format!("rejected: {ARCHIVED}")),
        Outcome::Duplicate(Entry::Rejected { reason }) => {
            (PermanentFailure, format!("rejected: {reason}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        error::Error,
        event::{self, Event},
        outcome::{Processed, Timings},
        respond::settle,
    };

    /// The event of an SQS batch with one message for each list of keys.
    fn queue_of(messages: &[&[&str]]) -> Event {
        let record = |key: &&str| {
            json!({
                "eventName": "ObjectCreated:Put", "awsRegion": "r",
                "s3": {"bucket": {"name": "moths"}, "object": {"key": key, "versionId": "v1"}},
            })
        };
        let messages: Vec<Value> = messages
            .iter()
            .enumerate()
            .map(|(id, keys)| {
                let records: Vec<Value> = keys.iter().map(record).collect();
                let body = json!({"Records": records}).to_string();
                json!({"messageId": id.to_string(), "eventSource": "aws:sqs", "body": body})
            })
            .collect();
        event::parse(&json!({"Records": messages}), "r")
    }

    /// A result for each photo of `event`: those in `failing` fail.
    fn photos(event: &Event, failing: &[&str]) -> Vec<Processed> {
        event
            .created()
            .map(|created| Processed {
                created: created.clone(),
                object: created.object.clone(),
                result: match failing.contains(&created.object.key.as_str()) {
                    true => Err(Arc::new(Error::Model("any".into()))),
                    false => Ok(Outcome::Folder),
                },
                timings: Timings::default(),
            })
            .collect()
    }

    fn failed_messages(event: Event, photos: Vec<Processed>) -> Vec<String> {
        let (source, parts) = settle(event, photos);
        match answer(source, parts).unwrap() {
            Answer::Queue {
                batch_item_failures,
            } => batch_item_failures
                .into_iter()
                .map(|failed| failed.item_identifier)
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_message_of_a_failed_photo_is_delivered_again() {
        let event = queue_of(&[&["a", "b"], &["c"], &[], &["d"]]);
        let photos = photos(&event, &["b", "d"]);
        assert_eq!(failed_messages(event, photos), ["0", "3"]);
    }

    #[test]
    fn the_message_of_a_photo_without_result_is_not_deleted() {
        let event = || queue_of(&[&["a", "b"], &["c"], &["d"]]);
        // The results end early.
        let mut missing = photos(&event(), &[]);
        missing.truncate(2);
        assert_eq!(failed_messages(event(), missing), ["1", "2"]);
        // A result is lost in the middle: the results after it are those of other photos.
        let mut missing = photos(&event(), &[]);
        missing.remove(1);
        assert_eq!(failed_messages(event(), missing), ["0", "1", "2"]);
    }

    #[test]
    fn a_notification_fails_if_a_photo_has_no_result() {
        let mut event = queue_of(&[&["a", "b"]]);
        event.source = Source::Notification;
        let mut photos = photos(&event, &[]);
        photos.pop();
        let (source, parts) = settle(event, photos);
        let error = answer(source, parts).unwrap_err();
        assert!(!error.is_malformed);
        let text = error.to_string();
        assert!(
            text.starts_with("1 of 2 records failed: s3://moths/b?versionId=v1: "),
            "{text}"
        );
    }

    #[test]
    fn a_task_has_the_result_of_its_photo() {
        let task = |id: &str, key: &str| json!({"taskId": id, "s3Key": key, "s3Bucket": "moths"});
        let event = json!({
            "invocationSchemaVersion": "2.0", "invocationId": "i",
            "tasks": [task("1", "a"), {"taskId": "2"}, task("3", "b")],
        });
        let event = event::parse(&event, "r");
        let photos = photos(&event, &["b"]);
        let (source, parts) = settle(event, photos);
        let answer = serde_json::to_value(answer(source, parts).unwrap()).unwrap();
        let codes = answer["results"].as_array().unwrap().iter();
        let codes: Vec<_> = codes
            .map(|result| (result["taskId"].as_str(), result["resultCode"].as_str()))
            .collect();
        assert_eq!(
            codes,
            [
                (Some("1"), Some("Succeeded")),
                (Some("2"), Some("PermanentFailure")),
                (Some("3"), Some("TemporaryFailure")),
            ]
        );
        assert_eq!(answer["treatMissingKeysAs"], "TemporaryFailure");
    }
}
