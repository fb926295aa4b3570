//! Listings of a bucket: keys in byte order, the versions of a key from the latest to the oldest.

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::buckets::versioning;
use super::version::{Version, VersionId};
use super::version_rows::{COLUMNS, read};
use crate::error::StoreError;

/// The parameters of a listing.
pub(crate) struct Query {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// Rolls the keys that have this text after the prefix up into common prefixes.
    pub(crate) delimiter: Option<String>,
    pub(crate) start: Start,
    /// The most entries of the page.
    pub(crate) limit: usize,
    /// Lists every version and delete marker, instead of the latest versions that are no delete markers.
    pub(crate) versions: bool,
}

/// The place at which a page starts.
pub(crate) enum Start {
    Beginning,
    /// After this key, which the client chose.
    AfterKey(String),
    /// After an entry of an earlier page: a key, or a common prefix with every key under it.
    AfterEntry(String),
    /// After this version of the key.
    AfterVersion(String, VersionId),
}

/// An entry of a page.
#[derive(Debug)]
pub(crate) enum Entry {
    Version(Box<Version>),
    CommonPrefix(String),
}

impl Entry {
    /// The key or the common prefix.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Version(version) => &version.key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

/// A page of a listing.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) entries: Vec<Entry>,
    /// Whether more entries follow.
    pub(crate) truncated: bool,
}

/// A place in the listing order, which is by key, then by descending sequence. It stands before the versions of
/// `key` with a sequence less than `below`.
struct Position {
    key: String,
    below: i64,
}

impl Position {
    fn before_key(key: String) -> Self {
        Self {
            key,
            below: i64::MAX,
        }
    }

    fn after_key(key: String) -> Self {
        // Sequences start at 1.
        Self { key, below: 0 }
    }
}

impl Store {
    /// Lists a page of a bucket.
    pub(crate) fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let connection = self.connection();
        versioning(&connection, &query.bucket)?;
        match query.position(&connection)? {
            Some(position) => query.page(&connection, position),
            None => Ok(Page::default()),
        }
    }
}

impl Query {
    /// The position at which the page starts; `None` if no key can follow.
    fn position(&self, connection: &Connection) -> Result<Option<Position>, StoreError> {
        let position = match &self.start {
            Start::Beginning => Position::before_key(self.prefix.clone()),
            Start::AfterKey(key) => Position::after_key(key.clone()),
            Start::AfterEntry(name) if self.common_prefix(name) == Some(name) => {
                match successor(name) {
                    Some(key) => Position::before_key(key),
                    None => return Ok(None),
                }
            }
            Start::AfterEntry(name) => Position::after_key(name.clone()),
            Start::AfterVersion(key, id) => {
                let sequence: Option<i64> = connection
                    .prepare_cached(
                        "SELECT sequence FROM version WHERE bucket = ?1 AND key = ?2 AND version_id = ?3",
                    )?
                    .query_row([&self.bucket, key, id.as_str()], |row| row.get(0))
                    .optional()?;
                match sequence {
                    Some(below) => Position {
                        key: key.clone(),
                        below,
                    },
                    // The client deleted the version after it listed it. Whatever is left of the key follows.
                    None => Position::before_key(key.clone()),
                }
            }
        };
        Ok(Some(if position.key < self.prefix {
            Position::before_key(self.prefix.clone())
        } else {
            position
        }))
    }

    fn page(&self, connection: &Connection, mut from: Position) -> Result<Page, StoreError> {
        let visible = match self.versions {
            true => "",
            // A row without `blob` but with other columns is damaged. It is selected, so that it is an error.
            false => "AND is_latest AND (blob IS NOT NULL OR size IS NOT NULL)",
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM version
             WHERE bucket = ?1 AND key >= ?2 AND (key > ?2 OR sequence < ?3) {visible}
             ORDER BY key, sequence DESC",
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut page = Page::default();
        'seek: loop {
            let mut rows = statement.query(params![self.bucket, from.key, from.below])?;
            while let Some(row) = rows.next()? {
                let version = read(row)?;
                if !version.key.starts_with(&self.prefix) {
                    return Ok(page);
                }
                if page.entries.len() == self.limit {
                    // S3 does not truncate a page of no entries.
                    page.truncated = self.limit > 0;
                    return Ok(page);
                }
                let Some(common) = self.common_prefix(&version.key) else {
                    page.entries.push(Entry::Version(Box::new(version)));
                    continue;
                };
                page.entries.push(Entry::CommonPrefix(common.to_owned()));
                match successor(common) {
                    Some(key) => from = Position::before_key(key),
                    None => return Ok(page),
                }
                continue 'seek;
            }
            return Ok(page);
        }
    }

    fn common_prefix<'a>(&self, key: &'a str) -> Option<&'a str> {
        common_prefix(key, &self.prefix, self.delimiter.as_deref()?)
    }
}

/// `key` up to and including the first `delimiter` after `prefix`.
fn common_prefix<'a>(key: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = key.strip_prefix(prefix)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&key[..prefix.len() + end])
}

