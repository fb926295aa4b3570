//! A file that a client wants to upload: its description, checked, and the object key that it gets.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{access::Principal, parameters::whole, problem::Problem};
use crate::photo::Rejection;

/// Longest name of a file, station or camera, in bytes.
const MAX_NAME: usize = 100;
/// Hexadecimal digits that make a key unique.
const UNIQUE: usize = 12;
/// Highest length of a content type.
const MAX_CONTENT_TYPE: usize = 100;

/// A file that a client wants to upload. What is wrong with it is in its item.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct UploadFile {
    /// Name of the file. A time in it tells when the photo was taken, if nothing else does.
    #[schema(example = "IMG_20261120_190431.JPG")]
    name: String,
    /// Length in bytes. The bucket accepts no other.
    #[schema(example = 3_145_728)]
    #[serde(deserialize_with = "whole")]
    bytes: u64,
    /// Content type.
    #[schema(default = "application/octet-stream", example = "image/jpeg")]
    content_type: Option<String>,
    /// SHA-256 of the file, hexadecimal. The bucket checks it, and a file that was uploaded before is not stored twice.
    sha256: Option<String>,
    /// The station.
    #[schema(example = "field-1")]
    station: Option<String>,
    /// The camera.
    camera: Option<String>,
    /// When the photo was taken, if the client knows better than the photo.
    captured_at: Option<DateTime<FixedOffset>>,
}

/// A file whose description was checked.
pub(super) struct CheckedFile {
    pub(super) key: String,
    pub(super) bytes: i64,
    pub(super) content_type: String,
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) metadata: Vec<(&'static str, String)>,
}

impl UploadFile {
    /// Checks the description. `limit` is the largest photo, in bytes.
    pub(super) fn check(self, principal: &Principal, limit: u64) -> Result<CheckedFile, Problem> {
        if self.bytes == 0 {
            return Err(Problem::from(&Rejection::Empty));
        }
        let bytes = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        if self.bytes > limit {
            let bytes = self.bytes;
            return Err(Problem::from(&Rejection::TooManyBytes { bytes, limit }));
        }
        let content_type = self
            .content_type
            .as_deref()
            .unwrap_or("application/octet-stream");
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "/.+-".contains(c);
        if content_type.len() > MAX_CONTENT_TYPE
            || content_type.matches('/').count() != 1
            || !content_type.chars().all(is_plain)
        {
            return Err(Problem::malformed(
                "contentType must be a media type, such as image/jpeg",
            ));
        }
        let sha256 = self.sha256.as_deref().map(sha256).transpose()?;
        let station = principal.station_of(self.station)?;
        let station = station.map(|text| part("station", &text)).transpose()?;
        let camera = self.camera.map(|text| part("camera", &text)).transpose()?;
        if camera.is_some() && station.is_none() {
            return Err(Problem::malformed(
                "the file has a camera and no station: send both",
            ));
        }
        let unique = match sha256 {
            Some(hash) => hex::encode(hash),
            None => Uuid::new_v4().simple().to_string(),
        };
        let file = unique_name(&part("name", &self.name)?, &unique[..UNIQUE]);
        let folders = [station.as_deref(), camera.as_deref()]
            .into_iter()
            .flatten();
        let key: Vec<&str> = folders.chain([file.as_str()]).collect();
        let mut metadata = Vec::new();
        for (name, value) in [("station", station.clone()), ("camera", camera.clone())] {
            // S3 stores ASCII alone as it is. The key has every name.
            metadata.extend(
                value
                    .filter(|value| value.is_ascii())
                    .map(|value| (name, value)),
            );
        }
        if let Some(at) = self.captured_at {
            metadata.push(("captured-at", at.to_rfc3339_opts(SecondsFormat::Secs, true)));
        }
        Ok(CheckedFile {
            key: key.join("/"),
            bytes,
            content_type: content_type.to_owned(),
            sha256,
            metadata,
        })
    }
}

fn sha256(text: &str) -> Result<[u8; 32], Problem> {
    let mut hash = [0; 32];
    match hex::decode_to_slice(text, &mut hash) {
        Ok(()) => Ok(hash),
        Err(_) => Err(Problem::malformed("sha256 must have 64 hexadecimal digits")),
    }
}

/// Checks a part of a key. It must not be a path, because the first folders are station and camera.
fn part(name: &str, text: &str) -> Result<String, Problem> {
    let text = text.trim();
    // U+FFFE and U+FFFF: S3 could not name them in an error.
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\' | '\u{fffe}' | '\u{ffff}');
    match (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(is_plain)
        && text != "."
        && text != ".."
        // S3 reads this as an encoded word, in metadata.
        && !text.starts_with("=?")
    {
        true => Ok(text.to_owned()),
        false => Err(Problem::malformed(format!(
            "{name} must have 1 to {MAX_NAME} bytes, and neither slashes nor control characters, and must not be a path or begin with =?"
        ))),
    }
}

/// The name with `unique` before its extension. The tilde keeps the digits apart from a time in the name.
fn unique_name(name: &str, unique: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => format!("{stem}~{unique}.{extension}"),
        _ => format!("{name}~{unique}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{access::Role, problem::Kind};

    fn file(name: &str) -> UploadFile {
        UploadFile {
            name: name.to_owned(),
            bytes: 10,
            content_type: None,
            sha256: Some("ab".repeat(32)),
            station: Some("field-1".to_owned()),
            camera: None,
            captured_at: None,
        }
    }

    fn principal(station: Option<&str>) -> Principal {
        Principal {
            name: "camera".parse().unwrap(),
            role: Role::Uploader,
            station: station.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_key_has_station_camera_and_a_unique_name() {
        let checked = file("IMG_20261120_190431.JPG")
            .check(&principal(None), 10)
            .unwrap();
        assert_eq!(checked.key, "field-1/IMG_20261120_190431~abababababab.JPG");
        let with_camera = UploadFile {
            camera: Some("Kamera é".to_owned()),
            ..file("a")
        };
        let checked = with_camera.check(&principal(Some("field-1")), 10).unwrap();
        assert_eq!(checked.key, "field-1/Kamera é/a~abababababab");
        assert_eq!(checked.metadata, [("station", "field-1".to_owned())]);
        let none = UploadFile {
            station: None,
            sha256: None,
            ..file(".jpg")
        };
        let checked = none.check(&principal(None), 10).unwrap();
        assert!(checked.key.starts_with(".jpg~") && checked.key.len() == 17);
    }

    #[test]
    fn a_file_that_cannot_be_uploaded_says_why() {
        let bad = [
            UploadFile {
                bytes: 0,
                ..file("a")
            },
            UploadFile {
                bytes: 11,
                ..file("a")
            },
            UploadFile {
                sha256: Some("ab".to_owned()),
                ..file("a")
            },
            UploadFile {
                content_type: Some("text".to_owned()),
                ..file("a")
            },
            UploadFile {
                station: None,
                camera: Some("c".to_owned()),
                ..file("a")
            },
            UploadFile {
                station: Some("a/b".to_owned()),
                ..file("a")
            },
            file("../a"),
            file(".."),
            file("a\nb"),
            file(""),
        ];
        for file in bad {
            assert!(file.check(&principal(None), 10).is_err());
        }
        let other = file("a").check(&principal(Some("field-2")), 10);
        assert_eq!(other.err().unwrap().kind(), Kind::Forbidden);
    }
}
