//! The embedded S3 answers the real SDK client as S3 does: versions, listings, multipart uploads, events.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    BucketVersioningStatus, ChecksumAlgorithm, ChecksumMode, ChecksumType, Delete, EncodingType,
    MetadataDirective, ObjectAttributes, ObjectIdentifier, StorageClass, VersioningConfiguration,
};
use moth_classifier::local::s3::{Configuration, Notification, Store, StoreError};
use support::s3::{BUCKET, Server, configuration, failure, noise};
use tempfile::TempDir;

#[tokio::test]
async fn versions_and_delete_markers() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let first = server.put("a.jpg", b"one").await.unwrap();
    let second = server.put("a.jpg", b"two").await.unwrap();
    assert_ne!(first, second);
    assert_eq!(first.len(), 32);
    assert_eq!(server.get("a.jpg", None).await, b"two");
    assert_eq!(server.get("a.jpg", Some(&first)).await, b"one");

    let object = || server.client.get_object().bucket(BUCKET).key("a.jpg");
    let deletion = || server.client.delete_object().bucket(BUCKET).key("a.jpg");
    let marker = deletion().send().await.unwrap();
    assert_eq!(marker.delete_marker, Some(true));
    let marker = marker.version_id.unwrap();
    assert_eq!(
        failure(object().send().await),
        (404, "NoSuchKey".to_owned())
    );
    let hidden = object().send().await.unwrap_err();
    let header = hidden
        .raw_response()
        .unwrap()
        .headers()
        .get("x-amz-delete-marker");
    assert_eq!(header, Some("true"));
    let by_version = object().version_id(&marker).send().await;
    assert_eq!(failure(by_version), (405, "MethodNotAllowed".to_owned()));
    assert!(server.keys().await.is_empty());
    assert_eq!(server.get("a.jpg", Some(&second)).await, b"two");

    let restored = deletion().version_id(&marker).send().await.unwrap();
    assert_eq!(restored.delete_marker, Some(true));
    assert_eq!(server.get("a.jpg", None).await, b"two");
    deletion().version_id(&second).send().await.unwrap();
    assert_eq!(server.get("a.jpg", None).await, b"one");
    let gone = object().version_id(&second).send().await;
    assert_eq!(failure(gone), (404, "NoSuchVersion".to_owned()));
    let malformed = object().version_id("no id").send().await;
    assert_eq!(failure(malformed), (400, "InvalidArgument".to_owned()));
}

#[tokio::test]
async fn versioning_never_enabled_then_suspended() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, false).await;
    assert_eq!(server.put("a", b"one").await, None);
    assert_eq!(server.put("a", b"two").await, None);
    let event = server.notification().await.event;
    assert!(event["Records"][0]["s3"]["object"]["versionId"].is_null());
    let versions = server.client.list_object_versions().bucket(BUCKET);
    let listed = versions.send().await.unwrap();
    assert_eq!(listed.versions().len(), 1);
    assert_eq!(listed.versions()[0].version_id(), Some("null"));

    let set = |status: BucketVersioningStatus| {
        let configuration = VersioningConfiguration::builder().status(status).build();
        server
            .client
            .put_bucket_versioning()
            .bucket(BUCKET)
            .versioning_configuration(configuration)
            .send()
    };
    set(BucketVersioningStatus::Enabled).await.unwrap();
    let kept = server.put("a", b"three").await.unwrap();
    assert_eq!(server.get("a", Some("null")).await, b"two");
    set(BucketVersioningStatus::Suspended).await.unwrap();
    assert_eq!(server.put("a", b"four").await.as_deref(), Some("null"));
    assert_eq!(server.get("a", None).await, b"four");
    assert_eq!(server.get("a", Some("null")).await, b"four");
    assert_eq!(server.get("a", Some(&kept)).await, b"three");
    let versions = server.client.list_object_versions().bucket(BUCKET);
    let listed = versions.send().await.unwrap();
    let ids: Vec<_> = listed
        .versions()
        .iter()
        .filter_map(|v| v.version_id())
        .collect();
    assert_eq!(ids, ["null", &kept]);
    let marker = server.client.delete_object().bucket(BUCKET).key("a");
    assert_eq!(marker.send().await.unwrap().version_id(), Some("null"));
    assert_eq!(server.get("a", Some(&kept)).await, b"three");
    let state = server.client.get_bucket_versioning().bucket(BUCKET);
    let state = state.send().await.unwrap();
    assert_eq!(state.status(), Some(&BucketVersioningStatus::Suspended));
}

