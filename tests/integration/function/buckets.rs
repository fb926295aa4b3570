//! Buckets with and without versions, other buckets, and keys that are no photos.

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use serde_json::{Value, json};

use crate::support::{
    command::test_image,
    event::{event, outcome},
    item::string,
    photo::moth,
    stack::{BUCKET, Stack},
};

/// Puts an object into `bucket`, and returns its version id if it has one.
async fn put(stack: &Stack, bucket: &str, bytes: Vec<u8>) -> Option<String> {
    let put = stack.s3.put_object().bucket(bucket).key("moth.jpg");
    put.body(bytes.into()).send().await.unwrap().version_id
}

#[tokio::test]
async fn without_versions_the_content_is_counted() {
    let mut stack = Stack::start(&[]).await;
    // Versioning cannot be turned off again: only a new bucket has none.
    let remove = stack.s3.delete_bucket().bucket(BUCKET);
    remove.send().await.unwrap();
    let create = stack.s3.create_bucket().bucket(BUCKET);
    create.send().await.unwrap();
    assert_eq!(put(&stack, BUCKET, moth()).await, None);
    let first = stack.delivery().await;
    assert_eq!(outcome(&first.answer.unwrap())["outcome"], "recorded");
    assert_eq!(
        first.event["Records"][0]["s3"]["object"]["versionId"],
        json!(null)
    );
    let event = event(&[(BUCKET, "moth.jpg", None)]);
    let again = stack.invoke(&event).await.unwrap();
    assert_eq!(outcome(&again)["outcome"], "duplicate");
    let record = &stack.records().await[0];
    assert!(!record.contains_key("VersionId"));
    assert_eq!(
        string(record, "ImageURL_ClassName"),
        "https://moths.s3.us-east-1.amazonaws.com/moth.jpg"
    );

    // Other content under the same key is another photo.
    let other = std::fs::read(test_image("good/faw.png")).unwrap();
    put(&stack, BUCKET, other).await;
    let second = stack.delivery().await;
    assert_eq!(outcome(&second.answer.unwrap())["outcome"], "recorded");
    assert_eq!(stack.records().await.len(), 2);
    stack.stop().await;
}

#[tokio::test]
async fn an_object_in_another_bucket_invokes_nothing() {
    let mut stack = Stack::start(&[]).await;
    let create = stack.s3.create_bucket().bucket("other");
    create.send().await.unwrap();
    put(&stack, "other", moth()).await;
    let (_, delivery) = stack.put("moth.jpg", moth()).await;
    assert_eq!(delivery.event["Records"][0]["s3"]["bucket"]["name"], BUCKET);
    assert_eq!(outcome(&delivery.answer.unwrap())["count"], 1);
    assert_eq!(stack.records().await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn a_suspended_bucket_has_null_versions() {
    let mut stack = Stack::start(&[]).await;
    let suspended = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Suspended)
        .build();
    let suspend = stack.s3.put_bucket_versioning().bucket(BUCKET);
    let suspend = suspend.versioning_configuration(suspended);
    suspend.send().await.unwrap();
    put(&stack, BUCKET, moth()).await;
    let first = stack.delivery().await;
    assert_eq!(outcome(&first.answer.unwrap())["outcome"], "recorded");
    let again = stack.invoke(&first.event).await.unwrap();
    assert_eq!(outcome(&again)["outcome"], "duplicate");
    stack.stop().await;
}

#[tokio::test]
async fn a_folder_marker_is_no_photo() {
    let mut stack = Stack::start(&[]).await;
    let (version, delivery) = stack.put("farm 1/", Vec::new()).await;
    let answer = delivery.answer.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "folder");
    assert_eq!(outcome(&answer)["key"], "farm 1/");
    let job = json!({
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "tasks": [{"taskId": "t", "s3Key": "farm+1/", "s3VersionId": version, "s3Bucket": BUCKET}],
    });
    let answer = stack.invoke(&job).await.unwrap();
    assert_eq!(answer["results"][0]["resultCode"], "Succeeded");
    let said = answer["results"][0]["resultString"].as_str().unwrap();
    assert!(said.contains("folder marker"), "{said}");
    assert!(stack.records().await.is_empty());
    assert!(stack.ledger("").await.is_empty());

    // An empty photo is no marker, and neither is a photo whose key ends in a slash.
    let (_, delivery) = stack.put("farm 1/empty.jpg", Vec::new()).await;
    assert_eq!(outcome(&delivery.answer.unwrap())["outcome"], "rejected");
    let (_, delivery) = stack.put("farm 2/", moth()).await;
    assert_eq!(outcome(&delivery.answer.unwrap())["outcome"], "recorded");

    let lines = stack.stop_and_read_log().await;
    let metrics: Vec<_> = lines
        .iter()
        .filter(|line| line.get("ColdStart").is_some())
        .map(|line| [&line["Recorded"], &line["Rejected"], &line["Failed"]])
        .collect();
    let all = [[0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]].map(|line| line.map(Value::from));
    assert_eq!(json!(metrics), json!(all));
}
