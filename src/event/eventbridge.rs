//! An EventBridge event of S3. Its fields are in kebab-case, its object keys are not encoded.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>

use serde::Deserialize;
use serde_json::Value;

use super::{
    describe,
    error::{EventError, RecordError},
    notification::object_version,
};
use crate::object::ObjectCreated;

#[derive(Deserialize)]
struct Event {
    region: String,
    detail: Detail,
}

#[derive(Deserialize)]
struct Detail {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Object {
    key: String,
    version_id: Option<String>,
    sequencer: Option<String>,
}

/// `None` if the event reports something other than a creation.
pub(super) fn parse(event: &Value) -> Option<Result<ObjectCreated, EventError>> {
    let text = |field: &str| event.get(field).and_then(Value::as_str);
    match (text("source"), text("detail-type")) {
        (Some("aws.s3"), Some("Object Created")) => {}
        // "Object Deleted", "Object Restore Completed", "Object Tags Added", …
        (Some("aws.s3"), Some(kind)) if kind.starts_with("Object ") => return None,
        (source, kind) => {
            let got = format!(
                "{} (source {source:?}, detail-type {kind:?})",
                describe(event)
            );
            return Some(Err(EventError::UnknownShape(got)));
        }
    }
    Some(created(event).map_err(EventError::EventBridge))
}

fn created(event: &Value) -> Result<ObjectCreated, RecordError> {
    let Event { region, detail } = Event::deserialize(event)?;
    let Detail { bucket, object } = detail;
    let version = object_version(bucket.name, object.key, object.version_id)?;
    let sequencer = object.sequencer.as_deref();
    Ok(ObjectCreated::new(version, region, sequencer))
}