#[tokio::test]
async fn headers_ranges_and_conditions() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let put = server.client.put_object().bucket(BUCKET).key("a.jpg");
    let put = put
        .content_type("image/jpeg")
        .metadata("trap", "north field")
        .body(ByteStream::from_static(b"0123456789"));
    let etag = put.send().await.unwrap().e_tag.unwrap();
    assert_eq!(etag, "\"781e5e245d69b566979b86e28d23f2c7\"");

    let head = server.client.head_object().bucket(BUCKET).key("a.jpg");
    let head = head
        .checksum_mode(ChecksumMode::Enabled)
        .send()
        .await
        .unwrap();
    assert_eq!(head.content_type(), Some("image/jpeg"));
    assert_eq!(head.content_encoding(), None);
    assert_eq!(head.content_length(), Some(10));
    assert_eq!(head.metadata().unwrap()["trap"], "north field");
    assert_eq!(head.checksum_crc32(), Some("poTHxg=="));

    let get = || server.client.get_object().bucket(BUCKET).key("a.jpg");
    let whole = get().send().await.unwrap();
    assert_eq!(whole.last_modified(), head.last_modified());
    let listed = server.client.list_objects_v2().bucket(BUCKET);
    let listed = listed.send().await.unwrap();
    assert_eq!(listed.contents()[0].last_modified(), head.last_modified());

    for (range, content_range, bytes) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
    ] {
        let part = get().range(range).send().await.unwrap();
        assert_eq!(part.content_range(), Some(content_range));
        assert_eq!(
            part.body.collect().await.unwrap().to_vec(),
            bytes.as_bytes()
        );
    }
    let beyond = get().range("bytes=10-").send().await;
    assert_eq!(failure(beyond), (416, "InvalidRange".to_owned()));

    get().if_match(&etag).send().await.unwrap();
    assert_eq!(failure(get().if_match("\"x\"").send().await).0, 412);
    assert_eq!(failure(get().if_none_match(&etag).send().await).0, 304);
    let unchanged = get().if_modified_since(*head.last_modified().unwrap());
    assert_eq!(failure(unchanged.send().await).0, 304);

    let put = || server.client.put_object().bucket(BUCKET).key("a.jpg");
    let again = put().if_none_match("*").send().await;
    assert_eq!(failure(again), (412, "PreconditionFailed".to_owned()));
    assert_eq!(failure(put().if_match("\"x\"").send().await).0, 412);
    put().if_match(&etag).send().await.unwrap();
    let absent = server.client.put_object().bucket(BUCKET).key("b.jpg");
    assert_eq!(failure(absent.if_match(&etag).send().await).0, 404);
}

#[tokio::test]
async fn damaged_bodies_are_refused() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let put = || {
        let put = server.client.put_object().bucket(BUCKET).key("a.jpg");
        put.body(ByteStream::from_static(b"0123456789"))
    };
    let md5 = put().content_md5("XrY7u+Ae7tCTyyK7j1rNww==").send().await;
    assert_eq!(failure(md5), (400, "BadDigest".to_owned()));
    let md5 = put().content_md5("x").send().await;
    assert_eq!(failure(md5), (400, "InvalidDigest".to_owned()));
    let crc = put().checksum_crc32("AAAAAA==").send().await;
    assert_eq!(failure(crc), (400, "BadDigest".to_owned()));
    assert!(server.keys().await.is_empty());
    for algorithm in [
        ChecksumAlgorithm::Crc32,
        ChecksumAlgorithm::Crc32C,
        ChecksumAlgorithm::Sha1,
        ChecksumAlgorithm::Sha256,
    ] {
        put().checksum_algorithm(algorithm).send().await.unwrap();
        assert_eq!(server.get("a.jpg", None).await, b"0123456789");
    }
    let blobs = std::fs::read_dir(folder.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 4);
}

