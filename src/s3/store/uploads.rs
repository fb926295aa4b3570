//! Multipart uploads in progress. Each part is a blob until completion joins the parts into a version.

use chrono::{DateTime, SubsecRound, Utc};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use s3s::dto;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::blob::NewBlob;
use super::buckets::versioning;
use super::notification::Caller;
use super::objects::WriteCondition;
use super::version::Headers;
use super::{Store, column};
use crate::checksum::{Algorithm, Checksum};
use crate::error::StoreError;

/// Part numbers that S3 allows: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const PART_NUMBERS: std::ops::RangeInclusive<i32> = 1..=10_000;

/// The checksum that an upload announced, when it was created, for its object. Stored in the database as JSON.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct UploadChecksum {
    pub(crate) algorithm: Algorithm,
    /// Whether the object's checksum is that of its parts' checksums.
    pub(crate) composite: bool,
}

/// A multipart upload in progress.
pub(crate) struct Upload {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) initiated: DateTime<Utc>,
    pub(crate) headers: Headers,
    pub(crate) checksum: Option<UploadChecksum>,
}

/// An uploaded part.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) number: i32,
    pub(crate) modified: DateTime<Utc>,
    /// File name in `blobs/`.
    pub(crate) blob: String,
    /// In bytes.
    pub(crate) size: u64,
    /// MD5 of the bytes, in hexadecimal.
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
}

/// A part in the list that a client sends on completion.
pub(crate) struct ListedPart {
    pub(crate) number: i32,
    pub(crate) etag: String,
    pub(crate) checksums: dto::Checksum,
}

/// A request to complete an upload.
pub(crate) struct CompletionRequest {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) upload_id: String,
    pub(crate) parts: Vec<ListedPart>,
    pub(crate) condition: WriteCondition,
    /// The checksum of the whole object that the client expects.
    pub(crate) checksums: dto::Checksum,
    /// The size of the whole object that the client expects, in bytes.
    pub(crate) size: Option<u64>,
    pub(crate) caller: Caller,
}

impl Store {
    /// Creates an upload and returns its id.
    pub(crate) fn create_upload(
        &self,
        bucket: &str,
        key: &str,
        headers: &Headers,
        checksum: Option<UploadChecksum>,
    ) -> Result<String, StoreError> {
        let connection = self.connection();
        versioning(&connection, bucket)?;
        let id = Uuid::new_v4().simple().to_string();
        let checksum = checksum
            .map(|checksum| serde_json::to_string(&checksum))
            .transpose()?;
        connection.execute(
            "INSERT INTO upload VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                id,
                bucket,
                key,
                Utc::now().timestamp(),
                serde_json::to_string(headers)?,
                checksum
            ],
        )?;
        Ok(id)
    }

    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> Result<Upload, StoreError> {
        upload(&self.connection(), bucket, key, id)
    }

    /// The uploads in progress, by key and then by id.
    pub(crate) fn uploads(&self, bucket: &str) -> Result<Vec<Upload>, StoreError> {
        let connection = self.connection();
        versioning(&connection, bucket)?;
        select_uploads(&connection, "bucket = ?1 ORDER BY key, id", &[bucket])
    }

    /// An upload and its parts, by number.
    pub(crate) fn upload_with_parts(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
    ) -> Result<(Upload, Vec<Part>), StoreError> {
        let connection = self.connection();
        let upload = upload(&connection, bucket, key, id)?;
        let parts = parts(&connection, id)?;
        Ok((upload, parts))
    }

    /// Adds the part `number`, or replaces it.
    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        blob: NewBlob,
    ) -> Result<Part, StoreError> {
        if !PART_NUMBERS.contains(&number) {
            return Err(StoreError::InvalidRequest(
                "part number is not within 1 to 10000",
            ));
        }
        let part = Part {
            number,
            modified: Utc::now().trunc_subsecs(0),
            blob: blob.name.clone(),
            size: blob.size,
            etag: blob.etag(),
            checksum: blob.checksum.clone(),
        };
        let replaced_blob = self.transact(|transaction| {
            upload(transaction, bucket, key, id)?;
            let replaced_blob = transaction
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
                    part.modified.timestamp(),
                    part.blob,
                    part.size,
                    part.etag,
                    serde_json::to_string(&part.checksum)?
                ],
            )?;
            Ok(replaced_blob)
        })?;
        blob.keep();
        self.remove_blobs(replaced_blob.as_slice());
        Ok(part)
    }

    pub(crate) fn abort_upload(&self, bucket: &str, key: &str, id: &str) -> Result<(), StoreError> {
        let blobs = self.transact(|transaction| {
            upload(transaction, bucket, key, id)?;
            remove_upload(transaction, id)
        })?;
        self.remove_blobs(&blobs);
        Ok(())
    }
}

