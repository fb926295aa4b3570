//! An invocation by S3 Batch Operations: the way to the objects that were there before the function.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html>

use serde::Deserialize;
use serde_json::Value;

use super::{
    Event, EventError, Part, Source,
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
    /// `null` where the job's manifest names no version.
    s3_version_id: Option<String>,
    s3_bucket: Option<String>,
    s3_bucket_arn: Option<String>,
}

/// `None` where the event is of another source.
pub(super) fn parse(event: &Value, region: &str) -> Option<Event> {
    let invocation = Invocation::deserialize(event).ok()?;
    let parts = invocation.tasks.iter().enumerate().map(|(index, task)| {
        let id = task.get("taskId").and_then(Value::as_str);
        let created =
            created(task, region).map_err(|reason| EventError::Malformed { index, reason });
        Part {
            id: id.unwrap_or_default().to_owned(),
            objects: vec![created],
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

fn created(task: &Value, region: &str) -> Result<ObjectCreated, String> {
    let task = Task::deserialize(task).map_err(|error| error.to_string())?;
    // `arn:aws:s3:::bucket`; the documentation also shows one with region and account.
    let bucket = match (task.s3_bucket, task.s3_bucket_arn) {
        (Some(bucket), _) => bucket,
        (None, Some(arn)) => arn.rsplit(':').next().unwrap_or_default().to_owned(),
        (None, None) => return Err("neither s3Bucket nor s3BucketArn".into()),
    };
    Ok(ObjectCreated {
        object: object_version(bucket, decode_key(&task.s3_key)?, task.s3_version_id)?,
        region: region.to_owned(),
        sequencer: None,
    })
}
