//! A store in a temporary folder, for unit tests.

use std::net::{IpAddr, Ipv4Addr};

use tempfile::TempDir;

use super::notification::{Caller, EventName};
use super::objects::{CreatedVersion, NewVersion, WriteCondition};
use super::version::Headers;
use super::{Configuration, Store};
use crate::checksum::Algorithm;

pub(crate) const BUCKET: &str = "moths";

pub(crate) fn configuration() -> Configuration {
    Configuration {
        region: "eu-west-1".to_owned(),
        notifying_bucket: BUCKET.to_owned(),
    }
}

/// A store with one bucket, whose versioning is enabled.
pub(crate) fn store() -> (TempDir, Store) {
    let folder = TempDir::new().unwrap();
    let (store, _) = Store::open(folder.path(), configuration()).unwrap();
    store.create_bucket(BUCKET, true).unwrap();
    (folder, store)
}

pub(crate) fn caller() -> Caller {
    Caller {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request_id: "0123456789ABCDEF".to_owned(),
    }
}

pub(crate) fn new_version(store: &Store, key: &str, bytes: &[u8]) -> NewVersion {
    let mut writer = store.blob_writer(Algorithm::DEFAULT).unwrap();
    writer.write(bytes).unwrap();
    let blob = writer.finish();
    NewVersion {
        bucket: BUCKET.to_owned(),
        key: key.to_owned(),
        headers: Headers::default(),
        etag: blob.etag(),
        checksum: blob.checksum.clone(),
        blob,
        condition: WriteCondition::Always,
        event_name: EventName::Put,
        caller: caller(),
    }
}

pub(crate) fn put(store: &Store, key: &str, bytes: &[u8]) -> CreatedVersion {
    let new = new_version(store, key, bytes);
    store.create(new, |_, _| Ok(Vec::new())).unwrap()
}

/// Changes rows behind the store's back. `sql` must change exactly one.
pub(crate) fn damage(store: &Store, sql: &str) {
    assert_eq!(store.connection().execute(sql, []).unwrap(), 1, "{sql}");
}
