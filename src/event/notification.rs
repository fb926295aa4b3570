//! A record of an S3 event notification.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::{EventError, describe};
use crate::object::{ObjectCreated, ObjectVersion, VersionId};

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

/// `None` where the record is about something other than a creation.
pub(super) fn parse(index: usize, record: &Value) -> Option<Result<ObjectCreated, EventError>> {
    let malformed = |reason: String| EventError::Malformed { index, reason };
    let Some(name) = record.get("eventName").and_then(Value::as_str) else {
        let reason = format!("no eventName in {}", describe(record));
        return Some(Err(malformed(reason)));
    };
    // S3 itself writes `ObjectCreated:Put`; in configurations and some relays it is `s3:ObjectCreated:Put`.
    if !name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        if record.get("s3").is_some() {
            return None;
        }
        let reason = format!("{name:?} is no event of S3: {}", describe(record));
        return Some(Err(malformed(reason)));
    }
    let created = Record::deserialize(record)
        .map_err(|error| error.to_string())
        .and_then(|record| {
            let S3 { bucket, object } = record.s3;
            Ok(ObjectCreated {
                object: object_version(bucket.name, decode_key(&object.key)?, object.version_id)?,
                region: record.aws_region,
                sequencer: object.sequencer,
            })
        });
    Some(created.map_err(malformed))
}

/// An object version whose bucket and key are not empty.
pub(super) fn object_version(
    bucket: String,
    key: String,
    version: Option<String>,
) -> Result<ObjectVersion, String> {
    if bucket.is_empty() || key.is_empty() {
        return Err("the bucket name or the object key is empty".into());
    }
    Ok(ObjectVersion {
        bucket,
        key,
        version: version.and_then(VersionId::new),
    })
}

/// An object key as S3 writes it into its own events and Batch Operations into theirs, form-encoded:
/// `+` is a space and `%XX` a byte of UTF-8.
///
/// # Errors
///
/// Where it does not decode to UTF-8.
pub fn decode_key(encoded: &str) -> Result<String, String> {
    let spaced = encoded.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(key.into_owned()),
        Err(_) => Err(format!("object key {encoded:?} does not decode to UTF-8")),
    }
}
