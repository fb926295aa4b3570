//! The record of a photo.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, NaiveTime, Utc};
use chrono_tz::Africa::Lagos;
use sha2::Digest;

use crate::support::{
    event::outcome,
    item::{number, string},
    photo::moth,
    stack::{BUCKET, Stack},
};

#[tokio::test]
async fn a_put_becomes_a_record() {
    let mut stack = Stack::start(&[]).await;
    let key = "farm 1/50% +é 蛾.jpg";
    let (version, delivery) = stack.put(key, moth()).await;
    let answer = delivery.answer.unwrap();
    let outcome = outcome(&answer);
    assert_eq!(outcome["outcome"], "recorded");
    assert_eq!(outcome["key"], key);
    assert_eq!(outcome["versionId"], version.as_str());
    assert_eq!(outcome["count"], 1);

    let records = stack.records().await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    let created = last_modified(&stack, key).await.with_timezone(&Lagos);
    assert_eq!(
        string(record, "PredictionDate"),
        created.date_naive().to_string()
    );
    assert_eq!(
        NaiveTime::parse_from_str(&string(record, "CaptureTime"), "%H:%M:%S"),
        Ok(created.time())
    );
    let class = string(record, "ClassName");
    let id = string(record, "ClassPredictionID");
    let uuid = id.strip_prefix(&format!("{class}-")).unwrap();
    assert!(uuid::Uuid::parse_str(uuid).is_ok());
    assert_eq!(number(record, "Count_ClassName"), 1.0);
    assert_eq!(
        string(record, "ImageURL_ClassName"),
        format!(
            "https://{BUCKET}.s3.us-east-1.amazonaws.com/farm%201/50%25%20%2B%C3%A9%20%E8%9B%BE.jpg?versionId={version}"
        )
    );
    let probability = number(record, "Probability");
    let percent = format!("{:2.0}%", probability * 100.0);
    assert_eq!(string(record, "ConfidenceScore"), percent);
    let AttributeValue::M(probabilities) = &record["Probabilities"] else {
        panic!("Probabilities is {:?}", record["Probabilities"]);
    };
    assert_eq!(number(probabilities, &class), probability);
    assert_eq!(string(record, "Bucket"), BUCKET);
    assert_eq!(string(record, "ObjectKey"), key);
    assert_eq!(string(record, "VersionId"), version);
    assert_eq!(string(record, "ModelVersion").len(), 12);
    assert!(DateTime::parse_from_rfc3339(&string(record, "PredictedAt")).is_ok());
    let uploaded = format!("{}+01:00", created.format("%Y-%m-%dT%H:%M:%S"));
    assert_eq!(string(record, "CapturedAt"), uploaded);
    assert_eq!(string(record, "CaptureSource"), "upload");
    assert_eq!(string(record, "Station"), "farm 1");
    let [width, height] = ["Width", "Height"].map(|attribute| number(record, attribute));
    assert_eq!([width, height], [400.0, 300.0]);
    assert_eq!(number(record, "Bytes"), moth().len() as f64);
    assert_eq!(
        string(record, "Sha256"),
        hex::encode(sha2::Sha256::digest(moth()))
    );
    assert_eq!(record.len(), 23, "{record:?}");
    stack.stop().await;
}

/// When S3 says that the object was created.
async fn last_modified(stack: &Stack, key: &str) -> DateTime<Utc> {
    let head = stack.s3.head_object().bucket(BUCKET).key(key).send().await;
    let last_modified = head.unwrap().last_modified.unwrap();
    DateTime::from_timestamp(last_modified.secs(), 0).unwrap()
}
