//! Objects: looking a version up, creating one, deleting one.

use std::fs::File;

use chrono::Utc;
use rusqlite::Transaction;

use super::blob::Draft;
use super::buckets::versioning;
use super::checksum::Checksum;
use super::error::StoreError;
use super::notification::{Caller, Cause, Created, record};
use super::rows::{by_id, insert, latest, remove};
use super::store::Store;
use super::version::{Content, Headers, Version, VersionId, Versioning};

/// A version that was looked up, its content open for reading.
pub(super) struct Found {
    pub(super) version: Version,
    pub(super) content: Content,
    /// Stays readable when the version is deleted meanwhile.
    pub(super) file: File,
    pub(super) versioning: Versioning,
}

/// What must hold of the latest version for a write to go ahead.
#[derive(Debug, Clone)]
pub(super) enum WriteCondition {
    Always,
    /// `If-None-Match: *`
    IfAbsent,
    /// `If-Match`, with an ETag or, for `*`, without.
    IfMatch(Option<String>),
}

/// A version to be created.
pub(super) struct NewVersion {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) headers: Headers,
    pub(super) draft: Draft,
    pub(super) etag: String,
    pub(super) checksum: Checksum,
    pub(super) condition: WriteCondition,
    pub(super) cause: Cause,
    pub(super) caller: Caller,
}

/// A version that was created, as answers show it.
pub(super) struct Written {
    pub(super) version_id: Option<String>,
    pub(super) etag: String,
    pub(super) checksum: Checksum,
    pub(super) modified: i64,
}

/// What a deletion did, as answers show it.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// Of the version that went, or of the delete marker that was made.
    pub(super) version_id: Option<String>,
    /// A delete marker was made or removed.
    pub(super) delete_marker: bool,
}

impl Store {
    /// The latest version, or the one named.
    pub(super) fn find(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
    ) -> Result<Found, StoreError> {
        let connection = self.connection();
        let versioning = versioning(&connection, bucket)?;
        let version = match id {
            None => latest(&connection, bucket, key)?,
            Some(id) => by_id(&connection, bucket, key, id)?,
        };
        let (mut version, id) = match (version, id) {
            (Some(version), id) => (version, id),
            (None, Some(id)) => {
                return Err(StoreError::NoSuchVersion {
                    key: key.to_owned(),
                    version: id.to_string(),
                });
            }
            (None, None) => {
                return Err(StoreError::NoSuchKey {
                    key: key.to_owned(),
                    marker: None,
                });
            }
        };
        let Some(content) = version.content.take() else {
            return Err(match id {
                Some(_) => StoreError::IsDeleteMarker {
                    key: version.key,
                    version: version.id.into(),
                    modified: version.modified,
                },
                None => StoreError::NoSuchKey {
                    key: version.key,
                    marker: Some(version.id.into()),
                },
            });
        };
        // Opened under the lock: a deletion removes the blob only after its commit.
        let path = self.blob_path(&content.blob);
        let file = File::open(&path).map_err(StoreError::file(path))?;
        Ok(Found {
            version,
            content,
            file,
            versioning,
        })
    }

    /// Creates a version, its notification where the bucket notifies, and whatever else `and` does, in one
    /// transaction.
    ///
    /// `and` returns the blobs that no row names any more after it.
    pub(super) fn create(
        &self,
        new: NewVersion,
        and: impl FnOnce(&Transaction<'_>, &Written) -> Result<Vec<String>, StoreError>,
    ) -> Result<Written, StoreError> {
        let now = Utc::now();
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let state = versioning(&transaction, &new.bucket)?;
        new.condition.check(&transaction, &new.bucket, &new.key)?;
        let content = Content {
            blob: new.draft.name(),
            size: new.draft.size,
            etag: new.etag,
            checksum: new.checksum,
            headers: new.headers,
        };
        let inserted = insert(
            &transaction,
            &new.bucket,
            &new.key,
            state,
            now,
            Some(&content),
        )?;
        let mut garbage = inserted.replaced;
        let written = Written {
            version_id: state.shown(&inserted.id),
            etag: content.etag.clone(),
            checksum: content.checksum,
            modified: now.timestamp(),
        };
        garbage.extend(and(&transaction, &written)?);
        let event = self.notifies(&new.bucket).then(|| {
            let created = Created {
                region: self.region(),
                time: now,
                cause: new.cause,
                caller: &new.caller,
                bucket: &new.bucket,
                key: &new.key,
                size: content.size,
                etag: &content.etag,
                version_id: (state == Versioning::Enabled).then(|| inserted.id.as_str()),
                sequence: inserted.sequence,
            };
            created.event()
        });
        let notification = event.map(|event| record(&transaction, event)).transpose()?;
        transaction.commit()?;
        new.draft.keep();
        if let Some(notification) = notification {
            self.notify(notification);
        }
        drop(connection);
        self.remove_blobs(&garbage);
        Ok(written)
    }

    /// Removes the version named, or hides the object: behind a delete marker where the bucket is versioned.
    ///
    /// Deleting what is not there succeeds, as in S3.
    pub(super) fn delete(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
    ) -> Result<Deleted, StoreError> {
        let (deleted, garbage) = self.transact(|transaction| {
            let state = versioning(transaction, bucket)?;
            match id {
                Some(id) => {
                    let version = by_id(transaction, bucket, key, id)?;
                    let deleted = Deleted {
                        version_id: Some(id.to_string()),
                        delete_marker: version
                            .as_ref()
                            .is_some_and(|version| version.content.is_none()),
                    };
                    Ok((deleted, remove(transaction, bucket, key, id)?))
                }
                None if state == Versioning::Never => {
                    let garbage = remove(transaction, bucket, key, &VersionId::null())?;
                    Ok((Deleted::default(), garbage))
                }
                None => {
                    let marker = insert(transaction, bucket, key, state, Utc::now(), None)?;
                    let deleted = Deleted {
                        version_id: state.shown(&marker.id),
                        delete_marker: true,
                    };
                    Ok((deleted, marker.replaced))
                }
            }
        })?;
        self.remove_blobs(&garbage);
        Ok(deleted)
    }
}

impl WriteCondition {
    fn check(
        &self,
        transaction: &Transaction<'_>,
        bucket: &str,
        key: &str,
    ) -> Result<(), StoreError> {
        if let Self::Always = self {
            return Ok(());
        }
        let etag = latest(transaction, bucket, key)?
            .and_then(|version| version.content)
            .map(|content| content.etag);
        let failed = |condition| {
            Err(StoreError::PreconditionFailed {
                key: key.to_owned(),
                condition,
            })
        };
        match (self, etag) {
            (Self::IfAbsent, Some(_)) => failed("If-None-Match"),
            (Self::IfMatch(_), None) => Err(StoreError::NoSuchKey {
                key: key.to_owned(),
                marker: None,
            }),
            (Self::IfMatch(Some(wanted)), Some(etag)) if *wanted != etag => failed("If-Match"),
            _ => Ok(()),
        }
    }
}
