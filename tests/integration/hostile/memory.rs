//! No photo takes more memory than "Memory" in docs/operations.md states.

use std::fs;

use super::{
    options,
    photos::{self, Photo},
};
use crate::support::{
    command::kill,
    event::{event, outcome, queue_event},
    exclusive,
    photo::photo,
    random,
    stack::{BUCKET, Options, Stack},
};

/// The bound of one photo, in MiB.
const ONE: u64 = 700;
/// The bound of a batch of photos, in MiB.
const BATCH: u64 = 450;

/// The most memory that the function's process has had, in MiB.
fn peak_memory(stack: &Stack) -> u64 {
    status(stack, "VmHWM:")
}

/// A field of `/proc/<function>/status`, in MiB.
fn status(stack: &Stack, field: &str) -> u64 {
    let process = stack.processes()[0];
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_file_takes_little_memory() {
    take_no_more_memory_than_their_bounds(photos::small()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: six photos of 50 million pixels"]
async fn no_photo_takes_more_memory_than_stated() {
    take_no_more_memory_than_their_bounds(photos::large(ONE)).await;
}

async fn take_no_more_memory_than_their_bounds(photos: Vec<Photo>) {
    let _turn = exclusive::turn().await;
    let mut stack = Stack::with(options()).await;
    for Photo { name, bytes, bound } in photos {
        let size = bytes.len() / 1024;
        // Each photo has a process of its own.
        stack.processes().into_iter().for_each(kill);
        let (_, delivery) = stack.put(name, bytes).await;
        let peak = peak_memory(&stack);
        let answer = delivery.answer.unwrap();
        let outcome = outcome(&answer);
        println!("{peak:>4} MiB  {name}, {size} KiB: {}", outcome["outcome"]);
        assert!(peak <= bound, "{name}: {peak} MiB");
    }
    stack.stop().await;
}

/// Memory that is allocated and not touched is not resident. But where memory is scarce the allocation fails, and the
/// process ends.
#[tokio::test]
async fn a_declared_length_is_not_allocated() {
    let mut stack = Stack::with(options()).await;
    stack.put("small.png", photo("FAW")).await;
    let before = status(&stack, "VmPeak:");
    let webp = photos::webp_that_declares_gigabytes();
    let (_, delivery) = stack.put("declares.webp", webp).await;
    let answer = delivery.answer.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "recorded");
    let after = status(&stack, "VmPeak:");
    assert!(after < before + 1024, "{before} to {after} MiB");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: ten photos of 12 megapixels"]
async fn a_batch_of_large_photos_takes_no_more_memory_than_stated() {
    let _turn = exclusive::turn().await;
    let stack = Stack::with(Options {
        notify: false,
        ..options()
    })
    .await;
    let photo = photos::large_photo(&mut random::generator());
    let mut messages = Vec::new();
    for n in 0..10 {
        let key = format!("{n}.jpg");
        let version = stack.upload(&key, photo.clone()).await;
        messages.push((key.clone(), event(&[(BUCKET, &key, Some(&version))])));
    }
    let answer = stack.invoke(&queue_event(&messages)).await.unwrap();
    assert_eq!(answer["batchItemFailures"], serde_json::json!([]));
    let peak = peak_memory(&stack);
    println!("10 photos of {} KiB: {peak} MiB", photo.len() / 1024);
    assert!(peak <= BATCH, "{peak} MiB");
    assert_eq!(stack.records().await.len(), 10);
    stack.stop().await;
}
