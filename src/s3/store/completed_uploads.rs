//! Completed uploads, which the store remembers: a client that lost the response completes again, and gets the same
//! response.
//!
//! S3's documentation says NoSuchUpload for a completed upload. In fact S3 answers a repeated completion with 200
//! and the first result, and clients rely on that when they retry. A repeated completion that lists other parts is
//! answered InvalidPart.

use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::{Connection, Transaction, params};

use super::column;
use super::objects::CreatedVersion;
use super::uploads::{CompletionRequest, ListedPart};
use crate::error::StoreError;

/// How long a completion is remembered: longer than any client retries. S3 documents no duration.
const RETENTION: TimeDelta = TimeDelta::days(7);

/// Stores a completion with its result, and deletes expired ones.
pub(crate) fn remember(
    transaction: &Transaction<'_>,
    request: &CompletionRequest,
    created: &CreatedVersion,
) -> Result<(), StoreError> {
    transaction.execute(
        "DELETE FROM completed_upload WHERE completed < ?1",
        [oldest_remembered().timestamp()],
    )?;
    transaction.execute(
        "INSERT INTO completed_upload VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            request.upload_id,
            request.bucket,
            request.key,
            serde_json::to_string(&numbers_and_etags(&request.parts))?,
            created.version_id,
            created.etag,
            serde_json::to_string(&created.checksum)?,
            created.modified.timestamp(),
        ],
    )?;
    Ok(())
}

/// The result of an earlier completion of the same upload.
///
/// # Errors
///
/// [`StoreError::InvalidPart`] if the earlier completion listed other parts.
pub(crate) fn recall(
    connection: &Connection,
    request: &CompletionRequest,
) -> Result<Option<CreatedVersion>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT parts, version_id, etag, checksum, completed FROM completed_upload
         WHERE id = ?1 AND bucket = ?2 AND key = ?3 AND completed >= ?4",
    )?;
    let mut rows = statement.query(params![
        request.upload_id,
        request.bucket,
        request.key,
        oldest_remembered().timestamp()
    ])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let name = format!("completed upload {}", request.upload_id);
    let parts: Vec<(i32, String)> = column::json(row, "parts", &name)?;
    if let Some(number) = first_difference(&parts, &numbers_and_etags(&request.parts)) {
        return Err(StoreError::InvalidPart(number));
    }
    Ok(Some(CreatedVersion {
        version_id: row.get("version_id")?,
        etag: row.get("etag")?,
        checksum: column::json(row, "checksum", &name)?,
        modified: column::time(row, "completed", &name)?,
    }))
}

fn oldest_remembered() -> DateTime<Utc> {
    Utc::now() - RETENTION
}

/// What identifies each part of a completion.
fn numbers_and_etags(parts: &[ListedPart]) -> Vec<(i32, String)> {
    let parts = parts.iter().map(|part| (part.number, part.etag.clone()));
    parts.collect()
}

/// The number of the first part that the lists do not both have in the same place.
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
        let parts = |parts: &[(i32, &str)]| -> Vec<(i32, String)> {
            let parts = parts.iter();
            parts
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
