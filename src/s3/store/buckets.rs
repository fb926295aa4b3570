//! Buckets and their versioning states.

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params};
use s3s::path::check_bucket_name;

use super::version::Versioning;
use super::{Store, column};
use crate::error::StoreError;

/// An entry of a list of buckets.
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) created: DateTime<Utc>,
}

impl Store {
    /// Creates the bucket `name` if it does not exist, and enables its versioning if `versioned`.
    ///
    /// # Errors
    ///
    /// [`StoreError::InvalidBucketName`], or [`StoreError::Database`] if SQLite failed.
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

    /// Creates the bucket `name`, which must not exist.
    pub(crate) fn add_bucket(&self, name: &str) -> Result<(), StoreError> {
        if !check_bucket_name(name) {
            return Err(StoreError::InvalidBucketName(name.to_owned()));
        }
        let added = self.connection().execute(
            "INSERT INTO bucket VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![
                name,
                Utc::now().timestamp(),
                Versioning::Unversioned.as_column()
            ],
        )?;
        if added == 0 {
            return Err(StoreError::BucketExists(name.to_owned()));
        }
        Ok(())
    }

    /// All buckets, by name.
    pub(crate) fn buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT name, created FROM bucket ORDER BY name")?;
        let mut rows = statement.query([])?;
        let mut buckets = Vec::new();
        while let Some(row) = rows.next()? {
            let name: String = row.get("name")?;
            let created = column::time(row, "created", &format!("bucket {name}"))?;
            buckets.push(Bucket { name, created });
        }
        Ok(buckets)
    }

    /// Removes a bucket without versions, and aborts its multipart uploads.
    pub(crate) fn remove_bucket(&self, name: &str) -> Result<(), StoreError> {
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

    pub(crate) fn versioning(&self, bucket: &str) -> Result<Versioning, StoreError> {
        versioning(&self.connection(), bucket)
    }

    pub(crate) fn set_versioning(
        &self,
        bucket: &str,
        versioning: Versioning,
    ) -> Result<(), StoreError> {
        let changed = self.connection().execute(
            "UPDATE bucket SET versioning = ?2 WHERE name = ?1",
            [bucket, versioning.as_column()],
        )?;
        if changed == 0 {
            return Err(StoreError::NoSuchBucket(bucket.to_owned()));
        }
        Ok(())
    }
}

/// The versioning state of a bucket, or [`StoreError::NoSuchBucket`].
pub(crate) fn versioning(connection: &Connection, bucket: &str) -> Result<Versioning, StoreError> {
    let text: String = connection
        .prepare_cached("SELECT versioning FROM bucket WHERE name = ?1")?
        .query_row([bucket], |row| row.get(0))
        .optional()?
        .ok_or_else(|| StoreError::NoSuchBucket(bucket.to_owned()))?;
    Versioning::from_column(&text)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BUCKET, damage, store};
    use crate::StoreError;

    #[test]
    fn unknown_versioning_state_is_an_error() {
        let (_folder, store) = store();
        damage(&store, "UPDATE bucket SET versioning = 'on'");
        let error = store.versioning(BUCKET).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }

    #[test]
    fn creation_time_outside_the_calendar_is_an_error() {
        let (_folder, store) = store();
        damage(&store, &format!("UPDATE bucket SET created = {}", i64::MAX));
        let listed = store.buckets();
        assert!(matches!(listed, Err(StoreError::Damaged { .. })));
    }
}
