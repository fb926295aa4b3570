//! Buckets and their versioning states.

use chrono::Utc;
use rusqlite::{Connection, OptionalExtension, params};
use s3s::path::check_bucket_name;

use super::error::StoreError;
use super::store::Store;
use super::version::Versioning;

/// A bucket as listed.
pub(super) struct Bucket {
    pub(super) name: String,
    /// Seconds since the epoch.
    pub(super) created: i64,
}

impl Store {
    /// Makes a bucket where there is none of this name, and turns its versioning on where `versioned`.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidBucketName`], or that the database failed.
    pub fn create_bucket(&self, name: &str, versioned: bool) -> Result<(), StoreError> {
        match self.add_bucket(name) {
            Ok(()) | Err(StoreError::BucketExists(_)) => {}
            Err(error) => return Err(error),
        }
        if versioned {
            self.set_versioning(name, Versioning::Enabled)?;
        }
        Ok(())
    }

    pub(super) fn add_bucket(&self, name: &str) -> Result<(), StoreError> {
        if !check_bucket_name(name) {
            return Err(StoreError::InvalidBucketName(name.to_owned()));
        }
        let added = self.connection().execute(
            "INSERT INTO bucket VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![name, Utc::now().timestamp(), Versioning::Never.as_str()],
        )?;
        if added == 0 {
            return Err(StoreError::BucketExists(name.to_owned()));
        }
        Ok(())
    }

    pub(super) fn buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT name, created FROM bucket ORDER BY name")?;
        let buckets = statement.query_map([], |row| {
            Ok(Bucket {
                name: row.get(0)?,
                created: row.get(1)?,
            })
        })?;
        Ok(buckets.collect::<Result<_, _>>()?)
    }

    pub(super) fn remove_bucket(&self, name: &str) -> Result<(), StoreError> {
        let blobs = self.transact(|transaction| {
            versioning(transaction, name)?;
            let occupied: bool = transaction.query_row(
                "SELECT EXISTS (SELECT 1 FROM version WHERE bucket = ?1)",
                [name],
                |row| row.get(0),
            )?;
            if occupied {
                return Err(StoreError::BucketNotEmpty(name.to_owned()));
            }
            let mut parts = transaction.prepare(
                "SELECT blob FROM part JOIN upload ON upload.id = part.upload WHERE bucket = ?1",
            )?;
            let blobs = parts
                .query_map([name], |row| row.get(0))?
                .collect::<Result<Vec<String>, _>>()?;
            transaction.execute("DELETE FROM bucket WHERE name = ?1", [name])?;
            Ok(blobs)
        })?;
        self.remove_blobs(&blobs);
        Ok(())
    }

    pub(super) fn versioning(&self, bucket: &str) -> Result<Versioning, StoreError> {
        versioning(&self.connection(), bucket)
    }

    pub(super) fn set_versioning(&self, bucket: &str, state: Versioning) -> Result<(), StoreError> {
        let changed = self.connection().execute(
            "UPDATE bucket SET versioning = ?2 WHERE name = ?1",
            [bucket, state.as_str()],
        )?;
        if changed == 0 {
            return Err(StoreError::NoSuchBucket(bucket.to_owned()));
        }
        Ok(())
    }
}

pub(super) fn versioning(connection: &Connection, bucket: &str) -> Result<Versioning, StoreError> {
    connection
        .prepare_cached("SELECT versioning FROM bucket WHERE name = ?1")?
        .query_row([bucket], |row| {
            Ok(Versioning::from_column(row.get_ref(0)?.as_str()?))
        })
        .optional()?
        .ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))
}
