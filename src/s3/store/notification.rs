//! The S3 event notifications of created versions, and those that wait for delivery.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use rusqlite::{Connection, Transaction};
use serde_json::{Value, json};

use super::column;
use crate::error::StoreError;
use crate::key_encoding::form_encode;

/// An S3 event notification that waits for delivery.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Identifies the notification to [`Store::delivered`](crate::Store::delivered). Ids ascend.
    pub id: i64,
    /// The event in S3's format: `{"Records": [{…}]}`.
    pub event: Value,
}

/// The request that created a version.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Address of the client.
    pub(crate) address: IpAddr,
    /// 16 hexadecimal digits, as in the `x-amz-request-id` of the response.
    pub(crate) request_id: String,
}

/// The type of an event.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EventName {
    Put,
    Copy,
    CompleteMultipartUpload,
}

impl EventName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
        }
    }
}

/// The data of an `ObjectCreated` event.
pub(crate) struct ObjectCreated<'a> {
    pub(crate) region: &'a str,
    pub(crate) time: DateTime<Utc>,
    pub(crate) event_name: EventName,
    pub(crate) caller: &'a Caller,
    pub(crate) bucket: &'a str,
    pub(crate) key: &'a str,
    /// In bytes.
    pub(crate) size: u64,
    pub(crate) etag: &'a str,
    /// `None` unless versioning is enabled.
    pub(crate) version_id: Option<&'a str>,
    /// Orders the events of a key.
    pub(crate) sequence: i64,
}

impl ObjectCreated<'_> {
    /// The event in the format of
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = json!({
            "key": form_encode(self.key),
            "size": self.size,
            "eTag": self.etag,
            "sequencer": format!("{:018X}", self.sequence),
        });
        if let Some(version_id) = self.version_id {
            object["versionId"] = version_id.into();
        }
        json!({"Records": [{
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": self.region,
            "eventTime": self.time.to_rfc3339_opts(SecondsFormat::Millis, true),
            "eventName": self.event_name.as_str(),
            "userIdentity": {"principalId": "AWS:LOCAL"},
            "requestParameters": {"sourceIPAddress": self.caller.address.to_string()},
            "responseElements": {
                "x-amz-request-id": self.caller.request_id,
                "x-amz-id-2": self.caller.request_id,
            },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "local",
                "bucket": {
                    "name": self.bucket,
                    "ownerIdentity": {"principalId": "LOCAL"},
                    "arn": format!("arn:aws:s3:::{}", self.bucket),
                },
                "object": object,
            },
        }]})
    }
}

/// Stores an event as pending.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    event: Value,
) -> Result<Notification, StoreError> {
    transaction.execute(
        "INSERT INTO notification (event) VALUES (?1)",
        [event.to_string()],
    )?;
    Ok(Notification {
        id: transaction.last_insert_rowid(),
        event,
    })
}

/// Deletes the pending notifications of buckets other than `bucket`. Leaves those that are not JSON, so that
/// [`pending`] reports them.
pub(crate) fn delete_of_other_buckets(
    connection: &Connection,
    bucket: &str,
) -> Result<(), StoreError> {
    let deleted = connection.execute(
        "DELETE FROM notification WHERE CASE WHEN json_valid(event)
             THEN event ->> '$.Records[0].s3.bucket.name' IS NOT ?1 END",
        [bucket],
    )?;
    if deleted > 0 {
        tracing::warn!(
            deleted,
            bucket,
            "undelivered notifications of other buckets were deleted"
        );
    }
    Ok(())
}

/// The pending notifications, in the order of the commits.
pub(crate) fn pending(connection: &Connection) -> Result<Vec<Notification>, StoreError> {
    let mut statement = connection.prepare("SELECT id, event FROM notification ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut pending = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get("id")?;
        let event = column::json(row, "event", &format!("notification {id}"))?;
        pending.push(Notification { id, event });
    }
    Ok(pending)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::super::testing::caller;
    use super::{EventName, ObjectCreated};

    #[test]
    fn event_has_the_key_encoded_and_a_version_only_if_versioned() {
        let caller = caller();
        let mut created = ObjectCreated {
            region: "eu-west-1",
            time: DateTime::from_timestamp_millis(1_500).unwrap(),
            event_name: EventName::Copy,
            caller: &caller,
            bucket: "moths",
            key: "a b",
            size: 4,
            etag: "e",
            version_id: Some("v"),
            sequence: 255,
        };
        let event = created.to_json();
        let record = &event["Records"][0];
        assert_eq!(record["eventTime"], "1970-01-01T00:00:01.500Z");
        assert_eq!(record["eventName"], "ObjectCreated:Copy");
        let object = &record["s3"]["object"];
        assert_eq!(object["key"], "a+b");
        assert_eq!(object["versionId"], "v");
        assert_eq!(object["sequencer"], "0000000000000000FF");
        created.version_id = None;
        let event = created.to_json();
        assert!(
            event["Records"][0]["s3"]["object"]
                .get("versionId")
                .is_none()
        );
    }
}
