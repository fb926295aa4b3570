//! Events of created objects, and what outlives the process.

use tempfile::TempDir;
use versioned_s3::{Configuration, Notification, Store, StoreError};

use crate::support::s3::{BUCKET, Server, configuration};

#[tokio::test]
async fn events_have_the_members_of_aws() {
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
async fn acknowledged_objects_and_events_outlive_the_process() {
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
async fn only_one_bucket_notifies() {
    let folder = TempDir::new().unwrap();
    let put = async |server: &Server, bucket: &str| {
        let put = server.client.put_object().bucket(bucket).key("a");
        put.send().await.unwrap();
    };
    // An earlier run notified of another bucket, and stopped before the delivery.
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
