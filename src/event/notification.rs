//! A record of an S3 event notification.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

use super::{
    describe,
    error::{EventError, RecordError},
};
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

/// `None` if the record reports something other than a creation.
pub(super) fn parse(index: usize, record: &Value) -> Option<Result<ObjectCreated, EventError>> {
    let malformed = |reason| EventError::Malformed { index, reason };
    let Some(name) = record.get("eventName").and_then(Value::as_str) else {
        let reason = RecordError::NoEventName(describe(record));
        return Some(Err(malformed(reason)));
    };
    // S3 writes `ObjectCreated:Put`; configurations and some relays write `s3:ObjectCreated:Put`.
    if !name.trim_start_matches("s3:").starts_with("ObjectCreated:") {
        if record.get("s3").is_some() {
            return None;
        }
        let other = RecordError::OtherService {
            name: name.to_owned(),
            record: describe(record),
        };
        return Some(Err(malformed(other)));
    }
    Some(created(record).map_err(malformed))
}

fn created(record: &Value) -> Result<ObjectCreated, RecordError> {
    let Record { aws_region, s3 } = Record::deserialize(record)?;
    let S3 { bucket, object } = s3;
    let key = decode_key(&object.key)?;
    let version = object_version(bucket.name, key, object.version_id)?;
    let sequencer = object.sequencer.as_deref();
    Ok(ObjectCreated::new(version, aws_region, sequencer))
}

/// An object version; an error if the bucket or the key is empty.
pub(super) fn object_version(
    bucket: String,
    key: String,
    version: Option<String>,
) -> Result<ObjectVersion, RecordError> {
    if bucket.is_empty() || key.is_empty() {
        return Err(RecordError::EmptyName);
    }
    Ok(ObjectVersion {
        bucket,
        key,
        version: version.and_then(VersionId::new),
    })
}

/// Decodes an object key of an S3 event or a Batch Operations task, which is form-encoded: `+` is a space
/// and `%XX` a byte of UTF-8.
///
/// # Errors
///
/// [`RecordError::Key`] if the key does not decode to UTF-8.
pub fn decode_key(encoded: &str) -> Result<String, RecordError> {
    let spaced = encoded.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(key) => Ok(key.into_owned()),
        Err(_) => Err(RecordError::Key(encoded.to_owned())),
    }
}