#[tokio::test]
async fn listings_in_pages() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let keys = [
        "Z",
        "a/1",
        "a/2",
        "a0",
        "b/1",
        "b/2/3",
        "c d+e%.jpg",
        "ö",
        "🦋",
    ];
    for key in keys.iter().rev() {
        server.put(key, key.as_bytes()).await;
    }
    assert_eq!(server.keys().await, keys);
    let list = || {
        server
            .client
            .list_objects_v2()
            .bucket(BUCKET)
            .delimiter("/")
    };
    let mut seen = Vec::new();
    let mut token = None;
    loop {
        let page = list().max_keys(2).set_continuation_token(token);
        let page = page.send().await.unwrap();
        assert!(page.key_count().unwrap() <= 2);
        let prefixes = page.common_prefixes().iter().filter_map(|p| p.prefix());
        seen.extend(prefixes.map(str::to_owned));
        seen.extend(
            page.contents()
                .iter()
                .filter_map(|o| o.key())
                .map(str::to_owned),
        );
        token = page.next_continuation_token().map(str::to_owned);
        assert_eq!(page.is_truncated(), Some(token.is_some()));
        if token.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["Z", "a/", "a0", "b/", "c d+e%.jpg", "ö", "🦋"]);
    let under = list().prefix("b/").send().await.unwrap();
    assert_eq!(under.contents()[0].key(), Some("b/1"));
    assert_eq!(under.common_prefixes()[0].prefix(), Some("b/2/"));
    let after = list().start_after("b/2/3").send().await.unwrap();
    assert_eq!(after.contents()[0].key(), Some("c d+e%.jpg"));
    let encoded = list().start_after("b/2/3").encoding_type(EncodingType::Url);
    let encoded = encoded.send().await.unwrap();
    assert_eq!(encoded.contents()[0].key(), Some("c+d%2Be%25.jpg"));

    let v1 = || server.client.list_objects().bucket(BUCKET).delimiter("/");
    let page = v1().max_keys(2).send().await.unwrap();
    assert_eq!(page.next_marker(), Some("a/"));
    let page = v1().marker("a/").send().await.unwrap();
    assert_eq!(page.contents()[0].key(), Some("a0"));
}

#[tokio::test]
async fn version_listings_in_pages_survive_deletion() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    for key in ["a", "b"] {
        for body in [b"1", b"2", b"3"] {
            server.put(key, body).await;
        }
    }
    let deletion = server.client.delete_object().bucket(BUCKET).key("a");
    deletion.send().await.unwrap();
    let (mut key, mut version, mut seen) = (None, None, Vec::new());
    loop {
        let page = server
            .client
            .list_object_versions()
            .bucket(BUCKET)
            .max_keys(2);
        let page = page.set_key_marker(key).set_version_id_marker(version);
        let page = page.send().await.unwrap();
        let versions = page
            .versions()
            .iter()
            .map(|v| (v.key(), v.version_id(), v.is_latest()));
        let markers = page.delete_markers().iter();
        let markers = markers.map(|v| (v.key(), v.version_id(), v.is_latest()));
        for (key, id, latest) in markers.chain(versions) {
            seen.push((key.unwrap().to_owned(), latest.unwrap()));
            let deletion = server.client.delete_object().bucket(BUCKET);
            let deletion = deletion.set_key(key.map(str::to_owned));
            deletion.version_id(id.unwrap()).send().await.unwrap();
        }
        key = page.next_key_marker().map(str::to_owned);
        version = page.next_version_id_marker().map(str::to_owned);
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    let keys: String = seen.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, "aaaabbb");
    assert!(seen[0].1);
    server
        .client
        .delete_bucket()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    let blobs = std::fs::read_dir(folder.path().join("blobs")).unwrap();
    assert_eq!(blobs.count(), 0);
}

#[tokio::test]
async fn copies_and_batch_deletion() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, true).await;
    let old = server.put("a ö+.jpg", b"old").await.unwrap();
    server.put("a ö+.jpg", b"new").await;
    let copy = || server.client.copy_object().bucket(BUCKET).key("copy.jpg");
    let source = "moths/a%20%C3%B6%2B.jpg";
    copy().copy_source(source).send().await.unwrap();
    assert_eq!(server.get("copy.jpg", None).await, b"new");
    let copied = copy()
        .copy_source(format!("{source}?versionId={old}"))
        .metadata_directive(MetadataDirective::Replace)
        .content_type("image/png");
    let copied = copied.send().await.unwrap();
    assert_eq!(copied.copy_source_version_id(), Some(old.as_str()));
    assert_eq!(server.get("copy.jpg", None).await, b"old");
    let head = server.client.head_object().bucket(BUCKET).key("copy.jpg");
    assert_eq!(head.send().await.unwrap().content_type(), Some("image/png"));
    let itself = server.client.copy_object().bucket(BUCKET).key("a ö+.jpg");
    let itself = itself.copy_source(source).send().await;
    assert_eq!(failure(itself), (400, "InvalidRequest".to_owned()));
    server.notification().await;
    server.notification().await;
    let event = server.notification().await.event;
    assert_eq!(event["Records"][0]["eventName"], "ObjectCreated:Copy");

    let identifier = |key: &str| ObjectIdentifier::builder().key(key).build().unwrap();
    let delete = Delete::builder()
        .objects(identifier("a ö+.jpg"))
        .objects(identifier("copy.jpg"))
        .objects(identifier("absent"))
        .build()
        .unwrap();
    let deletion = server.client.delete_objects().bucket(BUCKET).delete(delete);
    let deleted = deletion.send().await.unwrap();
    assert_eq!(deleted.deleted().len(), 3);
    assert!(
        deleted
            .deleted()
            .iter()
            .all(|one| one.delete_marker() == Some(true))
    );
    assert!(server.keys().await.is_empty());
}

