//! Why an event, or one record of it, cannot be understood. A retry does not help.

/// Why an event, or one record of it, cannot be understood.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum EventError {
    /// The event is of no source that this function serves.
    #[error(
        "expected an event of S3 (\"Records\"), EventBridge (\"detail-type\": \"Object Created\"), SNS or SQS \
         around these, or S3 Batch Operations (\"tasks\"), got {0}"
    )]
    UnknownShape(String),
    /// A record lacks a field, or a field is wrong.
    #[error("record {index} of the event is malformed: {reason}")]
    Malformed {
        /// Position in `Records` or `tasks`, from 0.
        index: usize,
        /// What is missing or wrong.
        reason: RecordError,
    },
    /// An EventBridge event lacks a field, or a field is wrong.
    #[error("the EventBridge event is malformed: {0}")]
    EventBridge(RecordError),
    /// A message of SNS or SQS is not JSON.
    #[error("the message of {0} is not JSON: {1}")]
    Message(&'static str, String),
}

/// What is wrong with one record.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// A field is missing or has another type, in serde's words.
    #[error("{0}")]
    Field(String),
    /// The record has no event name.
    #[error("no eventName in {0}")]
    NoEventName(String),
    /// The record is that of another service.
    #[error("{name:?} is not an event of S3: {record}")]
    OtherService {
        /// `eventName`.
        name: String,
        /// Description of the record.
        record: String,
    },
    /// The record names no object.
    #[error("the bucket name or the object key is empty")]
    EmptyName,
    /// The object key is not form-encoded UTF-8.
    #[error("object key {0:?} does not decode to UTF-8")]
    Key(String),
    /// A task names no bucket.
    #[error("neither s3Bucket nor s3BucketArn")]
    NoBucket,
    /// The ARN of a task's bucket has no colon.
    #[error("s3BucketArn is {0:?}, not an ARN")]
    BucketArn(String),
}

impl From<serde_json::Error> for RecordError {
    fn from(error: serde_json::Error) -> Self {
        Self::Field(error.to_string())
    }
}
