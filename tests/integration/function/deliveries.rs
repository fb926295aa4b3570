//! Events that come twice or fail.

use std::collections::BTreeSet;

use crate::support::{
    event::{event, outcome},
    item::{number, string},
    photo::moth,
    stack::{BUCKET, Stack},
};

#[tokio::test]
async fn an_event_delivered_again_changes_nothing() {
    let mut stack = Stack::start(&[]).await;
    let (version, delivery) = stack.put("moth.jpg", moth()).await;
    let first = delivery.answer.unwrap();
    for _ in 0..3 {
        let again = stack.invoke(&delivery.event).await.unwrap();
        let (first, again) = (outcome(&first), outcome(&again));
        assert_eq!(again["outcome"], "duplicate");
        for member in ["key", "versionId", "className", "count", "date"] {
            assert_eq!(first[member], again[member], "{member}");
        }
    }
    // Twice in one event, and at once in two processes.
    let twice = event(&[
        (BUCKET, "moth.jpg", Some(&version)),
        (BUCKET, "moth.jpg", Some(&version)),
    ]);
    let (a, b) = tokio::join!(stack.invoke(&twice), stack.invoke(&twice));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(stack.records().await.len(), 1);
    assert_eq!(stack.ledger("object/").await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn ordinals_have_no_gap_and_no_repeat() {
    const OBJECTS: usize = 12;
    let stack = Stack::start(&[]).await;
    let mut versions = Vec::new();
    for _ in 0..OBJECTS {
        versions.push(stack.upload("same.jpg", moth()).await);
    }
    assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), OBJECTS);
    // The events of S3 are on their way. These two events deliver every object once more, at the same time.
    let mut objects: Vec<_> = versions
        .iter()
        .map(|version| (BUCKET, "same.jpg", Some(version.as_str())))
        .collect();
    let forward = event(&objects);
    objects.reverse();
    let backward = event(&objects);
    let (a, b) = tokio::join!(stack.invoke(&forward), stack.invoke(&backward));
    for answer in [a.unwrap(), b.unwrap()] {
        assert_eq!(answer["outcomes"].as_array().unwrap().len(), OBJECTS);
    }

    let records = stack.records().await;
    let ordinals = records
        .iter()
        .map(|record| number(record, "Count_ClassName") as usize);
    let mut ordinals: Vec<usize> = ordinals.collect();
    ordinals.sort_unstable();
    assert_eq!(ordinals, (1..=OBJECTS).collect::<Vec<_>>());
    let counters = stack.ledger("count/").await;
    assert_eq!(counters.len(), 1);
    assert_eq!(number(&counters[0], "Issued"), OBJECTS as f64);
    assert_eq!(number(&counters[0], "Live"), OBJECTS as f64);
    stack.stop().await;
}

#[tokio::test]
async fn each_version_of_a_key_has_its_own_outcome() {
    let mut stack = Stack::start(&[]).await;
    let (good, _) = stack.put("moth.jpg", moth()).await;
    let (bad, delivery) = stack.put("moth.jpg", b"not a photo".to_vec()).await;
    let answer = delivery.answer.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "rejected");
    assert_eq!(
        outcome(&answer)["reason"],
        "not a photo: send JPEG, PNG or WebP"
    );
    for (version, status) in [(good, "COUNTED"), (bad, "REJECTED")] {
        let items = stack.ledger("object/").await;
        let item = items
            .iter()
            .find(|item| string(item, "VersionId") == version)
            .unwrap();
        assert_eq!(string(item, "Status"), status);
        assert_eq!(string(item, "ObjectKey"), "moth.jpg");
    }
    assert_eq!(stack.records().await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn a_failure_is_logged_once_and_names_its_object_once() {
    let stack = Stack::start(&[]).await;
    let lost = event(&[("no-such-bucket", "lost.jpg", None)]);
    let error = stack.invoke(&lost).await.unwrap_err();
    let mentions = |text: &str| text.matches("lost.jpg").count();
    assert_eq!(
        mentions(error["errorMessage"].as_str().unwrap()),
        1,
        "{error}"
    );
    let lines = stack.stop_and_read_log().await;
    let errors: Vec<_> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(mentions(&errors[0].to_string()), 1, "{errors:?}");
}
