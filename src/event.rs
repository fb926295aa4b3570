//! Event JSON → the objects that it reports as created.
//!
//! One function serves every event source. The shape of an event identifies its source, and the source determines
//! the shape of the answer (`respond/answer.rs`):
//!
//! | source | recognised by | answer |
//! |---|---|---|
//! | S3 event notification | `Records[].s3` | one for the whole event |
//! | EventBridge "Object Created" | `detail-type`, `detail` | one for the whole event |
//! | SNS containing either | `Records[].Sns.Message` | one for the whole event |
//! | SQS containing any of these, with or without raw message delivery | `Records[].eventSource` is `aws:sqs` | message by message |
//! | S3 Batch Operations, schema 1.0 and 2.0 | `invocationSchemaVersion`, `tasks` | task by task |
//!
//! `s3:TestEvent`, removals and restores contain no created object.
//!
//! # A new event source
//!
//! 1. Add a file to `event/`. If the answer of the source lists items, follow `batch_operations.rs`, and call the new
//!    function in [`parse`]; then also add a variant to [`Source`] and a case to `respond/answer.rs`. Otherwise follow
//!    `eventbridge.rs`, and call the new function in `created`, which also reads the messages of SNS and SQS.
//! 2. Name the source in the table above, in the text of [`EventError::UnknownShape`], and in `docs/events.md`.
//! 3. Put a recorded event into `tests/events/`, and what it must lead to into `tests/integration/events.rs`.
//! 4. Give the source the permission to invoke the function, in `template.yaml`.

mod batch_operations;
mod error;
mod eventbridge;
mod notification;

use serde::Deserialize;
use serde_json::Value;

use crate::object::ObjectCreated;

pub use error::{EventError, RecordError};
pub use notification::decode_key;

/// One invocation's event.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Who sent it.
    pub source: Source,
    /// The parts that succeed or fail on their own.
    pub parts: Vec<Part>,
}

/// Who sent an event. It decides the shape of the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// S3, EventBridge or SNS: the whole event succeeds or fails. The whole event is one part.
    Notification,
    /// SQS: the answer lists the failed messages. Each message is a part.
    Queue,
    /// S3 Batch Operations: the answer has a result for each task. Each task is a part.
    BatchOperations {
        /// `invocationSchemaVersion`, which the answer repeats.
        schema_version: String,
        /// `invocationId`, which the answer repeats.
        invocation_id: String,
    },
}

/// A part of an event that succeeds or fails on its own.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// `messageId` or `taskId`; empty in a notification.
    pub id: String,
    /// The created objects, in the order of the event. A malformed record is an `Err` at
    /// its position; the other records are still read.
    pub records: Vec<Record>,
}

/// A created object, or why its record cannot be understood.
pub type Record = Result<ObjectCreated, EventError>;

impl Event {
    /// The objects of all parts, in the order of the event.
    pub fn created(&self) -> impl Iterator<Item = &ObjectCreated> {
        let records = self.parts.iter().flat_map(|part| &part.records);
        // `respond::settle` reports the malformed records.
        records.filter_map(|record| record.as_ref().ok())
    }
}

/// Reads an event. `region` is the function's region. It is used for a bucket whose region the event does not name,
/// because S3 invokes only functions of the bucket's region.
pub fn parse(event: &Value, region: &str) -> Event {
    if let Some(event) = batch_operations::parse(event, region) {
        return event;
    }
    if let Some(parts) = messages(event) {
        return Event {
            source: Source::Queue,
            parts,
        };
    }
    Event {
        source: Source::Notification,
        parts: vec![Part {
            id: String::new(),
            records: created(event),
        }],
    }
}

/// The messages of an SQS event. `None` if the event is not from SQS, or if a message has no id: [`parse`] then treats
/// it as a notification, and the whole event fails.
fn messages(event: &Value) -> Option<Vec<Part>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Message {
        event_source: String,
        message_id: String,
        body: String,
    }
    let records = event.get("Records")?.as_array()?;
    if records.is_empty() {
        return None;
    }
    records
        .iter()
        .map(|record| {
            let message = Message::deserialize(record).ok()?;
            (message.event_source == "aws:sqs").then(|| Part {
                id: message.message_id,
                records: created_in_message("SQS", &message.body),
            })
        })
        .collect()
}

