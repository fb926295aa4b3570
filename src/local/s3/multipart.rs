//! Multipart uploads: parts wait in blobs of their own until completion joins them into a version.

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::blob::Draft;
use super::buckets::versioning;
use super::checksum::{Algorithm, Checksum};
use super::error::StoreError;
use super::store::Store;
use super::version::Headers;

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const PART_NUMBERS: std::ops::RangeInclusive<i32> = 1..=10_000;

/// The checksum an upload promised for its object when it was created.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Promise {
    pub(super) algorithm: Algorithm,
    pub(super) composite: bool,
}

pub(super) struct Upload {
    pub(super) id: String,
    pub(super) key: String,
    /// Seconds since the epoch.
    pub(super) initiated: i64,
    pub(super) headers: Headers,
    pub(super) promise: Option<Promise>,
}

pub(super) struct Part {
    pub(super) number: i32,
    /// Seconds since the epoch.
    pub(super) modified: i64,
    pub(super) blob: String,
    pub(super) size: u64,
    pub(super) etag: String,
    pub(super) checksum: Checksum,
}

impl Store {
    pub(super) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        headers: &Headers,
        promise: Option<Promise>,
    ) -> Result<String, StoreError> {
        let connection = self.connection();
        versioning(&connection, bucket)?;
        let id = Uuid::new_v4().simple().to_string();
        let promise = promise
            .map(|promise| serde_json::to_string(&promise))
            .transpose()?;
        connection.execute(
            "INSERT INTO upload VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id,
                bucket,
                key,
                Utc::now().timestamp(),
                serde_json::to_string(headers)?,
                promise
            ],
        )?;
        Ok(id)
    }

    pub(super) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, StoreError> {
        upload(&self.connection(), bucket, key, id)
    }

    /// The uploads under way, by key and then id: the order their pages are cut in.
    pub(super) fn uploads(&self, bucket: &str) -> Result<Vec<Upload>, StoreError> {
        let connection = self.connection();
        versioning(&connection, bucket)?;
        select_uploads(&connection, "bucket = ?1 ORDER BY key, id", &[bucket])
    }

    /// The upload's parts, by number.
    pub(super) fn parts(&self, bucket: &str, key: &str, id: &str) -> Result<Vec<Part>, StoreError> {
        let connection = self.connection();
        upload(&connection, bucket, key, id)?;
        parts(&connection, id)
    }

    /// Adds a part, in place of an earlier one of the same number.
    pub(super) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        draft: Draft,
    ) -> Result<Part, StoreError> {
        if !PART_NUMBERS.contains(&number) {
            return Err(StoreError::InvalidRequest(
                "part number is not within 1 to 10000",
            ));
        }
        let part = Part {
            number,
            modified: Utc::now().timestamp(),
            blob: draft.name(),
            size: draft.size,
            etag: draft.etag(),
            checksum: draft.checksum.clone(),
        };
        let replaced = self.transact(|transaction| {
            upload(transaction, bucket, key, id)?;
            let replaced = transaction
                .query_row(
                    "DELETE FROM part WHERE upload = ?1 AND number = ?2 RETURNING blob",
                    params![id, number],
                    |row| row.get::<_, String>(0),
                )
                .optional()?;
            transaction.execute(
                "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    id,
                    number,
                    part.modified,
                    part.blob,
                    part.size,
                    part.etag,
                    serde_json::to_string(&part.checksum)?
                ],
            )?;
            Ok(replaced)
        })?;
        draft.keep();
        self.remove_blobs(replaced.as_slice());
        Ok(part)
    }

    pub(super) fn abort(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        let blobs = self.transact(|transaction| {
            upload(transaction, bucket, key, id)?;
            remove_upload(transaction, id)
        })?;
        self.remove_blobs(&blobs);
        Ok(())
    }
}

pub(super) fn upload(
    connection: &Connection,
    bucket: &str,
    key: &str,
    id: &str,
) -> Result<Upload, StoreError> {
    versioning(connection, bucket)?;
    select_uploads(
        connection,
        "bucket = ?1 AND key = ?2 AND id = ?3",
        &[bucket, key, id],
    )?
    .pop()
    .ok_or_else(|| StoreError::NoSuchUpload(id.to_owned()))
}

fn select_uploads(
    connection: &Connection,
    filter: &str,
    values: &[&str],
) -> Result<Vec<Upload>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, key, initiated, headers, checksum FROM upload WHERE {filter}"
    ))?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut uploads = Vec::new();
    while let Some(row) = rows.next()? {
        let promise: Option<String> = row.get(4)?;
        uploads.push(Upload {
            id: row.get(0)?,
            key: row.get(1)?,
            initiated: row.get(2)?,
            headers: serde_json::from_str(
                row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?,
            )?,
            promise: promise.as_deref().map(serde_json::from_str).transpose()?,
        });
    }
    Ok(uploads)
}

pub(super) fn parts(connection: &Connection, upload: &str) -> Result<Vec<Part>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, modified, blob, size, etag, checksum FROM part WHERE upload = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([upload])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        parts.push(Part {
            number: row.get(0)?,
            modified: row.get(1)?,
            blob: row.get(2)?,
            size: row.get(3)?,
            etag: row.get(4)?,
            checksum: serde_json::from_str(
                row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?,
            )?,
        });
    }
    Ok(parts)
}

/// Removes the upload; returns its parts' blobs.
pub(super) fn remove_upload(
    transaction: &Transaction<'_>,
    id: &str,
) -> Result<Vec<String>, StoreError> {
    let blobs = parts(transaction, id)?
        .into_iter()
        .map(|part| part.blob)
        .collect();
    transaction.execute("DELETE FROM upload WHERE id = ?1", [id])?;
    Ok(blobs)
}
