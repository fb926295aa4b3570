//! The rows of the table `version`.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::column;
use super::version::{Content, Version, VersionId, Versioning};
use crate::error::StoreError;

/// The columns that [`read`] needs, for a query on the table `version`.
pub(crate) const COLUMNS: &str = "key, version_id, modified, blob, size, etag, checksum, headers,
    sequence = (SELECT max(sequence) FROM version AS newest
                WHERE newest.bucket = version.bucket AND newest.key = version.key) AS is_latest";

/// Reads a row with [`COLUMNS`].
pub(crate) fn read(row: &Row<'_>) -> Result<Version, StoreError> {
    let key: String = row.get("key")?;
    let id: String = row.get("version_id")?;
    let name = format!("version {id} of object {key}");
    let id = VersionId::parse(&id).map_err(StoreError::unparsable(&*name))?;
    let content = match row.get("blob")? {
        Some(blob) => Some(Content {
            blob,
            size: row.get("size")?,
            etag: row.get("etag")?,
            checksum: column::json(row, "checksum", &name)?,
            headers: column::json(row, "headers", &name)?,
        }),
        None => {
            check_delete_marker(row, &name)?;
            None
        }
    };
    Ok(Version {
        modified: column::time(row, "modified", &name)?,
        is_latest: row.get("is_latest")?,
        key,
        id,
        content,
    })
}

/// Refuses a delete marker with other columns of a version: a lost blob name must not delete an object.
fn check_delete_marker(row: &Row<'_>, name: &str) -> Result<(), StoreError> {
    let size: Option<u64> = row.get("size")?;
    let etag: Option<String> = row.get("etag")?;
    if size.is_some() || etag.is_some() {
        return Err(StoreError::damaged(format!("{name} has no blob")));
    }
    Ok(())
}

/// A row that [`insert`] added.
pub(crate) struct InsertedVersion {
    pub(crate) id: VersionId,
    /// Grows from one inserted row to the next, over all buckets.
    pub(crate) sequence: i64,
    /// The blob of the `null` version that this version replaced.
    pub(crate) replaced_blob: Option<String>,
}

/// Inserts a version as the latest of its key: a delete marker if `content` is `None`.
pub(crate) fn insert(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    versioning: Versioning,
    now: DateTime<Utc>,
    content: Option<&Content>,
) -> Result<InsertedVersion, StoreError> {
    let (id, replaced_blob) = match versioning {
        Versioning::Enabled => (VersionId::random(), None),
        Versioning::Unversioned | Versioning::Suspended => {
            let id = VersionId::null();
            let replaced_blob = remove(transaction, bucket, key, &id)?;
            (id, replaced_blob)
        }
    };
    transaction
        .prepare_cached(
            "INSERT INTO version (bucket, key, version_id, modified, blob, size, etag, checksum, headers)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            bucket,
            key,
            id.as_str(),
            now.timestamp(),
            content.map(|content| &content.blob),
            content.map(|content| content.size),
            content.map(|content| &content.etag),
            content
                .map(|content| serde_json::to_string(&content.checksum))
                .transpose()?,
            content
                .map(|content| serde_json::to_string(&content.headers))
                .transpose()?,
        ])?;
    Ok(InsertedVersion {
        id,
        sequence: transaction.last_insert_rowid(),
        replaced_blob,
    })
}

/// Removes the version `id`, if it exists, and returns its blob. A delete marker has none.
pub(crate) fn remove(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    id: &VersionId,
) -> Result<Option<String>, StoreError> {
    let removed: Option<Option<String>> = transaction
        .prepare_cached(
            "DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND version_id = ?3 RETURNING blob",
        )?
        .query_row([bucket, key, id.as_str()], |row| row.get(0))
        .optional()?;
    match removed {
        Some(blob) => Ok(blob),
        None => Ok(None),
    }
}

/// The latest version of an object, which may be a delete marker.
pub(crate) fn latest(
    connection: &Connection,
    bucket: &str,
    key: &str,
) -> Result<Option<Version>, StoreError> {
    select_one(
        connection,
        "bucket = ?1 AND key = ?2 ORDER BY sequence DESC LIMIT 1",
        &[bucket, key],
    )
}

/// The version `id` of an object.
pub(crate) fn by_id(
    connection: &Connection,
    bucket: &str,
    key: &str,
    id: &VersionId,
) -> Result<Option<Version>, StoreError> {
    select_one(
        connection,
        "bucket = ?1 AND key = ?2 AND version_id = ?3",
        &[bucket, key, id.as_str()],
    )
}

fn select_one(
    connection: &Connection,
    condition: &str,
    values: &[&str],
) -> Result<Option<Version>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM version WHERE {condition}");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    rows.next()?.map(read).transpose()
}
