//! Versions, delete markers, and buckets that were never versioned.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use tempfile::TempDir;

use crate::support::s3::{BUCKET, Server, failure};

#[tokio::test]
async fn a_delete_marker_hides_the_versions_before_it() {
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
async fn without_versioning_there_is_one_null_version() {
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
