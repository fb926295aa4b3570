//! Names of the classes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The text is not a valid label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label {0:?} is not 1 to 100 bytes without control characters")]
pub struct LabelError(String);

/// Name of a class: 1 to 100 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Label(String);

impl Label {
    /// The class [`UNKNOWN`](super::UNKNOWN).
    pub fn unknown() -> Self {
        Self(super::UNKNOWN.to_owned())
    }

    /// The class [`NOT_A_MOTH`](super::NOT_A_MOTH).
    pub fn not_a_moth() -> Self {
        Self(super::NOT_A_MOTH.to_owned())
    }

    /// The name as the manifest spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Label {
    type Error = LabelError;

    fn try_from(label: String) -> Result<Self, LabelError> {
        if (1..=100).contains(&label.len()) && !label.chars().any(char::is_control) {
            Ok(Self(label))
        } else {
            Err(LabelError(label))
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
