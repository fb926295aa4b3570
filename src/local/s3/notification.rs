//! The event S3 sends for every version created in the notifying bucket, and those that wait for delivery.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Connection, Transaction};
use serde_json::{Value, json};

use super::error::StoreError;

/// One S3 event notification that waits for delivery.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Names it to [`Store::delivered`](super::Store::delivered); grows from one notification to the next.
    pub id: i64,
    /// The event as S3 shapes it: `{"Records": [{…}]}`.
    pub event: Value,
}

/// The request that created a version.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    /// 16 hex digits, as in the `x-amz-request-id` of the answer.
    pub(super) request_id: String,
}

/// How a version was created.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cause {
    Put,
    Copy,
    CompleteMultipartUpload,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "ObjectCreated:Put",
            Self::Copy => "ObjectCreated:Copy",
            Self::CompleteMultipartUpload => "ObjectCreated:CompleteMultipartUpload",
        }
    }
}

/// A version that was just created, in the words of its event.
pub(super) struct Created<'a> {
    pub(super) region: &'a str,
    pub(super) time: DateTime<Utc>,
    pub(super) cause: Cause,
    pub(super) caller: &'a Caller,
    pub(super) bucket: &'a str,
    pub(super) key: &'a str,
    pub(super) size: u64,
    pub(super) etag: &'a str,
    /// Only where versioning is enabled.
    pub(super) version_id: Option<&'a str>,
    pub(super) sequence: i64,
}

impl Created<'_> {
    /// Shape: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
    pub(super) fn event(&self) -> Value {
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
            "eventName": self.cause.name(),
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

/// Records an event as waiting for delivery.
pub(super) fn record(
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

/// Drops the notifications that wait for delivery and are not of `bucket`.
pub(super) fn drop_others(connection: &Connection, bucket: &str) -> Result<(), StoreError> {
    let dropped = connection.execute(
        "DELETE FROM notification WHERE event ->> '$.Records[0].s3.bucket.name' IS NOT ?1",
        [bucket],
    )?;
    if dropped > 0 {
        tracing::warn!(
            dropped,
            bucket,
            "notifications of other buckets were dropped"
        );
    }
    Ok(())
}

/// The notifications that wait for delivery, in the order of the commits.
pub(super) fn pending(connection: &Connection) -> Result<Vec<Notification>, StoreError> {
    let mut statement = connection.prepare("SELECT id, event FROM notification ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut pending = Vec::new();
    while let Some(row) = rows.next()? {
        pending.push(Notification {
            id: row.get(0)?,
            event: serde_json::from_str(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
        });
    }
    Ok(pending)
}

/// All but RFC 3986's unreserved characters, the slash and the space, which becomes `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b' ');

/// A key as S3 writes it into events, and into listings with `encoding-type=url`.
pub(super) fn form_encode(key: &str) -> String {
    utf8_percent_encode(key, FORM).to_string().replace(' ', "+")
}

#[cfg(test)]
mod tests {
    use super::form_encode;

    #[test]
    fn keys_are_form_encoded() {
        assert_eq!(
            form_encode("moths/a b+c%ö~(1).jpg"),
            "moths/a+b%2Bc%25%C3%B6~%281%29.jpg"
        );
    }
}