/// The upload `id`, or [`StoreError::NoSuchUpload`].
pub(crate) fn upload(
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
    condition: &str,
    values: &[&str],
) -> Result<Vec<Upload>, StoreError> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, key, initiated, headers, checksum FROM upload WHERE {condition}"
    ))?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut uploads = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get("id")?;
        let name = format!("upload {id}");
        uploads.push(Upload {
            id,
            key: row.get("key")?,
            initiated: column::time(row, "initiated", &name)?,
            headers: column::json(row, "headers", &name)?,
            checksum: column::optional_json(row, "checksum", &name)?,
        });
    }
    Ok(uploads)
}

/// The parts of the upload `id`, by number.
pub(crate) fn parts(connection: &Connection, id: &str) -> Result<Vec<Part>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, modified, blob, size, etag, checksum FROM part WHERE upload = ?1 ORDER BY number",
    )?;
    let mut rows = statement.query([id])?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        let number = row.get("number")?;
        let name = format!("part {number} of upload {id}");
        parts.push(Part {
            number,
            modified: column::time(row, "modified", &name)?,
            blob: row.get("blob")?,
            size: row.get("size")?,
            etag: row.get("etag")?,
            checksum: column::json(row, "checksum", &name)?,
        });
    }
    Ok(parts)
}

/// Removes the upload `id` with its parts, and returns their blobs.
pub(crate) fn remove_upload(
    transaction: &Transaction<'_>,
    id: &str,
) -> Result<Vec<String>, StoreError> {
    let blobs = transaction
        .prepare_cached("SELECT blob FROM part WHERE upload = ?1")?
        .query_map([id], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    transaction.execute("DELETE FROM upload WHERE id = ?1", [id])?;
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BUCKET, damage, store};
    use super::{Headers, StoreError};
    use crate::checksum::Algorithm;

    #[test]
    fn damaged_upload_or_part_is_an_error() {
        for change in [
            "upload SET headers = '{}'",
            "upload SET checksum = '{}'",
            "part SET checksum = ''",
        ] {
            let (_folder, store) = store();
            let id = store.create_upload(BUCKET, "a", &Headers::default(), None);
            let id = id.unwrap();
            let blob = store.blob_writer(Algorithm::DEFAULT).unwrap().finish();
            store.put_part(BUCKET, "a", &id, 1, blob).unwrap();
            damage(&store, &format!("UPDATE {change}"));
            let read = store.upload_with_parts(BUCKET, "a", &id);
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{change}");
        }
    }

    #[test]
    fn part_numbers_are_1_to_10000() {
        let (_folder, store) = store();
        let id = store.create_upload(BUCKET, "a", &Headers::default(), None);
        let id = id.unwrap();
        for (number, valid) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
            let blob = store.blob_writer(Algorithm::DEFAULT).unwrap().finish();
            let put = store.put_part(BUCKET, "a", &id, number, blob);
            assert_eq!(put.is_ok(), valid, "{number}");
        }
    }
}
