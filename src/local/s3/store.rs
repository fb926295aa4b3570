//! The store: its folder, its database, its notifications.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use super::blob::BlobWriter;
use super::checksum::Algorithm;
use super::completed;
use super::error::StoreError;
use super::notification::{Notification, drop_others, pending};

/// Text compares by bytes in SQLite, which for UTF-8 is the order S3 lists keys in.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS bucket (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL,
    versioning TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS version (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL REFERENCES bucket (name),
    key TEXT NOT NULL,
    version_id TEXT NOT NULL,
    modified INTEGER NOT NULL,
    blob TEXT,
    size INTEGER,
    etag TEXT,
    checksum TEXT,
    headers TEXT,
    UNIQUE (bucket, key, version_id)
);
CREATE INDEX IF NOT EXISTS version_in_listing_order ON version (bucket, key, sequence DESC);
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY,
    bucket TEXT NOT NULL REFERENCES bucket (name) ON DELETE CASCADE,
    key TEXT NOT NULL,
    initiated INTEGER NOT NULL,
    headers TEXT NOT NULL,
    checksum TEXT
);
CREATE TABLE IF NOT EXISTS part (
    upload TEXT NOT NULL REFERENCES upload (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (upload, number)
);
CREATE TABLE IF NOT EXISTS notification (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL
);
";

/// Whose S3 a store is.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The region of every bucket.
    pub region: String,
    /// The one bucket whose created versions are notified. An object in another bucket notifies nobody.
    pub notifying_bucket: String,
}

/// Versioned buckets on disk: metadata and pending notifications in SQLite, bytes in one file per version.
///
/// Clones share the same store. Methods block briefly on the disk.
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
    /// Opens the store in `folder`, or makes one there: `objects.sqlite` and `blobs/`.
    ///
    /// The receiver gets a notification for every version created in the notifying bucket, in the order of the
    /// commits, after those that an earlier run left undelivered. Undelivered notifications of other buckets are
    /// dropped: versions of this program that notified of every bucket may have left some.
    ///
    /// # Errors
    ///
    /// [`StoreError::InUse`] where another process has it open; else that the folder or database failed.
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
        remove_orphans(&connection, &blobs)?;
        drop_others(&connection, &configuration.notifying_bucket)?;
        let (notifications, receiver) = mpsc::unbounded_channel();
        for notification in pending(&connection)? {
            // The receiver is in our hands: the channel is open.
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

    /// Forgets a notification: it will not be sent again by a later [`Store::open`].
    ///
    /// # Errors
    ///
    /// That the database failed.
    pub fn delivered(&self, id: i64) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM notification WHERE id = ?1", [id])?;
        Ok(())
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0.folder
    }

    pub(super) fn region(&self) -> &str {
        &self.0.configuration.region
    }

    pub(super) fn notifies(&self, bucket: &str) -> bool {
        self.0.configuration.notifying_bucket == bucket
    }

    pub(super) fn blob_path(&self, blob: &str) -> PathBuf {
        self.0.blobs.join(blob)
    }

    pub(super) fn blob_writer(&self, algorithm: Algorithm) -> Result<BlobWriter, StoreError> {
        BlobWriter::create(&self.0.blobs, algorithm)
    }

    /// A panic elsewhere rolled its transaction back, so a poisoned lock guards a sound connection.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.0
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` where it may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        tokio::task::spawn_blocking(move || work(&store)).await?
    }

    /// Does `work` in one transaction.
    pub(super) fn transact<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Call it before the lock that guarded the commit is released: the order of commits is the order sent.
    pub(super) fn notify(&self, notification: Notification) {
        // Nobody listens any more: it stays pending in the database.
        let _ = self.0.notifications.send(notification);
    }

    /// Call it after the rows that named them are gone; what stays behind is removed by the next open.
    pub(super) fn remove_blobs(&self, blobs: &[String]) {
        for blob in blobs {
            if let Err(error) = fs::remove_file(self.blob_path(blob)) {
                tracing::warn!(blob, %error, "blob could not be removed");
            }
        }
    }
}

fn open_database(folder: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(folder.join("objects.sqlite"))?;
    connection.busy_timeout(Duration::from_millis(500))?;
    // One process at a time: a second one would take blobs being written for orphans.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute_batch(completed::SCHEMA)?;
    transaction.commit()?;
    Ok(connection)
}

fn remove_orphans(connection: &Connection, blobs: &Path) -> Result<(), StoreError> {
    let mut statement = connection
        .prepare("SELECT blob FROM version WHERE blob IS NOT NULL UNION SELECT blob FROM part")?;
    let named = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<HashSet<String>, _>>()?;
    for entry in fs::read_dir(blobs).map_err(StoreError::file(blobs))? {
        let entry = entry.map_err(StoreError::file(blobs))?;
        if !named.contains(&*entry.file_name().to_string_lossy()) {
            let path = entry.path();
            fs::remove_file(&path).map_err(StoreError::file(path))?;
        }
    }
    Ok(())
}
