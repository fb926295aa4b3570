//! Where a photo was taken: its station and its camera.

use std::str::FromStr;

use regex_lite::Regex;

use super::Evidence;

/// Longest name of a station or camera, in bytes. A record has to stay under 1 KB.
const MAX_NAME: usize = 100;

/// KEY_PATTERN: a regular expression with the groups `station` and `camera`, or one of them.
#[derive(Debug, Clone)]
pub struct KeyPattern(Regex);

/// Why a pattern is refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyPatternError {
    /// It is no regular expression.
    #[error("it is no regular expression: {0}")]
    Syntax(#[from] regex_lite::Error),
    /// It has neither group.
    #[error("it has neither a group (?<station>…) nor a group (?<camera>…)")]
    NoGroup,
}

impl KeyPattern {
    /// Station, then camera if there is a second folder: `field-2/cam-7/photo.jpg`.
    pub const DEFAULT: &str = r"^(?<station>[^/]+)/(?:(?<camera>[^/]+)/)?";

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for KeyPattern {
    type Err = KeyPatternError;

    fn from_str(pattern: &str) -> Result<Self, KeyPatternError> {
        let pattern = Regex::new(pattern)?;
        let has_group = |name| pattern.capture_names().any(|group| group == Some(name));
        match has_group("station") || has_group("camera") {
            true => Ok(Self(pattern)),
            false => Err(KeyPatternError::NoGroup),
        }
    }
}

impl Default for KeyPattern {
    #[expect(clippy::expect_used, reason = "a test parses the pattern")]
    fn default() -> Self {
        Self::DEFAULT.parse().expect("a valid pattern")
    }
}

impl PartialEq for KeyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for KeyPattern {}

/// Station and camera: from the metadata, else from the key; the camera else from EXIF.
pub(super) fn read(evidence: Evidence, pattern: &KeyPattern) -> (Option<String>, Option<String>) {
    let groups = pattern.0.captures(evidence.key);
    let named = |name: &str| {
        let written = evidence
            .metadata
            .get(name)
            .and_then(|text| self::name(text));
        let in_key = || name_in_key(groups.as_ref()?, name);
        written.or_else(in_key)
    };
    let camera = named("camera").or_else(|| evidence.exif.camera.clone());
    (named("station"), camera)
}

fn name_in_key(groups: &regex_lite::Captures, group: &str) -> Option<String> {
    name(groups.name(group)?.as_str())
}

/// A name without the spaces around it. `None` if it is empty, long or has control characters.
fn name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_plain = (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    is_plain.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::photo::Exif;

    fn read_key(key: &str, metadata: &[(&str, &str)], pattern: &str) -> [Option<String>; 2] {
        let metadata = metadata
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        let evidence = Evidence {
            metadata: &metadata.collect::<HashMap<_, _>>(),
            exif: &Exif {
                camera: Some("A 17".into()),
                ..Exif::default()
            },
            key,
            last_modified: chrono::DateTime::UNIX_EPOCH,
        };
        read(evidence, &pattern.parse().unwrap()).into()
    }

    #[test]
    fn station_and_camera_are_in_metadata_key_and_exif() {
        let default = KeyPattern::DEFAULT;
        let both = [("station", " north "), ("camera", "c1")];
        for (key, metadata, expected) in [
            (
                "field-2/cam-7/a.jpg",
                &[][..],
                [Some("field-2"), Some("cam-7")],
            ),
            (
                "field-2/cam-7/2026/a.jpg",
                &[],
                [Some("field-2"), Some("cam-7")],
            ),
            ("field-2/a.jpg", &[], [Some("field-2"), Some("A 17")]),
            ("a.jpg", &[], [None, Some("A 17")]),
            ("field-2/cam-7/a.jpg", &both, [Some("north"), Some("c1")]),
            (
                "field-2/cam-7/a.jpg",
                &[("station", " ")],
                [Some("field-2"), Some("cam-7")],
            ),
            ("a\nb/c/a.jpg", &[], [None, Some("c")]),
        ] {
            let found = read_key(key, metadata, default);
            assert_eq!(found.each_ref().map(Option::as_deref), expected, "{key}");
        }
        let long = format!("{}/a.jpg", "x".repeat(MAX_NAME + 1));
        assert_eq!(read_key(&long, &[], default)[0], None);
    }

    #[test]
    fn a_pattern_has_one_of_the_groups() {
        let [station, _] = read_key("2026/north-a.jpg", &[], r"/(?<station>\w+)-");
        assert_eq!(station.as_deref(), Some("north"));
        let refused = |pattern: &str| KeyPattern::from_str(pattern).unwrap_err().to_string();
        assert!(refused("(").starts_with("it is no regular expression"));
        assert!(refused("^([^/]+)/").contains("neither"));
        assert_eq!(KeyPattern::default().as_str(), KeyPattern::DEFAULT);
    }
}