/// The created objects of an event of S3, EventBridge or SNS.
///
/// Recursive, for an event inside a message. Each nesting level doubles the backslashes of the escaped quotes, so the
/// limit of 6 MB bounds the depth.
fn created(event: &Value) -> Vec<Record> {
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Vec::new();
    }
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        let records = records.iter().enumerate();
        return records
            .flat_map(|(index, record)| match sns_message(record) {
                Some(message) => created_in_message("SNS", message),
                None => Vec::from_iter(notification::parse(index, record)),
            })
            .collect();
    }
    if event.get("detail-type").is_some() {
        return Vec::from_iter(eventbridge::parse(event));
    }
    // SNS's own envelope, which a queue without raw message delivery receives.
    match (event.get("TopicArn"), event.get("Message")) {
        (Some(_), Some(Value::String(message))) => created_in_message("SNS", message),
        _ => vec![Err(EventError::UnknownShape(describe(event)))],
    }
}

fn sns_message(record: &Value) -> Option<&str> {
    record.get("Sns")?.get("Message")?.as_str()
}

/// The created objects of the event inside a message of `service`.
fn created_in_message(service: &'static str, message: &str) -> Vec<Record> {
    match serde_json::from_str(message) {
        Ok(event) => created(&event),
        Err(error) => vec![Err(EventError::Message(service, error.to_string()))],
    }
}

/// Describes a value in an error message, so that a reader can tell which source sent it.
fn describe(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "an empty object".into(),
        Value::Object(fields) => {
            let keys: Vec<String> = fields.keys().take(5).map(|key| shorten(key)).collect();
            format!("an object with the keys {keys:?}")
        }
        Value::Array(_) => "an array".into(),
        Value::String(_) => "a string".into(),
        Value::Number(_) => "a number".into(),
        Value::Bool(_) => "a boolean".into(),
        Value::Null => "null".into(),
    }
}

