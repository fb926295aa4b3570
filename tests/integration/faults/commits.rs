//! What the function reads and writes for a batch, counted at the proxies.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;

use super::{options, upload};
use crate::support::{
    event::{outcome, queue_event},
    promise::{self, Reference, Version, deliver, deliver_as_messages, messages},
    stack::Stack,
};

/// Uploads `count` photos of `classes` in turn.
async fn upload_photos(
    stack: &Stack,
    reference: &mut Reference,
    classes: &[&'static str],
    folder: &str,
    count: usize,
) -> Vec<Version> {
    let mut versions = Vec::new();
    for n in 0..count {
        let class = Some(classes[n % classes.len()]);
        let key = format!("{folder}{n}.png");
        versions.push(promise::upload(stack, reference, &key, class).await);
    }
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn known_objects_are_not_downloaded_and_a_class_is_one_transaction() {
    let stack = Stack::with(options()).await;
    let mut reference = Reference::new();
    let versions = upload_photos(&stack, &mut reference, &["AAW", "FAW"], "", 60).await;
    let calls = |operation: &str| {
        let calls = stack.proxy_of(operation).calls();
        calls.get(operation).copied().unwrap_or_default()
    };
    assert_eq!(deliver_as_messages(&stack, &versions).await, 1);
    assert_eq!(calls("GetObject"), 60);
    // One transaction and one read of the counter for each class, one read that looks up all objects, and one of the
    // deployments.
    assert_eq!(calls("TransactWriteItems"), 2);
    assert_eq!(calls("BatchGetItem"), 4);
    promise::check(&stack, &reference).await;

    assert_eq!(deliver_as_messages(&stack, &versions).await, 1);
    assert_eq!(calls("GetObject"), 60);
    assert_eq!(calls("BatchGetItem"), 5);

    // 120 photos of one class exceed the limits of a transaction and of a batch read. One of them comes twice.
    let mut more = upload_photos(&stack, &mut reference, &["ECLW"], "more/", 120).await;
    more.push(more[0].clone());
    assert_eq!(deliver_as_messages(&stack, &more).await, 1);
    promise::check(&stack, &reference).await;
    assert_eq!(calls("GetObject"), 180);
    assert_eq!(
        calls("TransactWriteItems"),
        2 + 4,
        "49, 49 and 2 photos, then 20"
    );
    assert_eq!(reference.len(), 180);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_ledger_item_fails_alone() {
    let stack = Stack::with(options()).await;
    let mut reference = Reference::new();
    let mut versions = Vec::new();
    for n in 0..3 {
        let key = format!("{n}.png");
        versions.push(upload(&stack, &mut reference, "GetObject", &key).await);
    }
    let (damaged, rest) = versions.split_first().unwrap();
    deliver(&stack, damaged).await.unwrap();
    let key = stack.ledger("object/").await[0]["LedgerKey"].clone();
    let set_status = |status: &str| {
        stack
            .dynamodb
            .update_item()
            .table_name("ledger")
            .key("LedgerKey", key.clone())
            .update_expression("SET #s = :s")
            .expression_attribute_names("#s", "Status")
            .expression_attribute_values(":s", AttributeValue::S(status.into()))
            .send()
    };
    set_status("LOST").await.unwrap();
    let answer = stack
        .invoke(&queue_event(&messages(&versions)))
        .await
        .unwrap();
    assert_eq!(
        answer["batchItemFailures"],
        json!([{"itemIdentifier": "0"}])
    );
    for version in rest {
        let again = deliver(&stack, version).await.unwrap();
        assert_eq!(outcome(&again)["outcome"], "duplicate");
    }
    let error = deliver(&stack, damaged).await.unwrap_err();
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains("has no valid Status"), "{message}");
    set_status("COUNTED").await.unwrap();
    promise::check(&stack, &reference).await;
    stack.stop().await;
}
