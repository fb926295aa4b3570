//! Completed uploads, remembered: a client that lost the answer completes again, and gets the same one.
//!
//! S3's documentation has NoSuchUpload for a completed upload. S3 itself answers a repeated completion with 200 and
//! the first result, which is what clients count on when they retry. One that lists other parts is answered
//! InvalidPart: these parts are not to be found any more.

use chrono::{TimeDelta, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::completion::{Completion, Listed};
use super::error::StoreError;
use super::objects::Written;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS completed_upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES bucket (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    parts TEXT NOT NULL,
    version_id TEXT,
    etag TEXT NOT NULL,
    checksum TEXT NOT NULL,
    completed INTEGER NOT NULL
);
";

/// Longer than any client retries. S3 does not say how long it remembers.
const REMEMBERED: TimeDelta = TimeDelta::days(7);

/// Remembers a completion with its result, and forgets old ones.
pub(super) fn remember(
    transaction: &Transaction<'_>,
    completion: &Completion,
    written: &Written,
) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM completed_upload WHERE completed < ?1",
        [oldest()],
    )?;
    transaction.execute(
        "INSERT INTO completed_upload VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            completion.upload,
            completion.bucket,
            completion.key,
            serde_json::to_string(&names(&completion.parts))?,
            written.version_id,
            written.etag,
            serde_json::to_string(&written.checksum)?,
            written.modified,
        ],
    )?;
    Ok(())
}

/// The result of the same completion before, if there was one.
pub(super) fn recall(
    connection: &Connection,
    completion: &Completion,
) -> Result<Option<Written>, StoreError> {
    let row = connection
        .prepare_cached(
            "SELECT parts, version_id, etag, checksum, completed FROM completed_upload
             WHERE id = ?1 AND bucket = ?2 AND key = ?3 AND completed >= ?4",
        )?
        .query_row(
            params![
                completion.upload,
                completion.bucket,
                completion.key,
                oldest()
            ],
            |row| {
                let (parts, checksum): (String, String) = (row.get(0)?, row.get(3)?);
                Ok((parts, row.get(1)?, row.get(2)?, checksum, row.get(4)?))
            },
        )
        .optional()?;
    let Some((parts, version_id, etag, checksum, modified)) = row else {
        return Ok(None);
    };
    let parts: Vec<(i32, String)> = serde_json::from_str(&parts)?;
    if let Some(number) = first_difference(&parts, &names(&completion.parts)) {
        return Err(StoreError::InvalidPart(number));
    }
    Ok(Some(Written {
        version_id,
        etag,
        checksum: serde_json::from_str(&checksum)?,
        modified,
    }))
}

/// When the oldest completion that is remembered was done, in seconds since the epoch.
fn oldest() -> i64 {
    (Utc::now() - REMEMBERED).timestamp()
}

/// What tells parts apart: their numbers and ETags.
fn names(parts: &[Listed]) -> Vec<(i32, String)> {
    let names = parts.iter().map(|part| (part.number, part.etag.clone()));
    names.collect()
}

/// The number of the first part that is not in both lists at its place.
fn first_difference(known: &[(i32, String)], listed: &[(i32, String)]) -> Option<i32> {
    let places = 0..known.len().max(listed.len());
    places
        .map(|place| (known.get(place), listed.get(place)))
        .find(|(known, listed)| known != listed)
        .and_then(|(known, listed)| listed.or(known))
        .map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn lists_of_parts_differ_in_an_etag_a_number_or_their_length() {
        let parts = |names: &[(i32, &str)]| -> Vec<(i32, String)> {
            let names = names.iter();
            names
                .map(|(number, etag)| (*number, (*etag).to_owned()))
                .collect()
        };
        let known = parts(&[(1, "a"), (3, "b")]);
        for (listed, difference) in [
            (parts(&[(1, "a"), (3, "b")]), None),
            (parts(&[(1, "a"), (3, "c")]), Some(3)),
            (parts(&[(2, "a"), (3, "b")]), Some(2)),
            (parts(&[(1, "a")]), Some(3)),
            (parts(&[(1, "a"), (3, "b"), (4, "c")]), Some(4)),
            (parts(&[]), Some(1)),
        ] {
            assert_eq!(first_difference(&known, &listed), difference);
        }
    }
}
