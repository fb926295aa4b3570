//! Who may do what: roles, API keys, and who sent a request.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};
use strum::{EnumString, VariantNames};
use subtle::ConstantTimeEq;

use crate::records::Author;

/// What a caller may do. Each role includes those before it.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    EnumString,
    VariantNames,
    Serialize,
    strum::Display,
    utoipa::ToSchema,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Classifies photos, and reads records.
    Reader,
    /// Uploads photos.
    Uploader,
    /// Reviews records.
    Reviewer,
    /// Deletes and restores records, replaces the deployments, reloads models.
    Admin,
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Name in histories and in the log.
    pub name: Author,
    /// Its role.
    pub role: Role,
    /// The only station that it may use; `None` for all.
    pub station: Option<String>,
}

/// An API key, without the key: only its hash is known.
#[derive(Clone, PartialEq, Eq)]
struct ApiKey {
    sha256: [u8; 32],
    principal: Principal,
}

/// The API keys of a server. The text form has entries between white space or commas:
/// `name:role:sha256`, or `name:role:sha256:station`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ApiKeys(Vec<ApiKey>);

/// An entry of API_KEYS cannot be read. The message does not repeat the hash, which may be a key by mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry}{}: {reason}", name.as_ref().map_or(String::new(), |name| format!(" ({name})")))]
pub struct ApiKeysError {
    /// Number of the entry, from 1.
    entry: usize,
    name: Option<String>,
    reason: &'static str,
}

impl ApiKeys {
    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The owner of `key`. The time that this takes does not depend on which hash matches.
    pub(super) fn find(&self, key: &str) -> Option<&Principal> {
        let hash = Sha256::digest(key.as_bytes());
        self.0.iter().fold(None, |found, entry| {
            match bool::from(entry.sha256.ct_eq(hash.as_slice())) {
                true => Some(&entry.principal),
                false => found,
            }
        })
    }

    /// The text from which they are read.
    pub(crate) fn entries(&self) -> String {
        let entries: Vec<String> = self.0.iter().map(ApiKey::entry).collect();
        entries.join(" ")
    }
}

impl ApiKey {
    fn entry(&self) -> String {
        let Principal {
            name,
            role,
            station,
        } = &self.principal;
        let station = station
            .as_ref()
            .map_or(String::new(), |station| format!(":{station}"));
        format!("{name}:{role}:{}{station}", hex::encode(self.sha256))
    }
}

impl FromStr for ApiKeys {
    type Err = ApiKeysError;

    fn from_str(text: &str) -> Result<Self, ApiKeysError> {
        let entries = text.split(|c: char| c.is_whitespace() || c == ',');
        let entries = entries.filter(|entry| !entry.is_empty());
        let mut keys: Vec<ApiKey> = Vec::new();
        for (index, text) in entries.enumerate() {
            let mut parts = text.splitn(4, ':');
            let name = parts.next().and_then(|name| name.parse::<Author>().ok());
            let failed = |reason| ApiKeysError {
                entry: index + 1,
                name: name.as_ref().map(ToString::to_string),
                reason,
            };
            let entry = |role: Option<&str>, sha256: Option<&str>, station: Option<&str>| {
                let role = role.and_then(|role| role.parse().ok());
                let role = role.ok_or("its role is not reader, uploader, reviewer or admin")?;
                let mut hash = [0; 32];
                let is_hash =
                    sha256.is_some_and(|hex| hex::decode_to_slice(hex, &mut hash).is_ok());
                if !is_hash {
                    return Err("it has no SHA-256 in 64 hexadecimal digits");
                }
                let station = station.map(ToOwned::to_owned);
                if station.as_deref().is_some_and(str::is_empty) {
                    return Err("its station is empty: leave out the last colon");
                }
                Ok((role, hash, station))
            };
            let read = entry(parts.next(), parts.next(), parts.next());
            let (role, sha256, station) = read.map_err(failed)?;
            let name = name.clone().ok_or_else(|| failed("it has no name"))?;
            if keys.iter().any(|key| key.principal.name == name) {
                return Err(failed("an earlier entry has this name"));
            }
            if keys.iter().any(|key| key.sha256 == sha256) {
                return Err(failed(
                    "an earlier entry has this SHA-256: make a key for each",
                ));
            }
            keys.push(ApiKey {
                sha256,
                principal: Principal {
                    name,
                    role,
                    station,
                },
            });
        }
        Ok(Self(keys))
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let principals = self.0.iter().map(|key| &key.principal);
        f.debug_list().entries(principals).finish()
    }
}

/// A new API key: the text that its owner sends, and the entry that the server needs.
pub struct NewApiKey {
    /// The key. It is shown once.
    pub key: String,
    /// The entry of API_KEYS.
    pub entry: String,
}

impl NewApiKey {
    /// Draws a key of 256 random bits.
    pub fn draw(principal: &Principal) -> Self {
        let random = [
            uuid::Uuid::new_v4(),
            uuid::Uuid::new_v4(),
            uuid::Uuid::new_v4(),
        ];
        // A UUID has 122 random bits, so the hash of three of them has 256.
        let bytes: Vec<u8> = random.iter().flat_map(|uuid| *uuid.as_bytes()).collect();
        let key = format!("moth_{}", URL_SAFE_NO_PAD.encode(Sha256::digest(bytes)));
        let entry = ApiKey {
            sha256: Sha256::digest(key.as_bytes()).into(),
            principal: principal.clone(),
        };
        Self {
            entry: entry.entry(),
            key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(station: Option<&str>) -> Principal {
        Principal {
            name: "camera-1".parse().unwrap(),
            role: Role::Uploader,
            station: station.map(ToOwned::to_owned),
        }
    }

    #[test]
    fn a_new_key_is_found_by_its_entry() {
        for station in [None, Some("field-1"), Some("field:1")] {
            let NewApiKey { key, entry } = NewApiKey::draw(&principal(station));
            let other = NewApiKey::draw(&principal(None))
                .entry
                .replace("camera-1", "other");
            let keys: ApiKeys = format!("{other},\n {entry}").parse().unwrap();
            assert_eq!(keys.find(&key), Some(&principal(station)));
            assert_eq!(keys.find(&key[1..]), None);
            assert_eq!(keys.find(""), None);
            assert_eq!(keys.entries().parse(), Ok(keys.clone()));
            assert!(!format!("{keys:?}").contains(&entry[20..40]));
        }
        assert!(" \n".parse::<ApiKeys>().unwrap().is_empty());
    }

    #[test]
    fn an_entry_that_cannot_be_read_is_named_without_its_hash() {
        let hash = "ab".repeat(32);
        for (text, reason) in [
            (format!("a:root:{hash}"), "entry 1 (a): its role"),
            (
                "a:admin:secret".to_owned(),
                "entry 1 (a): it has no SHA-256",
            ),
            ("a".to_owned(), "entry 1 (a): its role"),
            (format!(":admin:{hash}"), "entry 1: it has no name"),
            (format!("a:admin:{hash}:"), "its station is empty"),
            (
                format!("a:admin:{hash} a:reader:{hash}"),
                "entry 2 (a): an earlier",
            ),
        ] {
            let error = text.parse::<ApiKeys>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(
                !error.contains("secret") && !error.contains(&hash),
                "{error}"
            );
        }
    }

    #[test]
    fn roles_include_the_smaller_ones() {
        assert!(Role::Reader < Role::Uploader && Role::Uploader < Role::Reviewer);
        assert!(Role::Reviewer < Role::Admin);
    }
}
