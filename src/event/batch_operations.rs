//! An invocation by S3 Batch Operations: it classifies objects that are older than the function.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html>

use serde::Deserialize;
use serde_json::Value;

use super::{
    Event, Part, Source,
    error::{EventError, RecordError},
    notification::{decode_key, object_version},
};
use crate::object::ObjectCreated;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    invocation_schema_version: String,
    invocation_id: String,
    tasks: Vec<Value>,
}

/// Schema 1.0 has `s3BucketArn`, 2.0 `s3Bucket`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    s3_key: String,
    /// `null` if the job's manifest names no version.
    s3_version_id: Option<String>,
    s3_bucket: Option<String>,
    s3_bucket_arn: Option<String>,
}

/// `None` if the event is of another source.
pub(super) fn parse(event: &Value, region: &str) -> Option<Event> {
    let invocation = Invocation::deserialize(event).ok()?;
    let parts = invocation.tasks.iter().enumerate().map(|(index, task)| {
        // A task without an id is malformed, and `treatMissingKeysAs` in the answer covers it.
        let id = task.get("taskId").and_then(Value::as_str).unwrap_or("");
        let created =
            created(task, region).map_err(|reason| EventError::Malformed { index, reason });
        Part {
            id: id.to_owned(),
            records: vec![created],
        }
    });
    Some(Event {
        parts: parts.collect(),
        source: Source::BatchOperations {
            schema_version: invocation.invocation_schema_version,
            invocation_id: invocation.invocation_id,
        },
    })
}

fn created(task: &Value, region: &str) -> Result<ObjectCreated, RecordError> {
    let task = Task::deserialize(task)?;
    let bucket = match (task.s3_bucket, &task.s3_bucket_arn) {
        (Some(bucket), _) => bucket,
        // `arn:aws:s3:::bucket`; the documentation also shows an ARN with region and account.
        (None, Some(arn)) => match arn.rsplit_once(':') {
            Some((_, bucket)) => bucket.to_owned(),
            None => return Err(RecordError::BucketArn(arn.clone())),
        },
        (None, None) => return Err(RecordError::NoBucket),
    };
    let object = object_version(bucket, decode_key(&task.s3_key)?, task.s3_version_id)?;
    Ok(ObjectCreated::new(object, region.to_owned(), None))
}
