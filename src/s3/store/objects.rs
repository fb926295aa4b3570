//! Objects: finding, creating and deleting versions.

use chrono::{DateTime, SubsecRound, Utc};
use rusqlite::Transaction;

use super::Store;
use super::blob::{BlobReader, NewBlob};
use super::buckets::versioning;
use super::notification::{self, Caller, EventName, ObjectCreated};
use super::version::{Content, Headers, Version, VersionId, Versioning};
use super::version_rows::{by_id, insert, latest, remove};
use crate::checksum::Checksum;
use crate::error::StoreError;

/// A version with its content open for reading.
pub(crate) struct OpenVersion {
    pub(crate) key: String,
    pub(crate) id: VersionId,
    pub(crate) modified: DateTime<Utc>,
    pub(crate) content: Content,
    pub(crate) blob: BlobReader,
    /// The bucket's versioning state.
    pub(crate) versioning: Versioning,
}

impl OpenVersion {
    /// The version id that responses show.
    pub(crate) fn id_in_response(&self) -> Option<String> {
        self.versioning.id_in_response(&self.id)
    }
}

/// A condition on the latest version of an object, without which a write fails.
#[derive(Debug, Clone)]
pub(crate) enum WriteCondition {
    Always,
    /// `If-None-Match: *`
    IfAbsent,
    /// `If-Match: *`
    IfPresent,
    /// `If-Match` with an ETag.
    IfEtag(String),
}

/// A version to be created.
pub(crate) struct NewVersion {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) headers: Headers,
    pub(crate) blob: NewBlob,
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
    pub(crate) condition: WriteCondition,
    pub(crate) event_name: EventName,
    pub(crate) caller: Caller,
}

/// A created version, as responses show it.
#[derive(Debug)]
pub(crate) struct CreatedVersion {
    /// `None` in a bucket that was never versioned.
    pub(crate) version_id: Option<String>,
    pub(crate) etag: String,
    pub(crate) checksum: Checksum,
    pub(crate) modified: DateTime<Utc>,
}

/// The result of a deletion, as responses show it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Deletion {
    /// Id of the removed version or of the created delete marker.
    pub(crate) version_id: Option<String>,
    /// Whether a delete marker was created or removed.
    pub(crate) delete_marker: bool,
}

impl Store {
    /// Opens the version `id` of an object, or its latest version if `id` is `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSuchKey`] and [`StoreError::NoSuchVersion`]; [`StoreError::IsDeleteMarker`] if `id` names a
    /// delete marker; [`StoreError::File`] or [`StoreError::Damaged`] if the blob is missing or has another size.
    pub(crate) fn find(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
    ) -> Result<OpenVersion, StoreError> {
        let connection = self.connection();
        let versioning = versioning(&connection, bucket)?;
        let version = match id {
            None => latest(&connection, bucket, key)?.ok_or_else(|| StoreError::NoSuchKey {
                key: key.to_owned(),
                marker: None,
            })?,
            Some(id) => {
                by_id(&connection, bucket, key, id)?.ok_or_else(|| StoreError::NoSuchVersion {
                    key: key.to_owned(),
                    version: id.to_string(),
                })?
            }
        };
        let Version { key, modified, .. } = version;
        let Some(content) = version.content else {
            let version = version.id.to_string();
            return Err(match id {
                Some(_) => StoreError::IsDeleteMarker {
                    key,
                    version,
                    modified,
                },
                None => StoreError::NoSuchKey {
                    key,
                    marker: Some(version),
                },
            });
        };
        let blob = self.open_blob(&content.blob, content.size)?;
        Ok(OpenVersion {
            key,
            id: version.id,
            modified,
            content,
            blob,
            versioning,
        })
    }

    /// Creates a version, and its notification if the bucket notifies, in one transaction with the changes of
    /// `also`.
    ///
    /// `also` returns the blobs to which no row refers after its changes.
    pub(crate) fn create(
        &self,
        new: NewVersion,
        also: impl FnOnce(&Transaction<'_>, &CreatedVersion) -> Result<Vec<String>, StoreError>,
    ) -> Result<CreatedVersion, StoreError> {
        let now = Utc::now();
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let versioning = versioning(&transaction, &new.bucket)?;
        new.condition.check(&transaction, &new.bucket, &new.key)?;
        let content = Content {
            blob: new.blob.name.clone(),
            size: new.blob.size,
            etag: new.etag,
            checksum: new.checksum,
            headers: new.headers,
        };
        let inserted = insert(
            &transaction,
            &new.bucket,
            &new.key,
            versioning,
            now,
            Some(&content),
        )?;
        let created = CreatedVersion {
            version_id: versioning.id_in_response(&inserted.id),
            etag: content.etag.clone(),
            checksum: content.checksum,
            modified: now.trunc_subsecs(0),
        };
        let mut unreferenced = also(&transaction, &created)?;
        unreferenced.extend(inserted.replaced_blob);
        let notification = if self.notifies(&new.bucket) {
            let event = ObjectCreated {
                region: self.region(),
                time: now,
                event_name: new.event_name,
                caller: &new.caller,
                bucket: &new.bucket,
                key: &new.key,
                size: content.size,
                etag: &content.etag,
                version_id: (versioning == Versioning::Enabled).then(|| inserted.id.as_str()),
                sequence: inserted.sequence,
            };
            Some(notification::insert(&transaction, event.to_json())?)
        } else {
            None
        };
        transaction.commit()?;
        new.blob.keep();
        if let Some(notification) = notification {
            self.notify(notification);
        }
        drop(connection);
        self.remove_blobs(&unreferenced);
        Ok(created)
    }

    /// Removes the version `id`. If `id` is `None`, creates a delete marker in a versioned bucket, and removes the
    /// object in any other.
    ///
    /// As in S3, deleting an object or version that does not exist succeeds.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        id: Option<&VersionId>,
    ) -> Result<Deletion, StoreError> {
        let (deletion, removed_blob) = self.transact(|transaction| {
            let versioning = versioning(transaction, bucket)?;
            match id {
                Some(id) => {
                    let version = by_id(transaction, bucket, key, id)?;
                    let deletion = Deletion {
                        version_id: Some(id.to_string()),
                        delete_marker: version.is_some_and(|version| version.content.is_none()),
                    };
                    Ok((deletion, remove(transaction, bucket, key, id)?))
                }
                None if versioning == Versioning::Unversioned => {
                    let removed_blob = remove(transaction, bucket, key, &VersionId::null())?;
                    Ok((Deletion::default(), removed_blob))
                }
                None => {
                    let marker = insert(transaction, bucket, key, versioning, Utc::now(), None)?;
                    let deletion = Deletion {
                        version_id: versioning.id_in_response(&marker.id),
                        delete_marker: true,
                    };
                    Ok((deletion, marker.replaced_blob))
                }
            }
        })?;
        self.remove_blobs(removed_blob.as_slice());
        Ok(deletion)
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
        let current = latest(transaction, bucket, key)?;
        let content = current.and_then(|version| version.content);
        self.check_etag(key, content.as_ref().map(|content| &*content.etag))
    }