/// The first 40 characters of a JSON key.
fn shorten(key: &str) -> String {
    key.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(key: &str, version: Option<&str>) -> Value {
        json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "eu-west-1",
            "eventTime": "2026-11-20T18:04:31.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": "moths", "arn": "arn:aws:s3:::moths"},
                "object": {"key": key, "size": 1024, "eTag": "e", "versionId": version, "sequencer": "0A"},
            },
        })
    }

    fn bridge(kind: &str, key: &str) -> Value {
        json!({
            "version": "0",
            "detail-type": kind,
            "source": "aws.s3",
            "region": "ca-central-1",
            "detail": {"bucket": {"name": "moths"}, "object": {"key": key, "version-id": "v1"}},
        })
    }

    fn message(id: &str, body: &Value) -> Value {
        json!({"messageId": id, "eventSource": "aws:sqs", "body": body.to_string()})
    }

    fn parse(event: &Value) -> Event {
        super::parse(event, "us-west-2")
    }

    /// The records of an event with one part.
    fn one(event: &Value) -> Vec<Record> {
        let mut parts = parse(event).parts;
        assert_eq!(parts.len(), 1);
        parts.remove(0).records
    }

    fn keys(event: &Value) -> Vec<String> {
        let objects = one(event).into_iter();
        objects.map(|object| object.unwrap().object.key).collect()
    }

    #[test]
    fn keys_are_form_decoded_except_from_eventbridge() {
        for (encoded, key) in [
            ("a+b%2Bc.jpg", "a b+c.jpg"),
            ("100%25+caf%C3%A9/%E8%9B%BE.jpg", "100% café/蛾.jpg"),
            ("a%0Ab%22.jpg", "a\nb\".jpg"),
        ] {
            assert_eq!(keys(&json!({"Records": [record(encoded, None)]})), [key]);
            assert_eq!(keys(&bridge("Object Created", encoded)), [encoded]);
            let task = json!({"taskId": "t", "s3Key": encoded, "s3Bucket": "moths"});
            let job =
                json!({"invocationSchemaVersion": "2.0", "invocationId": "i", "tasks": [task]});
            assert_eq!(keys(&job), [key]);
        }
    }

    #[test]
    fn every_record_is_read() {
        let event =
            json!({"Records": [record("a", Some("v1")), record("b", None), record("c", Some(""))]});
        let objects: Vec<ObjectCreated> = one(&event).into_iter().map(Result::unwrap).collect();
        let versions: Vec<_> = objects
            .iter()
            .map(|o| o.object.version.as_ref().map(|version| version.as_str()))
            .collect();
        assert_eq!(versions, [Some("v1"), None, None]);
        assert_eq!(objects[0].region, "eu-west-1");
    }

    #[test]
    fn a_malformed_record_does_not_affect_the_others() {
        let event = json!({"Records": [
            record("%FF", None), {"eventName": "ObjectCreated:Put"}, {}, record("", None), record("good", None),
            {"EventSource": "aws:sns", "Sns": {"Message": "hello"}},
        ]});
        let objects = one(&event);
        assert_eq!(objects.len(), 6);
        assert_eq!(objects.iter().filter(|object| object.is_ok()).count(), 1);
        let error = objects[1].as_ref().unwrap_err().to_string();
        assert!(
            error.contains("record 1") && error.contains("awsRegion"),
            "{error}"
        );
    }

    #[test]
    fn events_other_than_creations_have_no_objects() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "moths"});
        let mut removal = record("a", None);
        removal["eventName"] = json!("ObjectRemoved:Delete");
        let mut restore = record("a", None);
        restore["eventName"] = json!("ObjectRestore:Completed");
        for event in [
            test.clone(),
            json!({"Records": [removal, restore]}),
            bridge("Object Deleted", "a"),
            bridge("Object Restore Completed", "a"),
            json!({"Records": [message("m", &test)]}),
            json!({"Records": []}),
        ] {
            assert_eq!(one(&event), vec![], "{event}");
        }
    }

    #[test]
    fn a_bad_message_does_not_affect_the_others() {
        let event = json!({"Records": [
            message("good", &json!({"Records": [record("a", None), record("b", None)]})),
            message("odd", &json!({"hello": 1})),
            {"messageId": "text", "eventSource": "aws:sqs", "body": "hello"},
        ]});
        let Event { source, parts } = parse(&event);
        assert_eq!(source, Source::Queue);
        let found: Vec<_> = parts
            .iter()
            .map(|part| {
                (
                    part.id.as_str(),
                    part.records.iter().map(Result::is_ok).collect(),
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("good", vec![true, true]),
                ("odd", vec![false]),
                ("text", vec![false])
            ]
        );
    }

    #[test]
    fn tasks_of_both_schemas_are_read() {
        let task = json!({"taskId": "t", "s3Key": "a+b", "s3VersionId": null, "s3BucketArn": "arn:aws:s3:::moths"});
        let event = json!({"invocationSchemaVersion": "1.0", "invocationId": "i", "job": {"id": "j"}, "tasks": [task, {}]});
        let Event { source, parts } = parse(&event);
        assert_eq!(
            source,
            Source::BatchOperations {
                schema_version: "1.0".into(),
                invocation_id: "i".into()
            }
        );
        let created = parts[0].records[0].as_ref().unwrap();
        assert_eq!(created.object.bucket, "moths");
        assert_eq!(created.region, "us-west-2");
        assert!(parts[1].records[0].is_err());
    }

    #[test]
    fn an_unknown_shape_is_described() {
        let objects = one(&json!({"hello": 1, "world": 2}));
        let error = objects[0].as_ref().unwrap_err().to_string();
        for part in ["hello", "world", "EventBridge", "tasks"] {
            assert!(error.contains(part), "{error}");
        }
        let cloud_trail = bridge("AWS API Call via CloudTrail", "a");
        let stream = json!({"Records": [{"eventName": "INSERT", "eventSource": "aws:dynamodb", "dynamodb": {}}]});
        for event in [json!([1]), json!(null), cloud_trail, stream] {
            assert!(one(&event)[0].is_err(), "{event}");
        }
    }
}
