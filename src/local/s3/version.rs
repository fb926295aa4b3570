//! Object versions and the buckets' versioning states, as rows of the metadata database hold them.

use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use rusqlite::Row;
use s3s::dto::{ETag, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::checksum::Checksum;
use super::error::StoreError;

/// A version's id: 32 letters and digits, or `null` where the bucket was not versioned when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionId(String);

impl VersionId {
    pub(super) fn null() -> Self {
        Self("null".to_owned())
    }

    pub(super) fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    pub(super) fn parse(text: &str) -> Result<Self, StoreError> {
        let random = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if random || text == "null" {
            Ok(Self(text.to_owned()))
        } else {
            Err(StoreError::InvalidVersionId(text.to_owned()))
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<VersionId> for String {
    fn from(id: VersionId) -> Self {
        id.0
    }
}

/// A bucket starts as `Never`; once enabled, versioning can be suspended but not undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Versioning {
    Never,
    Enabled,
    Suspended,
}

impl Versioning {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
        }
    }

    pub(super) fn from_column(text: &str) -> Self {
        match text {
            "enabled" => Self::Enabled,
            "suspended" => Self::Suspended,
            _ => Self::Never,
        }
    }

    /// Answers name a version only in a bucket that has been versioned.
    pub(super) fn shown(self, id: &VersionId) -> Option<String> {
        (self != Self::Never).then(|| id.to_string())
    }
}

/// The headers that a client stores with an object and gets back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Headers {
    pub(super) content_type: Option<String>,
    pub(super) cache_control: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) expires: Option<Timestamp>,
    pub(super) metadata: HashMap<String, String>,
}

/// One version of an object, or a delete marker.
#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) key: String,
    pub(super) id: VersionId,
    /// When the write was done, in whole seconds since the epoch: S3 shows no more.
    pub(super) modified: i64,
    pub(super) is_latest: bool,
    /// `None` is a delete marker.
    pub(super) content: Option<Content>,
}

/// What a version that is no delete marker holds.
#[derive(Debug, Clone)]
pub(super) struct Content {
    /// File name in `blobs/`.
    pub(super) blob: String,
    pub(super) size: u64,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) checksum: Checksum,
    pub(super) headers: Headers,
}

impl Version {
    /// The columns [`Version::from_row`] reads, of a table named `version`.
    pub(super) const COLUMNS: &str = "key, version_id, modified, blob, size, etag, checksum, headers,
        sequence = (SELECT max(sequence) FROM version AS newest
                    WHERE newest.bucket = version.bucket AND newest.key = version.key) AS is_latest";

    pub(super) fn from_row(row: &Row<'_>) -> Result<Self, StoreError> {
        let content = match row.get::<_, Option<String>>(3)? {
            None => None,
            Some(blob) => Some(Content {
                blob,
                size: row.get(4)?,
                etag: row.get(5)?,
                checksum: serde_json::from_str(
                    row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?,
                )?,
                headers: serde_json::from_str(
                    row.get_ref(7)?.as_str().map_err(rusqlite::Error::from)?,
                )?,
            }),
        };
        Ok(Self {
            key: row.get(0)?,
            id: VersionId(row.get(1)?),
            modified: row.get(2)?,
            is_latest: row.get(8)?,
            content,
        })
    }
}

/// Whole seconds since the epoch, as s3s writes them into headers and XML.
pub(super) fn timestamp(seconds: i64) -> Timestamp {
    let since_epoch = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Timestamp::from(SystemTime::UNIX_EPOCH + since_epoch)
}

pub(super) fn strong(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}
