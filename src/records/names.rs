//! What a person says of a change: who they are, and a note.

use std::{fmt, str::FromStr};

/// Longest name of a person, in bytes. It is part of the record, which stays under 1 KB.
const MAX_AUTHOR: usize = 100;
/// Longest note, in bytes.
const MAX_NOTE: usize = 2000;

/// Who changes a record: 1 to 100 bytes without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author(String);

/// Why somebody changes a record: 1 to 2,000 bytes. Line feeds are its only control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note(String);

/// The text is no name or no note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is no name.
    #[error("a name has 1 to {MAX_AUTHOR} bytes and no control characters")]
    Author,
    /// It is no note.
    #[error("a note has 1 to {MAX_NOTE} bytes and no control characters but line feeds")]
    Note,
}

impl FromStr for Author {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let is_name = (1..=MAX_AUTHOR).contains(&text.len()) && !text.chars().any(char::is_control);
        is_name
            .then(|| Self(text.to_owned()))
            .ok_or(NameError::Author)
    }
}

impl FromStr for Note {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        let is_plain = |c: char| c == '\n' || !c.is_control();
        let is_note = (1..=MAX_NOTE).contains(&text.len()) && text.chars().all(is_plain);
        is_note
            .then(|| Self(text.to_owned()))
            .ok_or(NameError::Note)
    }
}

impl Author {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Note {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_notes_are_short_and_plain() {
        assert_eq!(" Ada ".parse::<Author>().unwrap().as_str(), "Ada");
        for invalid in ["", " ", "a\nb", &"x".repeat(MAX_AUTHOR + 1)] {
            assert_eq!(invalid.parse::<Author>(), Err(NameError::Author));
        }
        assert_eq!(
            "wings\nworn".parse::<Note>().unwrap().as_str(),
            "wings\nworn"
        );
        for invalid in ["", "a\tb", &"x".repeat(MAX_NOTE + 1)] {
            assert_eq!(invalid.parse::<Note>(), Err(NameError::Note));
        }
    }
}
