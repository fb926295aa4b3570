//! The events that tests send, and the parts of the answers that they read.

use serde_json::{Value, json};

/// An S3 event for `objects`: bucket, form-encoded key, version id.
pub(crate) fn event(objects: &[(&str, &str, Option<&str>)]) -> Value {
    let record = |(bucket, key, version): &(&str, &str, Option<&str>)| {
        let mut object = json!({"key": key, "size": 1, "sequencer": "0055AED6DCD90281E5"});
        if let Some(version) = version {
            object["versionId"] = json!(version);
        }
        json!({
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": "us-east-1",
            "eventTime": "2026-11-20T18:04:31.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": bucket}, "object": object},
        })
    };
    json!({"Records": objects.iter().map(record).collect::<Vec<_>>()})
}

/// An SQS event of `messages`: id and body.
pub(crate) fn queue_event(messages: &[(String, Value)]) -> Value {
    let record = |(id, body): &(String, Value)| json!({"messageId": id, "eventSource": "aws:sqs", "body": body.to_string()});
    json!({"Records": messages.iter().map(record).collect::<Vec<_>>()})
}

/// The one outcome in the answer to an event of one object.
pub(crate) fn outcome(answer: &Value) -> &Value {
    let outcomes = answer["outcomes"].as_array().map(Vec::len);
    assert_eq!(outcomes, Some(1), "{answer}");
    &answer["outcomes"][0]
}
