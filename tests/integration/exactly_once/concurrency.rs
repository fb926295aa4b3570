//! Deliveries at the same time.

use futures_util::future::join_all;

use super::outcome;
use crate::support::{
    promise::{self, Reference, deliver, upload},
    stack::{Options, Stack},
};

/// A stack whose function runs in eight processes at once.
async fn eight_processes() -> Stack {
    Stack::with(Options {
        processes: 8,
        ..Options::invoked_by_hand()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_deliveries_at_once_count_one_object() {
    let stack = eight_processes().await;
    let mut reference = Reference::new();
    for round in 0..5 {
        let version = upload(&stack, &mut reference, &format!("{round}.png"), Some("FAW")).await;
        let answers = join_all((0..20).map(|_| deliver(&stack, &version))).await;
        let recorded = answers
            .iter()
            .filter(|answer| outcome(answer.as_ref().unwrap()) == "recorded");
        assert_eq!(recorded.count(), 1);
        promise::check(&stack, &reference).await;
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_of_a_key_at_once_count_twice() {
    let stack = eight_processes().await;
    let mut reference = Reference::new();
    for round in 0..5 {
        let key = format!("{round}.png");
        let first = upload(&stack, &mut reference, &key, Some("AAW")).await;
        let second = upload(&stack, &mut reference, &key, Some("ECLW")).await;
        let (first, second) = tokio::join!(deliver(&stack, &first), deliver(&stack, &second));
        assert_eq!(first.unwrap()["outcomes"][0]["className"], "AAW");
        assert_eq!(second.unwrap()["outcomes"][0]["className"], "ECLW");
        promise::check(&stack, &reference).await;
    }
    stack.stop().await;
}
