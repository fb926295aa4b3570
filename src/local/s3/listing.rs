//! Listings: keys in byte order, the versions of a key from the latest back, prefixes rolled up.

use rusqlite::{OptionalExtension, params};

use super::buckets::versioning;
use super::error::StoreError;
use super::store::Store;
use super::version::Version;

/// What to list of a bucket.
pub(super) struct Query {
    pub(super) bucket: String,
    pub(super) prefix: String,
    pub(super) delimiter: Option<String>,
    pub(super) after: After,
    pub(super) limit: usize,
    /// Every version and delete marker instead of the objects one sees.
    pub(super) versions: bool,
}

/// Where a listing goes on.
pub(super) enum After {
    Beginning,
    /// Behind this key, wherever it came from.
    Key(String),
    /// Behind an entry of an earlier page: a key or a common prefix with all under it.
    Entry(String),
    /// Behind this version of the key.
    Version(String, String),
}

pub(super) enum Entry {
    Version(Box<Version>),
    CommonPrefix(String),
}

impl Entry {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Version(version) => &version.key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

pub(super) struct Page {
    pub(super) entries: Vec<Entry>,
    pub(super) truncated: bool,
}

/// A place in the order of (key, sequence descending): all from this key on, less its versions from `below` up.
struct Position {
    key: String,
    below: i64,
}

impl Position {
    fn at(key: String) -> Self {
        Self {
            key,
            below: i64::MAX,
        }
    }

    fn behind(key: String) -> Self {
        // Sequences start at 1.
        Self { key, below: 0 }
    }
}

impl Store {
    pub(super) fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let connection = self.connection();
        versioning(&connection, &query.bucket)?;
        let mut page = Page {
            entries: Vec::new(),
            truncated: false,
        };
        let start = match &query.after {
            After::Beginning => None,
            After::Key(key) => Some(Position::behind(key.clone())),
            After::Entry(name)
                if query
                    .common_prefix(name)
                    .is_some_and(|common| common == name) =>
            {
                match successor(name) {
                    Some(key) => Some(Position::at(key)),
                    None => return Ok(page),
                }
            }
            After::Entry(name) => Some(Position::behind(name.clone())),
            After::Version(key, id) => {
                let sequence = connection
                    .prepare_cached(
                        "SELECT sequence FROM version WHERE bucket = ?1 AND key = ?2 AND version_id = ?3",
                    )?
                    .query_row([&query.bucket, key, id], |row| row.get(0))
                    .optional()?;
                // Deleted since the page before, as by a client that deletes what it lists.
                Some(sequence.map_or_else(
                    || Position::at(key.clone()),
                    |below| Position {
                        key: key.clone(),
                        below,
                    },
                ))
            }
        };
        let mut from = match start {
            Some(start) if start.key >= query.prefix => start,
            _ => Position::at(query.prefix.clone()),
        };
        let visible = if query.versions {
            ""
        } else {
            "AND is_latest AND blob IS NOT NULL"
        };
        let sql = format!(
            "SELECT {} FROM version
             WHERE bucket = ?1 AND key >= ?2 AND (key > ?2 OR sequence < ?3) {visible}
             ORDER BY key, sequence DESC",
            Version::COLUMNS,
        );
        let mut statement = connection.prepare_cached(&sql)?;
        'seek: loop {
            let mut rows = statement.query(params![query.bucket, from.key, from.below])?;
            while let Some(row) = rows.next()? {
                let version = Version::from_row(row)?;
                if !version.key.starts_with(&query.prefix) {
                    return Ok(page);
                }
                if page.entries.len() == query.limit {
                    page.truncated = query.limit > 0;
                    return Ok(page);
                }
                let Some(common) = query.common_prefix(&version.key) else {
                    page.entries.push(Entry::Version(Box::new(version)));
                    continue;
                };
                page.entries.push(Entry::CommonPrefix(common.to_owned()));
                match successor(common) {
                    Some(key) => from = Position::at(key),
                    None => return Ok(page),
                }
                continue 'seek;
            }
            return Ok(page);
        }
    }
}

impl Query {
    /// The key up to and with the first delimiter behind the prefix.
    fn common_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        common_prefix(key, &self.prefix, self.delimiter.as_deref()?)
    }
}

fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(prefix)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key[..prefix.len() + end])
}

/// The least text above all that begin with `prefix`, in byte order, if there is one.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Surrogates are no characters: the range steps over them.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{common_prefix, successor};

    #[test]
    fn a_successor_is_above_all_with_the_prefix() {
        assert_eq!(successor("a/"), Some("a0".to_owned()));
        assert_eq!(successor("a\u{d7ff}"), Some("a\u{e000}".to_owned()));
        assert_eq!(successor("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(successor("\u{10ffff}"), None);
    }

    #[test]
    fn common_prefixes_end_with_the_first_delimiter_behind_the_prefix() {
        assert_eq!(common_prefix("a/b/c", "", "/"), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(common_prefix("a/b", "a/", "/"), None);
        assert_eq!(common_prefix("x", "a", "/"), None);
    }
}
