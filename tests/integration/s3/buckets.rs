//! Buckets, and many writers in one.

use aws_sdk_s3::primitives::ByteStream;
use tempfile::TempDir;
use versioned_s3::Configuration;

use crate::support::s3::{BUCKET, Server, bytes, configuration, failure};

#[tokio::test]
async fn buckets_are_created_found_and_deleted() {
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
async fn in_us_east_1_a_bucket_may_be_created_again() {
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
        let body = ByteStream::from(bytes(1000 + number));
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
