//! The event S3 sends for every created version.

use std::net::IpAddr;

use chrono::{DateTime, SecondsFormat, Utc};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

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