/// The least text, in byte order, that is greater than every text with `prefix`; `None` if there is none.
fn successor(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // A range of characters skips the surrogates, which UTF-8 does not have.
        if let Some(next) = (last..=char::MAX).nth(1) {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BUCKET, damage, put, store};
    use super::{Entry, Query, Start, Store, StoreError, VersionId, common_prefix, successor};

    #[test]
    fn successor_is_greater_than_every_text_with_the_prefix() {
        assert_eq!(successor("a/"), Some("a0".to_owned()));
        assert_eq!(successor("a\u{d7ff}"), Some("a\u{e000}".to_owned()));
        assert_eq!(successor("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(successor("\u{10ffff}"), None);
        assert_eq!(successor(""), None);
    }

    #[test]
    fn common_prefix_ends_with_the_first_delimiter_after_the_prefix() {
        assert_eq!(common_prefix("a/b/c", "", "/"), Some("a/"));
        assert_eq!(common_prefix("a/b/c", "a/", "/"), Some("a/b/"));
        assert_eq!(common_prefix("a--b", "a", "--"), Some("a--"));
        assert_eq!(common_prefix("a/b", "a/", "/"), None);
        assert_eq!(common_prefix("x", "a", "/"), None);
    }

    fn query(start: Start) -> Query {
        Query {
            bucket: BUCKET.to_owned(),
            prefix: String::new(),
            delimiter: None,
            start,
            limit: 1000,
            versions: false,
        }
    }

    /// The names on all pages of `limit` entries.
    fn names(store: &Store, prefix: &str, delimiter: Option<&str>, limit: usize) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let start = match names.last() {
                None => Start::Beginning,
                Some(name) => Start::AfterEntry(name.clone()),
            };
            let page = store.list(&Query {
                prefix: prefix.to_owned(),
                delimiter: delimiter.map(str::to_owned),
                limit,
                ..query(start)
            });
            let page = page.unwrap();
            assert!(page.entries.len() <= limit);
            names.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
            if !page.truncated {
                return names;
            }
        }
    }

    #[test]
    fn pages_of_any_size_add_up_to_the_whole_listing() {
        let (_folder, store) = store();
        for key in [
            "b",
            "a/1",
            "a/2",
            "a/b/1",
            "a0",
            "é",
            "\u{10ffff}/1",
            "B",
            "gone",
        ] {
            put(&store, key, b"");
            put(&store, key, b"");
        }
        store.delete(BUCKET, "gone", None).unwrap();
        let flat = ["B", "a/1", "a/2", "a/b/1", "a0", "b", "é", "\u{10ffff}/1"];
        let rolled_up = ["B", "a/", "a0", "b", "é", "\u{10ffff}/"];
        for limit in 1..=9 {
            assert_eq!(names(&store, "", None, limit), flat);
            assert_eq!(names(&store, "", Some("/"), limit), rolled_up);
            assert_eq!(
                names(&store, "a/", Some("/"), limit),
                ["a/1", "a/2", "a/b/"]
            );
            assert!(names(&store, "c", Some("/"), limit).is_empty());
        }
        assert!(names(&store, "", None, 0).is_empty());
        let after = store
            .list(&query(Start::AfterKey("a/".to_owned())))
            .unwrap();
        assert_eq!(after.entries[0].name(), "a/1");
    }

    #[test]
    fn versions_continue_after_a_version_that_was_deleted() {
        let (_folder, store) = store();
        let ids: Vec<_> = [b"1", b"2", b"3"]
            .map(|bytes| put(&store, "a", bytes).version_id.unwrap())
            .into_iter()
            .map(|id| VersionId::parse(&id).unwrap())
            .collect();
        let after = |id: &VersionId| {
            let page = store.list(&Query {
                versions: true,
                ..query(Start::AfterVersion("a".to_owned(), id.clone()))
            });
            let ids = page.unwrap().entries.into_iter().map(|entry| match entry {
                Entry::Version(version) => version.id,
                Entry::CommonPrefix(prefix) => panic!("{prefix}"),
            });
            ids.collect::<Vec<_>>()
        };
        assert_eq!(after(&ids[2]), [ids[1].clone(), ids[0].clone()]);
        assert!(after(&ids[0]).is_empty());
        store.delete(BUCKET, "a", Some(&ids[2])).unwrap();
        assert_eq!(after(&ids[2]), [ids[1].clone(), ids[0].clone()]);
    }

    #[test]
    fn damaged_row_fails_the_listing() {
        for change in ["blob = NULL", "checksum = 'x'", "headers = 'x'"] {
            let (_folder, store) = store();
            put(&store, "a", b"one");
            damage(&store, &format!("UPDATE version SET {change}"));
            for versions in [false, true] {
                let listed = store.list(&Query {
                    versions,
                    ..query(Start::Beginning)
                });
                assert!(
                    matches!(listed, Err(StoreError::Damaged { .. })),
                    "{change}"
                );
            }
        }
    }
}
