//! Events of several objects, of which some fail.

use serde_json::json;

use crate::support::{
    event::{event, outcome},
    photo::moth,
    stack::{BUCKET, Stack},
};

#[tokio::test]
async fn a_bad_object_takes_no_good_one_with_it() {
    let mut stack = Stack::start(&[("MAX_IMAGE_BYTES", "1_000_000")]).await;
    let (good, _) = stack.put("good.jpg", moth()).await;
    let (large, _) = stack.put("large.jpg", vec![0xff; 1_000_001]).await;
    let (empty, _) = stack.put("empty.jpg", vec![]).await;
    stack.put("gone.jpg", moth()).await;
    let delete = stack.s3.delete_object().bucket(BUCKET).key("gone.jpg");
    let marker = delete.send().await.unwrap().version_id.unwrap();

    let answer = stack
        .invoke(&event(&[
            (BUCKET, "large.jpg", Some(&large)),
            (BUCKET, "no+such+key.jpg", Some(&good)),
            (BUCKET, "gone.jpg", Some(&marker)),
            (BUCKET, "empty.jpg", Some(&empty)),
            (BUCKET, "good.jpg", Some(&good)),
        ]))
        .await
        .unwrap();
    let outcomes = answer["outcomes"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|outcome| &outcome["outcome"]).collect();
    assert_eq!(
        outcomes,
        [
            "duplicate",
            "rejected",
            "rejected",
            "duplicate",
            "duplicate"
        ]
    );
    for (place, part) in [(0, "1000001 bytes"), (1, "is gone")] {
        let reason = answer["outcomes"][place]["reason"].as_str().unwrap();
        assert!(reason.contains(part), "{reason}");
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_failed_record_fails_the_invocation_after_the_others() {
    let mut stack = Stack::start(&[("MAX_IMAGE_BYTES", "1_000_000")]).await;
    let (large, _) = stack.put("large.jpg", vec![0xff; 1_000_001]).await;
    let new = stack.upload("new.jpg", moth()).await;
    let mut event_of_four = event(&[
        (BUCKET, "large.jpg", Some(&large)),
        ("no-such-bucket", "a.jpg", None),
        (BUCKET, "new.jpg", Some(&new)),
    ]);
    let records = event_of_four["Records"].as_array_mut().unwrap();
    records.insert(1, json!({"eventName": "ObjectCreated:Put"}));
    let error = stack.invoke(&event_of_four).await.unwrap_err();
    assert_eq!(error["errorType"], "Retryable");
    let message = error["errorMessage"].as_str().unwrap();
    for part in [
        "2 of 4 records failed",
        "record 1 of the event is malformed",
        "s3://no-such-bucket/a.jpg",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let event = event(&[(BUCKET, "new.jpg", Some(&new))]);
    let known = stack.invoke(&event).await.unwrap();
    assert_eq!(outcome(&known)["outcome"], "duplicate");
    stack.stop().await;
}
