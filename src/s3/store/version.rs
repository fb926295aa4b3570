//! Versions of objects, delete markers, and the versioning state of a bucket.

use std::collections::HashMap;
use std::fmt;

use chrono::{DateTime, Utc};
use s3s::dto::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::checksum::Checksum;
use crate::error::StoreError;

/// A version id: 32 letters and digits, or `null` for a version written while versioning was not enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VersionId(String);

impl VersionId {
    pub(crate) fn null() -> Self {
        Self("null".to_owned())
    }

    pub(crate) fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let random = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if random || text == "null" {
            Ok(Self(text.to_owned()))
        } else {
            Err(StoreError::InvalidVersionId(text.to_owned()))
        }
    }

    pub(crate) fn as_str(&self) -> &str {
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

/// The versioning state of a bucket. A new bucket is `Unversioned`. Once enabled, versioning can only be suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versioning {
    Unversioned,
    Enabled,
    Suspended,
}

impl Versioning {
    const ALL: [Self; 3] = [Self::Unversioned, Self::Enabled, Self::Suspended];

    /// The value of the column `bucket.versioning`.
    pub(crate) fn as_column(self) -> &'static str {
        match self {
            Self::Unversioned => "never",
            Self::Enabled => "enabled",
            Self::Suspended => "suspended",
        }
    }

    pub(crate) fn from_column(text: &str) -> Result<Self, StoreError> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_column() == text)
            .ok_or_else(|| {
                StoreError::damaged(format!(
                    "a bucket has the unknown versioning state {text:?}"
                ))
            })
    }

    /// The version id that responses show: none in a bucket that was never versioned.
    pub(crate) fn id_in_response(self, id: &VersionId) -> Option<String> {
        (self != Self::Unversioned).then(|| id.to_string())
    }
}

/// The headers that a client stores with an object. Stored in the database as JSON.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Headers {
    pub(crate) content_type: Option<String>,
    pub(crate) cache_control: Option<String>,
    pub(crate) content_disposition: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_language: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) metadata: HashMap<String, String>,
}

/// A version of an object, or a delete marker.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) key: String,
    pub(crate) id: VersionId,
    /// Time of the write, in whole seconds: `Last-Modified` shows no more.
    pub(crate) modified: DateTime<Utc>,
    pub(crate) is_latest: bool,
    /// `None` for a delete marker.
    pub(crate) content: Option<Content>,
}

/// The content of a version that is not a delete marker.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    /// File name in `blobs/`.
    pub(crate) blob: String,
    /// Size of the blob, in bytes.
    pub(crate) size: u64,
    /// Without quotes.
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
    pub(crate) headers: Headers,
}

#[cfg(test)]
mod tests {
    use super::{VersionId, Versioning};

    #[test]
    fn version_ids_are_null_or_32_letters_and_digits() {
        let random = VersionId::random();
        assert_eq!(VersionId::parse(random.as_str()).unwrap(), random);
        assert_eq!(VersionId::parse("null").unwrap(), VersionId::null());
        let too_long = format!("{random}0");
        for text in ["", "Null", "0123456789abcdef0123456789abcde-", &too_long] {
            assert!(VersionId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versioning_state_survives_the_database() {
        for state in Versioning::ALL {
            assert_eq!(Versioning::from_column(state.as_column()).unwrap(), state);
        }
        assert!(Versioning::from_column("Enabled").is_err());
    }
}