#[tokio::test]
async fn events_are_shaped_as_aws_shapes_them() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, true).await;
    let id = server.put("traps/a b+c%ö(1).jpg", b"moth").await.unwrap();
    let first = server.notification().await;
    let record = &first.event["Records"][0];
    assert_eq!(record["eventVersion"], "2.1");
    assert_eq!(record["eventSource"], "aws:s3");
    assert_eq!(record["awsRegion"], "eu-west-1");
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["requestParameters"]["sourceIPAddress"], "127.0.0.1");
    let time = record["eventTime"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    let request = record["responseElements"]["x-amz-request-id"].as_str();
    assert_eq!(request.unwrap().len(), 16);
    assert_eq!(record["s3"]["bucket"]["name"], BUCKET);
    assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::moths");
    let object = &record["s3"]["object"];
    assert_eq!(object["key"], "traps/a+b%2Bc%25%C3%B6%281%29.jpg");
    assert_eq!(object["size"], 4);
    assert_eq!(object["eTag"], "3e442b18a209481375e3361f7b568696");
    assert_eq!(object["versionId"], id.as_str());
    server.put("b", b"").await;
    let second = server.notification().await;
    assert!(second.id > first.id);
    let sequencer = |one: &Notification| {
        let object = &one.event["Records"][0]["s3"]["object"];
        object["sequencer"].as_str().unwrap().to_owned()
    };
    assert!(sequencer(&second) > sequencer(&first));
}

#[tokio::test]
async fn what_was_acknowledged_outlives_the_process() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, true).await;
    let id = server.put("a", b"one").await.unwrap();
    server.put("b", b"two").await;
    let taken = server.notification().await;
    server.store.delivered(taken.id).unwrap();
    let taken_not_delivered = server.notification().await;
    assert!(matches!(
        Store::open(folder.path(), configuration()),
        Err(StoreError::InUse { .. })
    ));
    server.stop().await;
    let orphan = folder.path().join("blobs/half-written");
    std::fs::write(&orphan, b"tw").unwrap();

    let mut server = Server::start(&folder).await;
    assert!(!orphan.exists());
    assert_eq!(server.get("a", Some(&id)).await, b"one");
    let again = server.notification().await;
    assert_eq!(again.id, taken_not_delivered.id);
    assert_eq!(again.event, taken_not_delivered.event);
    server.put("c", b"three").await;
    assert!(server.notification().await.id > again.id);
}

#[tokio::test]
async fn one_bucket_notifies() {
    let folder = TempDir::new().unwrap();
    let put = async |server: &Server, bucket: &str| {
        let put = server.client.put_object().bucket(bucket).key("a");
        put.send().await.unwrap();
    };
    // An earlier run notified of another bucket, and was stopped before the delivery.
    let other = Configuration {
        notifying_bucket: "other".to_owned(),
        ..configuration()
    };
    let server = Server::with_configuration(&folder, other.clone()).await;
    server.store.create_bucket("other", true).unwrap();
    put(&server, "other").await;
    server.stop().await;

    let mut server = Server::with_bucket(&folder, true).await;
    put(&server, "other").await;
    put(&server, BUCKET).await;
    let event = server.notification().await.event;
    assert_eq!(event["Records"][0]["s3"]["bucket"]["name"], BUCKET);
    assert!(server.notifications.try_recv().is_err());
    server.stop().await;

    let mut server = Server::with_configuration(&folder, other).await;
    assert!(server.notifications.try_recv().is_err());
}

#[tokio::test]
async fn buckets() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(&folder).await;
    let client = &server.client;
    let put = client.put_object().bucket(BUCKET).key("a").send().await;
    assert_eq!(failure(put), (404, "NoSuchBucket".to_owned()));
    assert_eq!(
        failure(client.head_bucket().bucket(BUCKET).send().await).0,
        404
    );
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    let again = client.create_bucket().bucket(BUCKET).send().await;
    assert_eq!(failure(again), (409, "BucketAlreadyOwnedByYou".to_owned()));
    let head = client.head_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(head.bucket_region(), Some("eu-west-1"));
    let location = client
        .get_bucket_location()
        .bucket(BUCKET)
        .send()
        .await
        .unwrap();
    assert_eq!(
        location.location_constraint().unwrap().as_str(),
        "eu-west-1"
    );
    let listed = client.list_buckets().send().await.unwrap();
    assert_eq!(listed.buckets()[0].name(), Some(BUCKET));
    let long = client
        .put_object()
        .bucket(BUCKET)
        .key("k".repeat(1025))
        .send()
        .await;
    assert_eq!(failure(long), (400, "KeyTooLongError".to_owned()));
    server.put(&"k".repeat(1024), b"x").await;
    let full = client.delete_bucket().bucket(BUCKET).send().await;
    assert_eq!(failure(full), (409, "BucketNotEmpty".to_owned()));
}

