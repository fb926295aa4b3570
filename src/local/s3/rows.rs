//! The rows of the table `version`.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::error::StoreError;
use super::version::{Content, Version, VersionId, Versioning};

pub(super) struct Inserted {
    pub(super) id: VersionId,
    pub(super) sequence: i64,
    /// Blobs of the `null` version that this one replaced.
    pub(super) replaced: Vec<String>,
}

/// Inserts a version, or a delete marker where `content` is `None`, as the latest of its key.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    state: Versioning,
    now: DateTime<Utc>,
    content: Option<&Content>,
) -> Result<Inserted, StoreError> {
    let (id, replaced) = match state {
        Versioning::Enabled => (VersionId::random(), Vec::new()),
        Versioning::Never | Versioning::Suspended => {
            let id = VersionId::null();
            let replaced = remove(transaction, bucket, key, &id)?;
            (id, replaced)
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
    Ok(Inserted {
        id,
        sequence: transaction.last_insert_rowid(),
        replaced,
    })
}

/// Removes a version, if there is one of this id; returns its blob.
pub(super) fn remove(
    transaction: &Transaction<'_>,
    bucket: &str,
    key: &str,
    id: &VersionId,
) -> Result<Vec<String>, StoreError> {
    let blob = transaction
        .prepare_cached(
            "DELETE FROM version WHERE bucket = ?1 AND key = ?2 AND version_id = ?3 RETURNING blob",
        )?
        .query_row([bucket, key, id.as_str()], |row| {
            row.get::<_, Option<String>>(0)
        })
        .optional()?;
    Ok(blob.flatten().into_iter().collect())
}

pub(super) fn latest(
    connection: &Connection,
    bucket: &str,
    key: &str,
) -> Result<Option<Version>, StoreError> {
    one(
        connection,
        "bucket = ?1 AND key = ?2 ORDER BY sequence DESC LIMIT 1",
        &[bucket, key],
    )
}

pub(super) fn by_id(
    connection: &Connection,
    bucket: &str,
    key: &str,
    id: &VersionId,
) -> Result<Option<Version>, StoreError> {
    one(
        connection,
        "bucket = ?1 AND key = ?2 AND version_id = ?3",
        &[bucket, key, id.as_str()],
    )
}

fn one(
    connection: &Connection,
    filter: &str,
    values: &[&str],
) -> Result<Option<Version>, StoreError> {
    let sql = format!("SELECT {} FROM version WHERE {filter}", Version::COLUMNS);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    rows.next()?.map(Version::from_row).transpose()
}
