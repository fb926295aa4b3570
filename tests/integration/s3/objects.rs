//! Objects: headers, ranges, conditions, checksums, copies and attributes.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ChecksumMode, ChecksumType, Delete, MetadataDirective, ObjectAttributes,
    ObjectIdentifier, StorageClass,
};
use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server, failure};

#[tokio::test]
async fn an_object_has_headers_ranges_and_conditions() {
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
async fn objects_are_copied_and_deleted_in_batches() {
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
async fn each_version_has_its_attributes() {
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
    // The AWS CLI sends all names in one header.
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
