//! Whatever breaks on the wire, and wherever the function is killed, the promise holds.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::join_all;
use serde_json::json;
use support::{
    COLOR_MODEL, Options, Stack, event, outcome, picture,
    promise::{self, Reference, Version, deliver, deliver_as_messages, deliver_until_done},
    proxy::{Fault, Proxy},
    queue_event,
};

/// The calls of the function: the last is the rejection of what is no picture.
const OPERATIONS: [&str; 4] = ["BatchGetItem", "GetObject", "TransactWriteItems", "PutItem"];
/// One failure is overcome by the SDK's retries, four are more than it makes.
const IN_A_ROW: [usize; 2] = [1, 4];

fn options() -> Options<'static> {
    Options {
        variables: &[COLOR_MODEL],
        processes: 1,
        notify: false,
        proxied: true,
        ..Options::default()
    }
}

fn proxy<'a>(stack: &'a Stack, operation: &str) -> &'a Proxy {
    match operation {
        "GetObject" => stack.s3_proxy(),
        _ => stack.dynamodb_proxy(),
    }
}

/// Uploads what makes the function call `operation`.
async fn upload(stack: &Stack, reference: &mut Reference, operation: &str, key: &str) -> Version {
    let (bytes, class) = match operation {
        "PutItem" => (b"no picture".to_vec(), None),
        _ => (picture("FAW"), Some("FAW")),
    };
    let version = (key.to_owned(), stack.upload(key, bytes).await);
    reference.insert(version.clone(), class);
    version
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_every_call_is_overcome() {
    // A stack for each fault; those that take long have one for each case.
    let mut jobs: Vec<Vec<(Fault, &str, usize)>> = Vec::new();
    for fault in Fault::WIRE {
        let operations = OPERATIONS
            .into_iter()
            .filter(|operation| fault.happens_to(operation));
        let cases: Vec<_> = operations
            .flat_map(|operation| IN_A_ROW.map(|in_a_row| (fault, operation, in_a_row)))
            .collect();
        match fault {
            Fault::Delay => jobs.extend(cases.into_iter().map(|case| vec![case])),
            _ => jobs.push(cases),
        }
    }
    let cases: usize = jobs.iter().map(Vec::len).sum();
    join_all(jobs.into_iter().map(|cases| async move {
        let stack = Stack::with(options()).await;
        let mut reference = Reference::new();
        for (fault, operation, in_a_row) in cases {
            let key = format!("{fault:?}-{operation}-{in_a_row}.png");
            let version = upload(&stack, &mut reference, operation, &key).await;
            let proxy = proxy(&stack, operation);
            let name = format!("{operation} {fault:?}");
            let happened = || proxy.faults().get(&name).copied().unwrap_or_default();
            let before = happened();
            proxy.next(operation, fault, in_a_row);
            // One invocation is enough: it tries until its deadline.
            let answer = deliver(&stack, &version)
                .await
                .unwrap_or_else(|error| panic!("{key}: {error}"));
            let expected = match operation {
                "PutItem" => "rejected",
                _ => "recorded",
            };
            assert_eq!(outcome(&answer)["outcome"], expected, "{key}");
            // Where the call was done all the same, and looked up, it is not made again.
            assert!(happened() > before, "{key}");
            proxy.heal();
            let again = deliver(&stack, &version).await.unwrap();
            assert_eq!(outcome(&again)["outcome"], "duplicate", "{key}");
            promise::check(&stack, &reference).await;
        }
        stack.stop().await;
    }))
    .await;
    println!(
        "{cases} cases: {} faults in {} calls, {IN_A_ROW:?} times in a row",
        Fault::WIRE.len(),
        OPERATIONS.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_function_leaves_nothing_half_done() {
    let stack = Stack::with(options()).await;
    let mut reference = Reference::new();
    let mut cases = 0;
    for operation in OPERATIONS {
        for fault in Fault::KILLS {
            let key = format!("{fault:?}-{operation}.png");
            let version = upload(&stack, &mut reference, operation, &key).await;
            let proxy = proxy(&stack, operation);
            proxy.next(operation, fault, 1);
            let killed = deliver(&stack, &version).await;
            // Once it has the last answer, it may be quicker than the signal.
            if fault != Fault::KillAnswered {
                let error = killed.unwrap_err();
                assert_eq!(error["errorType"], "Runtime.ExitError", "{key}");
            }
            let (outcome, _) = deliver_until_done(&stack, &version).await;
            let was_committed = fault != Fault::KillBefore
                && ["TransactWriteItems", "PutItem"].contains(&operation);
            match (was_committed, operation) {
                (true, _) => assert_eq!(outcome["outcome"], "duplicate", "{key}"),
                (false, "PutItem") => assert_eq!(outcome["outcome"], "rejected", "{key}"),
                (false, _) if fault == Fault::KillAnswered => {}
                (false, _) => assert_eq!(outcome["outcome"], "recorded", "{key}"),
            }
            promise::check(&stack, &reference).await;
            cases += 1;
        }
    }
    println!("{cases} kills");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_by_the_deadline_is_reported() {
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
    let messages: Vec<_> = versions
        .iter()
        .map(|(key, version)| (key.clone(), event(&[("moths", key, Some(version))])))
        .collect();
    let answer = stack.invoke(&queue_event(&messages)).await.unwrap();
    let failed = answer["batchItemFailures"].as_array().unwrap();
    assert_eq!(failed.len(), 2, "{answer}");
    assert_eq!(stack.records().await.len(), 8);
    deliver_as_messages(&stack, &versions).await;
    promise::check(&stack, &reference).await;

    // A commit whose answer comes after the function's time is done all the same.
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

#[tokio::test(flavor = "multi_thread")]
async fn known_objects_are_not_downloaded_and_groups_are_one_transaction() {
    let stack = Stack::with(options()).await;
    let mut reference = Reference::new();
    let mut versions = Vec::new();
    for n in 0..60 {
        let class = ["AAW", "FAW"][n % 2];
        let key = format!("{n}.png");
        let version = (key.clone(), stack.upload(&key, picture(class)).await);
        reference.insert(version.clone(), Some(class));
        versions.push(version);
    }
    let calls = |operation: &str| {
        let of = |proxy: &Proxy| proxy.calls().get(operation).copied().unwrap_or_default();
        of(stack.s3_proxy()) + of(stack.dynamodb_proxy())
    };
    assert_eq!(deliver_as_messages(&stack, &versions).await, 1);
    assert_eq!(calls("GetObject"), 60);
    // One for each class, and a read of its counter each, beside the one that looks all objects up.
    assert_eq!(calls("TransactWriteItems"), 2);
    assert_eq!(calls("BatchGetItem"), 3);
    promise::check(&stack, &reference).await;

    assert_eq!(deliver_as_messages(&stack, &versions).await, 1);
    assert_eq!(calls("GetObject"), 60);
    assert_eq!(calls("BatchGetItem"), 4);

    // 120 of one class are more than one transaction takes, and more than one read.
    let mut more = Vec::new();
    for n in 0..120 {
        let key = format!("more/{n}.png");
        let version = (key.clone(), stack.upload(&key, picture("ECLW")).await);
        reference.insert(version.clone(), Some("ECLW"));
        more.push(version);
    }
    // The same message twice in a batch is one object.
    more.push(more[0].clone());
    assert_eq!(deliver_as_messages(&stack, &more).await, 1);
    promise::check(&stack, &reference).await;
    assert_eq!(calls("GetObject"), 180);
    assert_eq!(
        calls("TransactWriteItems"),
        2 + 4,
        "49 and 49 and 2, then 20"
    );
    assert_eq!(json!(reference.len()), 180);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_item_that_is_damaged_fails_alone() {
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
    let status = |word: &str| AttributeValue::S(word.into());
    let update = |word: &str| {
        stack
            .dynamodb
            .update_item()
            .table_name("ledger")
            .key("LedgerKey", key.clone())
            .update_expression("SET #s = :s")
            .expression_attribute_names("#s", "Status")
            .expression_attribute_values(":s", status(word))
            .send()
    };
    update("LOST").await.unwrap();
    let messages: Vec<_> = versions
        .iter()
        .map(|(key, version)| (key.clone(), event(&[("moths", key, Some(version))])))
        .collect();
    let answer = stack.invoke(&queue_event(&messages)).await.unwrap();
    let failed = json!([{"itemIdentifier": damaged.0}]);
    assert_eq!(answer["batchItemFailures"], failed);
    for version in rest {
        let again = deliver(&stack, version).await.unwrap();
        assert_eq!(outcome(&again)["outcome"], "duplicate");
    }
    let error = deliver(&stack, damaged).await.unwrap_err();
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains("has no valid Status"), "{message}");
    update("COUNTED").await.unwrap();
    promise::check(&stack, &reference).await;
    stack.stop().await;
}