#[tokio::test]
async fn in_the_oldest_region_a_bucket_may_be_created_again() {
    let folder = TempDir::new().unwrap();
    let configuration = Configuration {
        region: "us-east-1".to_owned(),
        ..configuration()
    };
    let server = Server::with_configuration(&folder, configuration).await;
    server.store.create_bucket(BUCKET, true).unwrap();
    let version = server.put("a", b"one").await;
    let create = server.client.create_bucket().bucket(BUCKET);
    create.send().await.unwrap();
    assert_eq!(server.get("a", version.as_deref()).await, b"one");
    assert!(server.put("a", b"two").await.is_some());
}

#[tokio::test]
async fn attributes_of_versions() {
    let folder = TempDir::new().unwrap();
    let server = Server::with_bucket(&folder, true).await;
    let old = server.put("a.jpg", b"0123456789").await.unwrap();
    server.put("a.jpg", b"new").await;
    let attributes = |names: &[ObjectAttributes]| {
        let attributes = server.client.get_object_attributes().bucket(BUCKET);
        attributes
            .key("a.jpg")
            .set_object_attributes(Some(names.to_vec()))
    };
    let all = [
        ObjectAttributes::Etag,
        ObjectAttributes::Checksum,
        ObjectAttributes::ObjectParts,
        ObjectAttributes::StorageClass,
        ObjectAttributes::ObjectSize,
    ];
    let of_old = attributes(&all).version_id(&old).send().await.unwrap();
    assert_eq!(of_old.e_tag(), Some("781e5e245d69b566979b86e28d23f2c7"));
    let checksum = of_old.checksum().unwrap();
    assert_eq!(checksum.checksum_crc32(), Some("poTHxg=="));
    assert_eq!(checksum.checksum_type(), Some(&ChecksumType::FullObject));
    assert_eq!(of_old.object_size(), Some(10));
    assert_eq!(of_old.storage_class(), Some(&StorageClass::Standard));
    assert_eq!(of_old.version_id(), Some(old.as_str()));
    assert!(of_old.object_parts().is_none());
    let head = server.client.head_object().bucket(BUCKET).key("a.jpg");
    let head = head.version_id(&old).send().await.unwrap();
    assert_eq!(of_old.last_modified(), head.last_modified());
    // As the AWS CLI writes them.
    let two = attributes(&all[..1]).customize().mutate_request(|request| {
        let headers = request.headers_mut();
        headers.insert("x-amz-object-attributes", "ETag,ObjectSize");
    });
    let two = two.send().await;
    let two = two.unwrap();
    assert_eq!(two.object_size(), Some(3));
    assert!(two.e_tag().is_some() && two.checksum().is_none() && two.storage_class().is_none());

    let unknown = attributes(&["Colour".into()]).send().await;
    assert_eq!(failure(unknown), (400, "InvalidArgument".to_owned()));
    let deletion = server.client.delete_object().bucket(BUCKET).key("a.jpg");
    deletion.send().await.unwrap();
    let hidden = attributes(&all).send().await;
    assert_eq!(failure(hidden), (404, "NoSuchKey".to_owned()));
}

#[tokio::test]
async fn many_writers_at_once_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let mut server = Server::with_bucket(&folder, true).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..64 {
        let put = server
            .client
            .put_object()
            .bucket(BUCKET)
            .key(format!("{:02}", number % 8));
        let body = ByteStream::from(noise(1000 + number));
        writers.spawn(put.body(body).send());
    }
    while let Some(written) = writers.join_next().await {
        written.unwrap().unwrap();
    }
    let mut last = 0;
    for _ in 0..64 {
        let notification = server.notification().await;
        assert!(notification.id > last);
        last = notification.id;
    }
    let versions = server.client.list_object_versions().bucket(BUCKET);
    let versions = versions.send().await.unwrap();
    assert_eq!(versions.versions().len(), 64);
    let latest = versions
        .versions()
        .iter()
        .filter(|v| v.is_latest() == Some(true));
    assert_eq!(latest.count(), 8);
}
