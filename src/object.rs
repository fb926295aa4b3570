//! What was uploaded: one version of one object.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

/// RFC 3986 unreserved characters and `/` stay; everything else is `%XX`.
const URL_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Namespace of [`ObjectVersion::id`]: UUIDv5 of the DNS name `ledger.moth-classifier.invalid`.
/// Never change it: every id in every ledger hangs on it.
const NAMESPACE: Uuid = Uuid::from_u128(0xa74b_5f26_8652_5b4e_b5ca_95e9_abae_23e7);

/// A version id as S3 gives it; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionId(String);

impl VersionId {
    /// `None` where `id` is empty.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (!id.is_empty()).then_some(Self(id))
    }

    /// The id as S3 spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the `null` version, which a later write to the same key replaces in place:
    /// it names a slot, not a content.
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }
}

/// One version of one object: what an event points at and what a read fetches.
///
/// Displayed as `s3://bucket/key?versionId=…` with control characters escaped, so that a key can
/// neither break a log line nor move a terminal's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectVersion {
    /// Bucket name.
    pub bucket: String,
    /// Object key, decoded.
    pub key: String,
    /// `None` in a bucket that never had versioning: a read returns whatever is there.
    pub version: Option<VersionId>,
}

/// What tells one content of a slot without a version id from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// What the response to a read said it returned.
    Read {
        /// Entity tag, as S3 spells it.
        etag: &'a str,
        /// Last-Modified in seconds since 1970.
        last_modified: i64,
    },
    /// Nothing could be read; the sequencer of the event stands for the content it announced.
    Announced {
        /// `sequencer` of the event, or an empty string.
        sequencer: &'a str,
    },
}

impl ObjectVersion {
    /// The id under which this version is counted or rejected, once.
    ///
    /// UUIDv5 over bucket, key and version id, or over bucket, key and `content` where there is no
    /// version id that names one content for good. It does not depend on class, model or day.
    pub fn id(&self, content: Content<'_>) -> Uuid {
        let content = match (&self.version, content) {
            (Some(version), _) if !version.is_null() => format!("version\n{}", version.as_str()),
            (
                _,
                Content::Read {
                    etag,
                    last_modified,
                },
            ) => format!("read\n{etag}\n{last_modified}"),
            (_, Content::Announced { sequencer }) => format!("announced\n{sequencer}"),
        };
        // Only a key can hold a line feed, and it comes last: no two objects make the same name.
        let name = format!("{}\n{content}\n{}", self.bucket, self.key);
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }

    /// Whether the event alone tells the [id](Self::id), before anything was read.
    pub fn is_identified(&self) -> bool {
        self.version
            .as_ref()
            .is_some_and(|version| !version.is_null())
    }

    /// This object, with the version that a read returned where the event named none: then a later
    /// event that names it means the same.
    pub fn as_read(&self, version: Option<&VersionId>) -> Self {
        let read = version.filter(|version| self.version.is_none() && !version.is_null());
        Self {
            version: read.or(self.version.as_ref()).cloned(),
            ..self.clone()
        }
    }

    /// Whether this is a folder marker and no photo: an object of 0 `bytes` whose key ends in `/`, as the
    /// S3 console's "Create folder" and s3fs make it.
    pub fn is_folder_marker(&self, bytes: u64) -> bool {
        bytes == 0 && self.key.ends_with('/')
    }

    /// Virtual-hosted URL of this version, percent-encoded.
    pub fn url(&self, region: &str) -> String {
        let Self {
            bucket,
            key,
            version,
        } = self;
        let key = utf8_percent_encode(key, URL_PATH);
        let url = format!("https://{bucket}.s3.{region}.amazonaws.com/{key}");
        match version {
            Some(version) => {
                format!(
                    "{url}?versionId={}",
                    utf8_percent_encode(version.as_str(), URL_PATH)
                )
            }
            None => url,
        }
    }
}

impl fmt::Display for ObjectVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", Escaped(&self.bucket), Escaped(&self.key))?;
        match &self.version {
            Some(version) => write!(f, "?versionId={}", Escaped(version.as_str())),
            None => Ok(()),
        }
    }
}

/// Displays text with its control characters escaped.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(
    /// The text as it came.
    pub &'a str,
);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            // U+202A–202E and U+2066–2069 reorder what a terminal shows.
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// An object version that an event says was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectCreated {
    /// What was created.
    pub object: ObjectVersion,
    /// Region of the bucket.
    pub region: String,
    /// Orders the events of one key, where the event tells it.
    pub sequencer: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(key: &str, version: Option<&str>) -> ObjectVersion {
        ObjectVersion {
            bucket: "moths".into(),
            key: key.into(),
            version: version.and_then(VersionId::new),
        }
    }

    const READ: Content<'_> = Content::Read {
        etag: "\"e\"",
        last_modified: 7,
    };

    #[test]
    fn namespace_is_derived_as_documented() {
        let name = b"ledger.moth-classifier.invalid";
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_DNS, name));
    }

    #[test]
    fn a_version_is_one_object_whatever_was_read() {
        let id = |content| object("a.jpg", Some("v1")).id(content);
        assert_eq!(id(READ), id(Content::Announced { sequencer: "0" }));
        assert_ne!(id(READ), object("a.jpg", Some("v2")).id(READ));
        assert_ne!(id(READ), object("b.jpg", Some("v1")).id(READ));
    }

    #[test]
    fn without_a_version_the_content_is_the_identity() {
        for version in [None, Some("null")] {
            let id = |content| object("a.jpg", version).id(content);
            assert_ne!(
                id(READ),
                id(Content::Read {
                    etag: "\"e\"",
                    last_modified: 8
                })
            );
            assert_ne!(id(READ), id(Content::Announced { sequencer: "0" }));
            assert!(!object("a.jpg", version).is_identified());
        }
    }

    #[test]
    fn a_version_that_was_read_is_the_one_events_name() {
        let (null, v1) = (VersionId::new("null"), VersionId::new("v1"));
        let (event, named) = (object("a.jpg", None), object("a.jpg", Some("v1")));
        assert_eq!(event.as_read(v1.as_ref()), named);
        assert_eq!(event.as_read(null.as_ref()), event);
        assert_eq!(event.as_read(None), event);
        assert_eq!(named.as_read(null.as_ref()), named);
    }

    #[test]
    fn urls_are_percent_encoded() {
        assert_eq!(
            object("farm 1/100% +é.jpg", Some("a+b")).url("eu-west-1"),
            "https://moths.s3.eu-west-1.amazonaws.com/farm%201/100%25%20%2B%C3%A9.jpg?versionId=a%2Bb"
        );
        assert_eq!(
            object("k", None).url("r"),
            "https://moths.s3.r.amazonaws.com/k"
        );
    }

    #[test]
    fn display_escapes_what_could_move_a_terminal() {
        assert_eq!(
            object("a\u{1b}[2J\n\u{202e}é", None).to_string(),
            "s3://moths/a\\u{1b}[2J\\u{a}\\u{202e}é"
        );
    }
}
