//! Object versions: what was uploaded, and the id under which it is counted.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;

/// RFC 3986 unreserved characters and `/` stay; everything else is `%XX`.
const URL_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// Namespace of every [`ObjectId`]: UUIDv5 of the DNS name `ledger.moth-classifier.invalid`.
///
/// Never change it: each id in each ledger depends on it.
const NAMESPACE: Uuid = Uuid::from_u128(0xa74b_5f26_8652_5b4e_b5ca_95e9_abae_23e7);

/// A version id as S3 gives it; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VersionId(String);

impl VersionId {
    /// `None` if `id` is empty.
    pub fn new(id: impl Into<String>) -> Option<Self> {
        let id = id.into();
        (!id.is_empty()).then_some(Self(id))
    }

    /// The id as S3 spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the `null` version. A later write to the same key replaces it in place, so it
    /// does not identify immutable content.
    pub fn is_null(&self) -> bool {
        self.0 == "null"
    }
}

/// One version of one object: what an event names and what a read fetches.
///
/// Its `Display` form is `s3://bucket/key?versionId=…` with control characters escaped, so that a key
/// can neither break a log line nor move a terminal's cursor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectVersion {
    /// Bucket name.
    pub bucket: String,
    /// Object key, decoded.
    pub key: String,
    /// `None` if the bucket never had versioning or the event names no version: a read returns the current content.
    pub version: Option<VersionId>,
}

/// UUID in the ledger key of a photo and in the sort key of its record. One object version has one id.
///
/// A UUIDv5 over bucket, key and an identifier of the content: the version id; in a bucket without versions the
/// ETag and Last-Modified that a read returned; the event's `sequencer` if the object cannot be read. The id does not
/// depend on class, model or day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectId(Uuid);

impl ObjectId {
    /// Id of the content that a read of `object` returned. A version id identifies the content by
    /// itself; `etag` and `last_modified` (in seconds since 1970) identify it if there is no version id. `None`
    /// if there is neither a version id nor an ETag.
    pub(crate) fn of_read(
        object: &ObjectVersion,
        etag: Option<&str>,
        last_modified: i64,
    ) -> Option<Self> {
        match (object.immutable_version(), etag) {
            (Some(version), _) => Some(Self::of_version(object, version)),
            (None, Some(etag)) => {
                Some(Self::new(object, &format!("read\n{etag}\n{last_modified}")))
            }
            (None, None) => None,
        }
    }

    fn of_version(object: &ObjectVersion, version: &VersionId) -> Self {
        Self::new(object, &format!("version\n{}", version.as_str()))
    }

    fn new(object: &ObjectVersion, content: &str) -> Self {
        // Only a key can contain a line feed, and the key comes last: the name is unambiguous.
        let name = format!("{}\n{content}\n{}", object.bucket, object.key);
        Self(Uuid::new_v5(&NAMESPACE, name.as_bytes()))
    }
}

/// The text is not the id of a photo.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a record: a UUID, or a class, a hyphen and a UUID")]
pub struct ObjectIdError(String);

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    /// Reads the UUID, or the sort key of the record: `FAW-3f0c…`.
    fn from_str(text: &str) -> Result<Self, ObjectIdError> {
        let hyphenated = text
            .len()
            .checked_sub(UUID_LENGTH)
            .and_then(|start| text.get(start..));
        let has_class = |uuid: &str| {
            let class = &text[..text.len() - uuid.len()];
            class.is_empty() || class.len() > 1 && class.ends_with('-')
        };
        hyphenated
            .filter(|uuid| has_class(uuid))
            .and_then(|uuid| Uuid::try_parse(uuid).ok())
            .map(Self)
            .ok_or_else(|| ObjectIdError(text.to_owned()))
    }
}

/// Characters of a hyphenated UUID.
const UUID_LENGTH: usize = 36;

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The [`ObjectId`] as far as an event determines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AnnouncedId {
    /// The event names an immutable version: this is its id.
    Version(ObjectId),
    /// The event names no immutable version, so the id follows from the read. This id is used only if the object
    /// cannot be read.
    Unread(ObjectId),
}

impl AnnouncedId {
    /// The id, if the event names an immutable version.
    pub fn version(self) -> Option<ObjectId> {
        match self {
            Self::Version(id) => Some(id),
            Self::Unread(_) => None,
        }
    }

    /// The id under which an object that cannot be read is rejected.
    pub fn unread(self) -> ObjectId {
        match self {
            Self::Version(id) | Self::Unread(id) => id,
        }
    }
}

/// An object version that an event reports as created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectCreated {
    /// The object version.
    pub object: ObjectVersion,
    /// Region of the bucket.
    pub region: String,
    /// What the event says about the id.
    pub id: AnnouncedId,
}

