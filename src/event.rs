//! Event JSON → the objects it says were created.
//!
//! One function answers whatever is wired to it. The event's own shape tells its source, and the
//! source what the answer looks like:
//!
//! | source | told by | answered |
//! |---|---|---|
//! | S3 event notification | `Records[].s3` | as a whole |
//! | EventBridge, "Object Created" | `detail-type`, `detail` | as a whole |
//! | SNS around either | `Records[].Sns.Message` | as a whole |
//! | SQS around any of these, raw or not | `Records[].eventSource` is `aws:sqs` | message by message |
//! | S3 Batch Operations, schema 1.0 and 2.0 | `invocationSchemaVersion`, `tasks` | task by task |
//!
//! Events that ask for nothing (`s3:TestEvent`, removals, restores) have no objects.

mod batch_operations;
mod eventbridge;
mod notification;

use serde::Deserialize;
use serde_json::Value;

use crate::object::ObjectCreated;

pub use notification::decode_key;

/// Why an event or one of its records cannot be understood. Sending it again will not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// Not an event of a source that this function serves.
    #[error(
        "expected an event of S3 (\"Records\"), EventBridge (\"detail-type\": \"Object Created\"), SNS or SQS \
         around these, or S3 Batch Operations (\"tasks\"), got {0}"
    )]
    UnknownShape(String),
    /// A record that is not as its source writes it.
    #[error("record {index} of the event is malformed: {reason}")]
    Malformed {
        /// Position in `Records` or `tasks`, from 0.
        index: usize,
        /// What is missing or wrong.
        reason: String,
    },
    /// An EventBridge event that is not as EventBridge writes it.
    #[error("the EventBridge event is malformed: {0}")]
    EventBridge(String),
    /// A message of SNS or SQS that holds no JSON.
    #[error("the message of {0} is not JSON: {1}")]
    Message(&'static str, String),
}

/// What one invocation asks for.
#[derive(Debug, PartialEq, Eq)]
pub struct Event {
    /// Who wants the answer.
    pub source: Source,
    /// What is answered for itself.
    pub parts: Vec<Part>,
}

/// Who sent an event, and so what the answer looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// S3, EventBridge or SNS: success or failure for all. One part.
    Notification,
    /// SQS: the messages that failed. A part is a message.
    Queue,
    /// S3 Batch Operations: a result for each task. A part is a task.
    BatchOperations {
        /// `invocationSchemaVersion`, to be given back.
        schema_version: String,
        /// `invocationId`, to be given back.
        invocation_id: String,
    },
}

/// What succeeds or fails for itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    /// `messageId` or `taskId`; empty in a notification.
    pub id: String,
    /// The objects created. What cannot be understood does not keep the rest from being read.
    pub objects: Vec<Result<ObjectCreated, EventError>>,
}

/// Objects of a part, and the errors in the place of those that could not be read.
type Objects = Vec<Result<ObjectCreated, EventError>>;

/// Reads an event. `region` is the function's own, for sources that do not tell the bucket's: they
/// invoke only functions of the same region.
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
            objects: objects(event),
        }],
    }
}

/// The messages of an SQS event. `None` for every other event, also where a message has no id to
/// name it by in an answer.
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
                objects: text("SQS", &message.body),
            })
        })
        .collect()
}

/// The objects of an event as S3, EventBridge or SNS writes it.
///
/// This calls itself for an event inside a message. Each such level escapes the quotes of the one
/// inside it, which doubles their backslashes: an event of 6 MB cannot be deep.
fn objects(event: &Value) -> Objects {
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Vec::new();
    }
    if let Some(records) = event.get("Records").and_then(Value::as_array) {
        let records = records.iter().enumerate();
        return records
            .flat_map(|(index, record)| match sns_message(record) {
                Some(message) => text("SNS", message),
                None => Vec::from_iter(notification::parse(index, record)),
            })
            .collect();
    }
    if event.get("detail-type").is_some() {
        return Vec::from_iter(eventbridge::parse(event));
    }
    // SNS's own envelope, as a queue without raw delivery gets it.
    match (event.get("TopicArn"), event.get("Message")) {
        (Some(_), Some(Value::String(message))) => text("SNS", message),
        _ => vec![Err(EventError::UnknownShape(describe(event)))],
    }
}

fn sns_message(record: &Value) -> Option<&str> {
    record.get("Sns")?.get("Message")?.as_str()
}

fn text(service: &'static str, message: &str) -> Objects {
    match serde_json::from_str(message) {
        Ok(event) => objects(&event),
        Err(error) => vec![Err(EventError::Message(service, error.to_string()))],
    }
}

/// What a value is, in few words, for an error message: enough to see which source sent it.
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

/// Enough of a key to know it by.
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

    /// The objects of an event of one part.
    fn one(event: &Value) -> Objects {
        let mut parts = parse(event).parts;
        assert_eq!(parts.len(), 1);
        parts.remove(0).objects
    }

    fn keys(event: &Value) -> Vec<String> {
        let objects = one(event).into_iter();
        objects.map(|object| object.unwrap().object.key).collect()
    }

    #[test]
    fn keys_are_form_decoded_but_those_of_eventbridge() {
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
    fn a_malformed_record_leaves_the_others() {
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
    fn what_asks_for_nothing_has_no_objects() {
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
    fn a_bad_message_is_its_own_part() {
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
                    part.objects.iter().map(Result::is_ok).collect(),
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
        let created = parts[0].objects[0].as_ref().unwrap();
        assert_eq!(created.object.bucket, "moths");
        assert_eq!(created.region, "us-west-2");
        assert!(parts[1].objects[0].is_err());
    }

    #[test]
    fn unknown_shapes_show_what_came() {
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
