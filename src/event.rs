//! Event JSON → the objects it says were created.

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use crate::object::{ObjectCreated, ObjectVersion, VersionId};

/// Why an event or one of its records cannot be understood. Sending it again will not help.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// Not an event of a source that this function serves.
    #[error("expected an S3 event notification with \"Records\", got {0}")]
    UnknownShape(String),
    /// A record that is not as S3 writes it.
    #[error("record {index} of the event is malformed: {reason}")]
    Malformed {
        /// Position in `Records`, from 0.
        index: usize,
        /// What is missing or wrong.
        reason: String,
    },
}

/// Reads an event: one entry for each record that says an object was created.
///
/// `s3:TestEvent` and records of other kinds (removals, restores) ask for nothing and are left out.
/// A malformed record does not keep the others from being read.
///
/// # Errors
///
/// [`EventError::UnknownShape`] where the event as a whole is not an S3 event notification.
pub fn parse(event: &Value) -> Result<Vec<Result<ObjectCreated, EventError>>, EventError> {
    if event.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return Ok(Vec::new());
    }
    let records = event
        .get("Records")
        .and_then(Value::as_array)
        .ok_or_else(|| EventError::UnknownShape(describe(event)))?;
    Ok(records
        .iter()
        .enumerate()
        .filter_map(|(index, record)| parse_record(index, record))
        .collect())
}

/// `None` where the record is about something other than a creation.
fn parse_record(index: usize, record: &Value) -> Option<Result<ObjectCreated, EventError>> {
    let malformed = |reason: String| EventError::Malformed { index, reason };
    let name = match record.get("eventName").and_then(Value::as_str) {
        Some(name) => name,
        None => {
            return Some(Err(malformed(format!(
                "no eventName in {}",
                describe(record)
            ))));
        }
    };
    // S3 itself writes `ObjectCreated:Put`; in configurations and some relays it is `s3:ObjectCreated:Put`.
    if !name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        return None;
    }
    let record = match Record::deserialize(record) {
        Ok(record) => record,
        Err(error) => return Some(Err(malformed(error.to_string()))),
    };
    Some(record.into_object_created().map_err(malformed))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    aws_region: String,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    version_id: Option<String>,
    sequencer: Option<String>,
}

impl Record {
    fn into_object_created(self) -> Result<ObjectCreated, String> {
        let S3 { bucket, object } = self.s3;
        let key = decode_key(&object.key)?;
        if bucket.name.is_empty() || key.is_empty() {
            return Err("the bucket name or the object key is empty".into());
        }
        Ok(ObjectCreated {
            object: ObjectVersion {
                bucket: bucket.name,
                key,
                version: object.version_id.and_then(VersionId::new),
            },
            region: self.aws_region,
            sequencer: object.sequencer,
        })
    }
}

/// S3 event notifications carry keys form-encoded: `+` is a space and `%XX` a byte of UTF-8.
fn decode_key(encoded: &str) -> Result<String, String> {
    let spaced = encoded.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(key.into_owned()),
        Err(_) => Err(format!("object key {encoded:?} does not decode to UTF-8")),
    }
}

/// What a value is, in few words, for an error message: enough to see which source sent it.
fn describe(value: &Value) -> String {
    match value {
        Value::Object(fields) if fields.is_empty() => "an empty object".into(),
        Value::Object(fields) => {
            let keys: Vec<&str> = fields.keys().take(5).map(String::as_str).collect();
            format!("an object with the keys {keys:?}")
        }
        Value::Array(_) => "an array".into(),
        Value::String(_) => "a string".into(),
        Value::Number(_) => "a number".into(),
        Value::Bool(_) => "a boolean".into(),
        Value::Null => "null".into(),
    }
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

    fn keys(event: &Value) -> Vec<String> {
        let objects = parse(event).unwrap();
        objects
            .into_iter()
            .map(|object| object.unwrap().object.key)
            .collect()
    }

    #[test]
    fn keys_are_form_decoded() {
        for (encoded, key) in [
            ("a+b%2Bc.jpg", "a b+c.jpg"),
            ("100%25+caf%C3%A9/%E8%9B%BE.jpg", "100% café/蛾.jpg"),
            ("a%0Ab%22.jpg", "a\nb\".jpg"),
        ] {
            assert_eq!(keys(&json!({"Records": [record(encoded, None)]})), [key]);
        }
    }

    #[test]
    fn every_record_is_read() {
        let event =
            json!({"Records": [record("a", Some("v1")), record("b", None), record("c", Some(""))]});
        let objects: Vec<ObjectCreated> = parse(&event)
            .unwrap()
            .into_iter()
            .map(Result::unwrap)
            .collect();
        let versions: Vec<_> = objects
            .iter()
            .map(|o| o.object.version.as_ref().map(VersionId::as_str))
            .collect();
        assert_eq!(versions, [Some("v1"), None, None]);
        assert_eq!(objects[0].region, "eu-west-1");
    }

    #[test]
    fn a_malformed_record_leaves_the_others() {
        let event = json!({"Records": [
            record("%FF", None), {"eventName": "ObjectCreated:Put"}, {}, record("", None), record("good", None)
        ]});
        let objects = parse(&event).unwrap();
        assert_eq!(objects.len(), 5);
        assert_eq!(objects.iter().filter(|object| object.is_ok()).count(), 1);
        let error = objects[1].as_ref().unwrap_err().to_string();
        assert!(
            error.contains("record 1") && error.contains("awsRegion"),
            "{error}"
        );
    }

    #[test]
    fn test_events_and_removals_ask_for_nothing() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "moths"});
        assert_eq!(parse(&test), Ok(vec![]));
        let mut removal = record("a", None);
        removal["eventName"] = json!("ObjectRemoved:Delete");
        assert_eq!(parse(&json!({"Records": [removal]})), Ok(vec![]));
    }

    #[test]
    fn unknown_shapes_show_what_came() {
        let error = parse(&json!({"hello": 1, "world": 2}))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("hello") && error.contains("world"),
            "{error}"
        );
        assert!(parse(&json!([1])).is_err());
    }
}