impl ObjectCreated {
    /// `sequencer` orders the events of one key; not every source sends it.
    pub fn new(object: ObjectVersion, region: String, sequencer: Option<&str>) -> Self {
        let id = match object.immutable_version() {
            Some(version) => AnnouncedId::Version(ObjectId::of_version(&object, version)),
            None => {
                let content = format!("announced\n{}", sequencer.unwrap_or(""));
                AnnouncedId::Unread(ObjectId::new(&object, &content))
            }
        };
        Self { object, region, id }
    }
}

impl ObjectVersion {
    /// The version id, if it identifies one content for good.
    fn immutable_version(&self) -> Option<&VersionId> {
        self.version.as_ref().filter(|version| !version.is_null())
    }

    /// Adds the version id that a read returned if the event named none, so that a later event with that version id
    /// has the same [`ObjectId`].
    pub fn as_read(&self, version: Option<&VersionId>) -> Self {
        let read = version.filter(|version| self.version.is_none() && !version.is_null());
        Self {
            version: read.or(self.version.as_ref()).cloned(),
            ..self.clone()
        }
    }

    /// Whether this is a folder marker and not a photo: an object of 0 `bytes` whose key ends in `/`.
    /// The S3 console's "Create folder" and s3fs make such objects.
    pub fn is_folder_marker(&self, bytes: u64) -> bool {
        bytes == 0 && self.key.ends_with('/')
    }

    /// `s3://bucket/key?versionId=…`, percent-encoded: the first `?` begins the version id.
    pub fn uri(&self) -> String {
        self.address(&format!("s3://{}", self.bucket))
    }

    /// Virtual-hosted URL of this version, percent-encoded.
    pub fn url(&self, region: &str) -> String {
        self.address(&format!(
            "https://{}.s3.{region}.amazonaws.com",
            self.bucket
        ))
    }

    /// Key and version after the address of the `bucket`.
    fn address(&self, bucket: &str) -> String {
        let key = utf8_percent_encode(&self.key, URL_PATH);
        match &self.version {
            Some(version) => {
                let version = utf8_percent_encode(version.as_str(), URL_PATH);
                format!("{bucket}/{key}?versionId={version}")
            }
            None => format!("{bucket}/{key}"),
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

/// Text whose `Display` form escapes control characters.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(
    /// The raw text.
    pub &'a str,
);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for c in self.0.chars() {
            // U+202A–202E and U+2066–2069 reorder the text of a terminal line.
            if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
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

    fn created(version: Option<&str>, sequencer: Option<&str>) -> ObjectCreated {
        ObjectCreated::new(object("a.jpg", version), "r".into(), sequencer)
    }

    #[test]
    fn namespace_is_derived_as_documented() {
        let name = b"ledger.moth-classifier.invalid";
        assert_eq!(NAMESPACE, Uuid::new_v5(&Uuid::NAMESPACE_DNS, name));
    }

    #[test]
    fn ids_are_those_of_every_ledger_so_far() {
        let read = ObjectId::of_read(&object("a.jpg", None), Some("\"e\""), 7).unwrap();
        assert_eq!(read.to_string(), "b7b75409-0922-52ff-b62a-e9706b6553fb");
        let version = created(Some("v1"), None).id.unread();
        assert_eq!(version.to_string(), "bbdc1ad1-e625-52eb-800e-bd64420dc9e3");
        let announced = created(None, Some("0A")).id.unread();
        assert_eq!(
            announced.to_string(),
            "688644f7-a21f-560d-9d1e-2c5aa9d83c94"
        );
        assert_eq!(
            created(None, None).id.unread().to_string(),
            "e15f9f03-8c2c-5c8c-850b-522bff95dc1b"
        );
    }

    #[test]
    fn a_version_has_one_id_whatever_was_read() {
        let id = |key, version| ObjectId::of_read(&object(key, Some(version)), None, 7).unwrap();
        let v1 = id("a.jpg", "v1");
        assert_eq!(created(Some("v1"), Some("0")).id, AnnouncedId::Version(v1));
        assert_eq!(
            ObjectId::of_read(&object("a.jpg", Some("v1")), Some("\"f\""), 8),
            Some(v1)
        );
        assert_ne!(v1, id("a.jpg", "v2"));
        assert_ne!(v1, id("b.jpg", "v1"));
    }

    #[test]
    fn without_a_version_the_content_is_the_identity() {
        for version in [None, Some("null")] {
            let object = object("a.jpg", version);
            let read = |seconds| ObjectId::of_read(&object, Some("\"e\""), seconds).unwrap();
            assert_ne!(read(7), read(8));
            assert_eq!(ObjectId::of_read(&object, None, 7), None);
            let announced = created(version, Some("0")).id;
            assert_eq!(announced.version(), None);
            assert_ne!(announced.unread(), read(7));
            assert_ne!(announced, created(version, Some("1")).id);
        }
    }

    #[test]
    fn an_event_without_a_version_gets_the_version_that_was_read() {
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
    fn display_escapes_terminal_control_characters() {
        assert_eq!(
            object("a\u{1b}[2J\n\u{202e}é", None).to_string(),
            "s3://moths/a\\u{1b}[2J\\u{a}\\u{202e}é"
        );
    }
}
