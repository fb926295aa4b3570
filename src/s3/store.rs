//! The store: versioned buckets in a folder, independent of HTTP.
//!
//! | file | content |
//! |---|---|
//! | `schema.rs`, `column.rs` | tables, and columns as Rust values |
//! | `blob.rs` | the files in `blobs/` |
//! | `version.rs`, `version_rows.rs` | a version, and the rows that hold it |
//! | `buckets.rs`, `objects.rs`, `listing.rs` | operations on buckets, objects and listings |
//! | `uploads.rs`, `completion.rs`, `completed_uploads.rs` | multipart uploads, their completion, and repeated completions |
//! | `notification.rs` | events of created versions |

pub(crate) mod blob;
pub(crate) mod buckets;
mod column;
mod completed_uploads;
mod completion;
pub(crate) mod listing;
pub(crate) mod notification;
pub(crate) mod objects;
mod schema;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod uploads;
pub(crate) mod version;
mod version_rows;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::checksum::Algorithm;
use crate::error::StoreError;
use blob::{BlobReader, BlobWriter};
use schema::SCHEMA;

pub use notification::Notification;

/// How long [`Store::open`] waits for another process to close the database.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

/// Settings of a store.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The region of every bucket.
    pub region: String,
    /// The bucket whose created versions are notified. Other buckets send no notifications.
    pub notifying_bucket: String,
}

/// Versioned buckets on disk: metadata and pending notifications in SQLite, bytes in one file per version.
///
/// Clones share one store. The methods block while they access the disk.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    configuration: Configuration,
    folder: PathBuf,
    blobs: PathBuf,
    connection: Mutex<Connection>,
    notifications: UnboundedSender<Notification>,
}

impl Store {
    /// Opens the store in `folder`, and creates `objects.sqlite` and `blobs/` there if they are missing.
    ///
    /// The receiver gets the notifications that an earlier process left undelivered, then one for every version
    /// created in the notifying bucket, in the order of the commits. Undelivered notifications of other buckets are
    /// deleted: an earlier release of this crate notified of every bucket and may have left some.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] if another process has the store open. [`StoreError::File`] or
    /// [`StoreError::Database`] if the folder cannot be used, [`StoreError::Damaged`] if an undelivered
    /// notification does not parse.
    pub fn open(
        folder: &Path,
        configuration: Configuration,
    ) -> Result<(Self, UnboundedReceiver<Notification>), StoreError> {
        let blobs = folder.join("blobs");
        fs::create_dir_all(&blobs).map_err(StoreError::file(&blobs))?;
        let connection =
            open_database(folder).map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy) => StoreError::InUse {
                    folder: folder.to_owned(),
                },
                _ => error.into(),
            })?;
        remove_unreferenced_blobs(&connection, &blobs)?;
        notification::delete_of_other_buckets(&connection, &configuration.notifying_bucket)?;
        let (notifications, receiver) = mpsc::unbounded_channel();
        for notification in notification::pending(&connection)? {
            // Cannot fail: the receiver exists.
            let _ = notifications.send(notification);
        }
        let store = Self(Arc::new(Inner {
            configuration,
            folder: folder.to_owned(),
            blobs,
            connection: Mutex::new(connection),
            notifications,
        }));
        Ok((store, receiver))
    }

    /// Deletes the notification `id`, so that a later [`Store::open`] does not send it again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Database`] if SQLite failed.
    pub fn delivered(&self, id: i64) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM notification WHERE id = ?1", [id])?;
        Ok(())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0.folder
    }

    pub(crate) fn region(&self) -> &str {
        &self.0.configuration.region
    }

    fn notifies(&self, bucket: &str) -> bool {
        self.0.configuration.notifying_bucket == bucket
    }

    fn blob_path(&self, blob: &str) -> PathBuf {
        self.0.blobs.join(blob)
    }

    /// Opens a blob for reading. Call it under the lock of the connection: a blob is removed after the commit of
    /// the transaction that deletes its row.
    fn open_blob(&self, blob: &str, size: u64) -> Result<BlobReader, StoreError> {
        BlobReader::open(self.blob_path(blob), size)
    }

    pub(crate) fn blob_writer(&self, algorithm: Algorithm) -> Result<BlobWriter, StoreError> {
        BlobWriter::create(&self.0.blobs, algorithm)
    }

    /// Locks the connection. A panic while it was locked rolled its transaction back, so a poisoned lock guards a
    /// sound connection.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on a thread that may block.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await?
    }

    /// Runs `work` in a transaction, and commits it if `work` succeeds.
    fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Sends a committed notification. Call it before the lock of the connection is released, so that the order of
    /// sending is the order of the commits.
    fn notify(&self, notification: Notification) {
        // Without a receiver the notification stays pending in the database, and the next open sends it.
        let _ = self.0.notifications.send(notification);
    }

    /// Removes blobs after the transaction that deleted their rows has committed. The next [`Store::open`] removes
    /// those that this fails to remove.
    fn remove_blobs(&self, blobs: &[String]) {
        for blob in blobs {
            if let Err(error) = fs::remove_file(self.blob_path(blob)) {
                tracing::warn!(blob, %error, "an unreferenced blob could not be removed");
            }
        }
    }
}

fn open_database(folder: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(folder.join("objects.sqlite"))?;
    connection.busy_timeout(LOCK_TIMEOUT)?;
    // One process at a time: a second one would remove blobs that the first is still writing.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.commit()?;
    Ok(connection)
}

/// Removes the files in `blobs` to which no row refers: a killed process leaves them behind.
fn remove_unreferenced_blobs(connection: &Connection, blobs: &Path) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare("SELECT blob FROM version WHERE blob IS NOT NULL UNION SELECT blob FROM part")?;
    let referenced = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<HashSet<String>, _>>()?;
    for entry in fs::read_dir(blobs).map_err(StoreError::file(blobs))? {
        let entry = entry.map_err(StoreError::file(blobs))?;
        let name = entry.file_name();
        if !name.to_str().is_some_and(|name| referenced.contains(name)) {
            let path = entry.path();
            fs::remove_file(&path).map_err(StoreError::file(path))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::testing::{BUCKET, configuration, put, store};
    use super::{Store, StoreError};

    #[test]
    fn open_removes_only_unreferenced_blobs() {
        let (folder, store) = store();
        put(&store, "a", b"one");
        drop(store);
        let orphan = folder.path().join("blobs/orphan");
        std::fs::write(&orphan, b"x").unwrap();
        let (store, _notifications) = Store::open(folder.path(), configuration()).unwrap();
        assert!(!orphan.exists());
        store.find(BUCKET, "a", None).unwrap();
    }

    #[test]
    fn open_refuses_a_notification_that_does_not_parse() {
        let (folder, store) = store();
        let event = r#"{"Records": [{"s3": {"bucket": {"name": "moths"}}}"#;
        let insert = "INSERT INTO notification (event) VALUES (?1)";
        store.connection().execute(insert, [event]).unwrap();
        drop(store);
        let error = Store::open(folder.path(), configuration()).err().unwrap();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("notification 1"), "{error}");
    }
}