    /// Checks the condition against the current ETag, which is `None` if the object does not exist.
    fn check_etag(&self, key: &str, etag: Option<&str>) -> Result<(), StoreError> {
        let failed = |condition| {
            Err(StoreError::PreconditionFailed {
                key: key.to_owned(),
                condition,
            })
        };
        match (self, etag) {
            (Self::IfAbsent, Some(_)) => failed("If-None-Match"),
            (Self::IfPresent | Self::IfEtag(_), None) => Err(StoreError::NoSuchKey {
                key: key.to_owned(),
                marker: None,
            }),
            (Self::IfEtag(wanted), Some(etag)) if wanted != etag => failed("If-Match"),
            (Self::Always | Self::IfPresent | Self::IfEtag(_), _) | (Self::IfAbsent, None) => {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BUCKET, damage, put, store};
    use super::{StoreError, VersionId, WriteCondition};

    #[test]
    fn write_conditions_compare_the_current_etag() {
        let check = |condition: &WriteCondition, etag| match condition.check_etag("a", etag) {
            Ok(()) => "holds",
            Err(StoreError::PreconditionFailed { condition, .. }) => condition,
            Err(StoreError::NoSuchKey { .. }) => "absent",
            Err(error) => panic!("{error}"),
        };
        let if_etag = WriteCondition::IfEtag("1".to_owned());
        for (condition, absent, equal, other) in [
            (&WriteCondition::Always, "holds", "holds", "holds"),
            (
                &WriteCondition::IfAbsent,
                "holds",
                "If-None-Match",
                "If-None-Match",
            ),
            (&WriteCondition::IfPresent, "absent", "holds", "holds"),
            (&if_etag, "absent", "holds", "If-Match"),
        ] {
            assert_eq!(check(condition, None), absent);
            assert_eq!(check(condition, Some("1")), equal);
            assert_eq!(check(condition, Some("2")), other);
        }
    }

    #[test]
    fn damaged_row_is_an_error_and_not_a_missing_object() {
        for (change, what) in [
            ("checksum = '{}'", "column checksum"),
            ("headers = ''", "column headers"),
            ("version_id = '1'", "version 1 of object a"),
            ("blob = NULL", "no blob"),
            ("size = 2", "has 3 bytes instead of 2"),
            ("modified = 9000000000000000000", "column modified"),
        ] {
            let (_folder, store) = store();
            put(&store, "a", b"one");
            damage(&store, &format!("UPDATE version SET {change}"));
            let error = store.find(BUCKET, "a", None).err().unwrap();
            assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
            assert!(error.to_string().contains(what), "{error}");
        }
        let (_folder, store) = store();
        put(&store, "a", b"one");
        damage(&store, "UPDATE version SET size = NULL");
        let error = store.find(BUCKET, "a", None).err().unwrap();
        assert!(matches!(error, StoreError::Database(_)), "{error:?}");
    }

    #[test]
    fn missing_blob_is_an_error_that_names_the_file() {
        let (folder, store) = store();
        put(&store, "a", b"one");
        std::fs::remove_dir_all(folder.path().join("blobs")).unwrap();
        let error = store.find(BUCKET, "a", None).err().unwrap();
        let blobs = folder.path().join("blobs");
        assert!(matches!(error, StoreError::File { path, .. } if path.starts_with(blobs)));
    }

    #[test]
    fn deletion_hides_the_object_and_keeps_the_version() {
        let (_folder, store) = store();
        let id = put(&store, "a", b"one").version_id.unwrap();
        let deletion = store.delete(BUCKET, "a", None).unwrap();
        assert!(deletion.delete_marker);
        let hidden = store.find(BUCKET, "a", None).err().unwrap();
        assert!(
            matches!(hidden, StoreError::NoSuchKey { marker, .. } if marker == deletion.version_id)
        );
        let id = VersionId::parse(&id).unwrap();
        store.find(BUCKET, "a", Some(&id)).unwrap();
        let absent = store.delete(BUCKET, "b", Some(&id)).unwrap();
        assert!(!absent.delete_marker);
    }
}
