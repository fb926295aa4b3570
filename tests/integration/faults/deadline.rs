//! The function runs out of time.

use std::time::Duration;

use super::{options, upload};
use crate::support::{
    event::{outcome, queue_event},
    exclusive,
    promise::{self, Reference, deliver, deliver_as_messages, messages},
    proxy::Fault,
    stack::{Options, Stack},
};

#[tokio::test(flavor = "multi_thread")]
async fn photos_that_are_not_done_by_the_deadline_are_reported() {
    let _turn = exclusive::turn().await;
    let stack = Stack::with(Options {
        timeout: Duration::from_secs(6),
        ..options()
    })
    .await;
    let mut reference = Reference::new();
    let mut versions = Vec::new();
    for n in 0..10 {
        versions.push(upload(&stack, &mut reference, "GetObject", &format!("{n}.png")).await);
    }
    stack.s3_proxy().next("GetObject", Fault::Delay, 2);
    let answer = stack
        .invoke(&queue_event(&messages(&versions)))
        .await
        .unwrap();
    let failed = answer["batchItemFailures"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{answer}");
    assert_eq!(stack.records().await.len(), 8);
    deliver_as_messages(&stack, &versions).await;
    promise::check(&stack, &reference).await;

    // A commit counts even if its answer comes after the deadline.
    let late = upload(&stack, &mut reference, "TransactWriteItems", "late.png").await;
    stack
        .dynamodb_proxy()
        .next("TransactWriteItems", Fault::Delay, 2);
    let error = deliver(&stack, &late).await.unwrap_err();
    assert_eq!(error["errorType"], "Retryable", "{error}");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(
        message.contains("late.png") && message.contains("no time left"),
        "{message}"
    );
    let again = deliver(&stack, &late).await.unwrap();
    assert_eq!(outcome(&again)["outcome"], "duplicate");
    promise::check(&stack, &reference).await;
    stack.stop().await;
}
