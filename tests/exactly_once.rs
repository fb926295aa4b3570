//! Each object version is counted once, in one class, on one day, whatever happens.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Africa::Lagos;
use futures_util::{StreamExt, future::join_all, stream};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any},
    prop_oneof,
    test_runner::{Config, TestRunner},
};
use serde_json::Value;
use support::{
    COLOR_MODEL, Options, Stack, kill, number, picture,
    promise::{self, Reference, Version, deliver, deliver_as_messages, deliver_until_done},
    proxy::{Fault, Proxy},
    string,
};
use tokio::task::JoinSet;

const CLASSES: [&str; 3] = ["AAW", "ECLW", "FAW"];

fn options() -> Options<'static> {
    Options {
        variables: &[COLOR_MODEL],
        notify: false,
        ..Options::default()
    }
}

/// Uploads a picture of `class`, or no picture at all.
async fn upload(
    stack: &Stack,
    reference: &mut Reference,
    key: &str,
    class: Option<&'static str>,
) -> Version {
    let bytes = class.map_or_else(|| b"no picture".to_vec(), picture);
    let version = (key.to_owned(), stack.upload(key, bytes).await);
    reference.insert(version.clone(), class);
    version
}

fn outcome(answer: &Value) -> &Value {
    &answer["outcomes"][0]["outcome"]
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_twenty_times_at_once_in_eight_processes() {
    let stack = Stack::with(Options {
        processes: 8,
        ..options()
    })
    .await;
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
async fn two_versions_of_one_key_at_once_are_two() {
    let stack = Stack::with(Options {
        processes: 8,
        ..options()
    })
    .await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_after_midnight_counts_on_the_day_of_the_upload() {
    let stack = Stack::with(options()).await;
    let mut reference = Reference::new();
    let before = upload(&stack, &mut reference, "before.png", Some("FAW")).await;
    let lost = upload(&stack, &mut reference, "lost.png", Some("FAW")).await;
    let after = upload(&stack, &mut reference, "after.png", Some("FAW")).await;
    assert_eq!(outcome(&deliver(&stack, &after).await.unwrap()), "recorded");
    let folder = stack.stop().await;

    // What was uploaded now was uploaded in the last second of yesterday, in Lagos.
    let today = Utc::now().with_timezone(&Lagos).date_naive();
    let midnight = today.and_hms_opt(0, 0, 0).unwrap();
    let midnight = midnight.and_local_timezone(Lagos).unwrap();
    let last_second = midnight - TimeDelta::seconds(1);
    let objects = rusqlite::Connection::open(folder.path().join("objects.sqlite")).unwrap();
    let modified: i64 = objects
        .query_row("SELECT max(modified) FROM version", [], |row| row.get(0))
        .unwrap();
    let in_a_second = match DateTime::from_timestamp(modified, 0) {
        Some(time) if (time - Utc::now()).abs() < TimeDelta::days(1) => 1,
        _ => 1000,
    };
    for key in ["before.png", "lost.png"] {
        let moved = objects
            .execute(
                "UPDATE version SET modified = ?1 WHERE key = ?2",
                (last_second.timestamp() * in_a_second, key),
            )
            .unwrap();
        assert_eq!(moved, 1);
    }
    drop(objects);

    let stack = Stack::with(Options {
        folder: Some(folder),
        proxied: true,
        ..options()
    })
    .await;
    // The first delivery, the second after one that was killed at the commit, and a third.
    stack
        .dynamodb_proxy()
        .next("TransactWriteItems", Fault::KillAfter, 1);
    assert!(deliver(&stack, &lost).await.is_err());
    for (version, expected) in [
        (&before, "recorded"),
        (&lost, "duplicate"),
        (&lost, "duplicate"),
        (&before, "duplicate"),
        (&after, "duplicate"),
    ] {
        assert_eq!(outcome(&deliver(&stack, version).await.unwrap()), expected);
    }
    promise::check(&stack, &reference).await;
    let days: BTreeMap<String, (String, String)> = stack
        .records()
        .await
        .iter()
        .map(|record| {
            let at = (
                string(record, "PredictionDate"),
                string(record, "CaptureTime"),
            );
            (string(record, "ObjectKey"), at)
        })
        .collect();
    let yesterday = last_second.date_naive().to_string();
    for key in ["before.png", "lost.png"] {
        assert_eq!(days[key], (yesterday.clone(), "23:59:59".into()));
    }
    assert_eq!(days["after.png"].0, today.to_string());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_changed_its_mind_counts_nothing_twice() {
    let stack = Stack::with(Options {
        proxied: true,
        ..options()
    })
    .await;
    let mut reference = Reference::new();
    let old = upload(&stack, &mut reference, "old.png", Some("AAW")).await;
    let lost = upload(&stack, &mut reference, "lost.png", Some("AAW")).await;
    let new = upload(&stack, &mut reference, "new.png", Some("AAW")).await;
    deliver(&stack, &old).await.unwrap();
    let proxy = stack.dynamodb_proxy();
    proxy.next("TransactWriteItems", Fault::KillAfter, 1);
    assert!(deliver(&stack, &lost).await.is_err());
    proxy.next("TransactWriteItems", Fault::KillBefore, 1);
    assert!(deliver(&stack, &new).await.is_err());
    let folder = stack.stop().await;

    // The same network, whose first output is now the last class.
    let model = tempfile::tempdir().unwrap();
    let manifest = fs::read_to_string(format!("{}/model.json", COLOR_MODEL.1)).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["labels"].as_array_mut().unwrap().reverse();
    fs::write(model.path().join("model.json"), manifest.to_string()).unwrap();
    fs::copy(
        format!("{}/model.onnx", COLOR_MODEL.1),
        model.path().join("model.onnx"),
    )
    .unwrap();
    let stack = Stack::with(Options {
        variables: &[("MODEL_DIR", model.path().to_str().unwrap())],
        folder: Some(folder),
        ..options()
    })
    .await;
    for (version, expected, class) in [
        (&old, "duplicate", "AAW"),
        (&lost, "duplicate", "AAW"),
        (&new, "recorded", "FAW"),
        (&new, "duplicate", "FAW"),
    ] {
        let answer = deliver(&stack, version).await.unwrap();
        assert_eq!(outcome(&answer), expected);
        assert_eq!(answer["outcomes"][0]["className"], class);
    }
    reference.insert(new, Some("FAW"));
    promise::check(&stack, &reference).await;
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_deliveries_faults_and_kills_counts_each_object_once() {
    const OBJECTS: usize = 500;
    const DELIVERIES: usize = 4;
    const PROCESSES: usize = 8;
    /// 5 % of calls.
    const ONE_IN: u64 = 20;
    let started = Instant::now();
    let stack = Stack::with(Options {
        processes: PROCESSES,
        proxied: true,
        ..options()
    })
    .await;
    let mut reference = Reference::new();
    let mut versions = Vec::new();
    for n in 0..OBJECTS {
        // One in ten is no picture; keys come back with other versions.
        let class = (n % 10 != 0).then(|| CLASSES[n % 3]);
        let key = format!("{}.png", n % 400);
        versions.push(upload(&stack, &mut reference, &key, class).await);
    }
    let mut deliveries: Vec<Version> = Vec::new();
    for _ in 0..DELIVERIES {
        deliveries.extend_from_slice(&versions);
    }
    let seed = uuid::Uuid::new_v4().as_u128() as u64;
    println!("seed {seed}");
    shuffle(&mut deliveries, seed);
    // A third of them come as messages of a queue, by ten.
    let (queued, direct) = deliveries.split_at(deliveries.len() / 3);

    for (proxy, seed) in [(stack.s3_proxy(), seed), (stack.dynamodb_proxy(), !seed)] {
        proxy.by_chance(ONE_IN, &Fault::WIRE, seed);
    }
    let (events, kills) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let direct = stream::iter(direct).map(|version| {
        let (stack, events) = (&stack, &events);
        Box::pin(async move {
            let (_, n) = deliver_until_done(stack, version).await;
            events.fetch_add(n, Ordering::Relaxed);
        }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    });
    let queued = stream::iter(queued.chunks(10)).map(|versions| {
        let (stack, events) = (&stack, &events);
        Box::pin(async move {
            let n = deliver_as_messages(stack, versions).await;
            events.fetch_add(n, Ordering::Relaxed);
        }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
    });
    let all = stream::select(direct, queued).buffer_unordered(2 * PROCESSES);
    let killer = async {
        let mut every_second = tokio::time::interval(Duration::from_secs(1));
        loop {
            every_second.tick().await;
            let processes = Vec::from_iter(stack.local.processes().ids());
            let n = kills.fetch_add(1, Ordering::Relaxed);
            if let Some(&process) = processes.get(n % PROCESSES) {
                kill(process);
            }
        }
    };
    tokio::select! {
        () = all.for_each(async |()| ()) => {}
        () = killer => {}
    }
    for proxy in [stack.s3_proxy(), stack.dynamodb_proxy()] {
        proxy.heal();
    }
    promise::check(&stack, &reference).await;
    assert_eq!(stack.ledger("object/").await.len(), OBJECTS);
    let issued: f64 = stack
        .ledger("count/")
        .await
        .iter()
        .map(|counter| number(counter, "Issued"))
        .sum();
    assert_eq!(issued as usize, stack.records().await.len());
    let sum = |of: fn(&Proxy) -> BTreeMap<String, usize>| -> usize {
        let proxies = [stack.s3_proxy(), stack.dynamodb_proxy()];
        proxies
            .into_iter()
            .flat_map(|proxy| of(proxy).into_values())
            .sum()
    };
    println!(
        "{} deliveries of {OBJECTS} objects in {} events over {PROCESSES} processes, {} faults in {} calls, {} kills, {:.0} s",
        deliveries.len(),
        events.into_inner(),
        sum(Proxy::faults),
        sum(Proxy::calls),
        kills.into_inner(),
        started.elapsed().as_secs_f64(),
    );
    stack.stop().await;
}

/// Fisher and Yates.
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for end in (1..items.len()).rev() {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        items.swap(end, (seed >> 33) as usize % (end + 1));
    }
}

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// Objects by number, in an event each, or as messages of one.
    Deliver { objects: Vec<usize>, queue: bool },
    /// The next calls of an operation go wrong.
    Fault {
        operation: &'static str,
        fault: Fault,
        count: usize,
    },
    /// One call in so many goes wrong.
    Chance { calls: u64, seed: u64 },
    /// A process is killed.
    Kill(usize),
    /// What was delivered comes to its end.
    Settle,
}

/// What happens to a fresh stack.
#[derive(Debug, Clone)]
struct History {
    processes: usize,
    /// The class of each object, or that it is no picture.
    objects: Vec<Option<&'static str>>,
    steps: Vec<Step>,
}

const OPERATIONS: [&str; 4] = ["BatchGetItem", "GetObject", "TransactWriteItems", "PutItem"];

/// All but the slow one.
fn any_fault() -> impl Strategy<Value = Fault> {
    let faults = Fault::WIRE.into_iter().chain(Fault::KILLS);
    let faults: Vec<Fault> = faults.filter(|fault| *fault != Fault::Delay).collect();
    proptest::sample::select(faults)
}

fn any_step() -> impl Strategy<Value = Step> {
    let fault = (
        proptest::sample::select(&OPERATIONS[..]),
        any_fault(),
        1..5usize,
    );
    prop_oneof![
        8 => (vec(any::<usize>(), 1..12), any::<bool>())
            .prop_map(|(objects, queue)| Step::Deliver { objects, queue }),
        4 => fault
            .prop_filter("it does not happen", |(operation, fault, _)| fault.happens_to(operation))
            .prop_map(|(operation, fault, count)| Step::Fault { operation, fault, count }),
        1 => (4..40u64, any::<u64>()).prop_map(|(calls, seed)| Step::Chance { calls, seed }),
        2 => any::<usize>().prop_map(Step::Kill),
        1 => Just(Step::Settle),
    ]
}

fn any_history() -> impl Strategy<Value = History> {
    let class = prop_oneof![
        1 => Just(None),
        6 => proptest::sample::select(&CLASSES[..]).prop_map(Some),
    ];
    (1..5usize, vec(class, 1..50), vec(any_step(), 1..30)).prop_map(
        |(processes, objects, steps)| History {
            processes,
            objects,
            steps,
        },
    )
}

/// How much was tried.
#[derive(Default)]
struct Tried {
    histories: AtomicUsize,
    objects: AtomicUsize,
    deliveries: AtomicUsize,
    faults: AtomicUsize,
}

/// Runs a history, then delivers every object until it is done, as a source would, and holds the
/// tables against what is known of the objects.
async fn run(history: &History, tried: &Tried) {
    let stack = Stack::with(Options {
        processes: history.processes,
        proxied: true,
        ..options()
    })
    .await;
    let mut reference = Reference::new();
    let mut versions = Vec::new();
    for (n, class) in history.objects.iter().enumerate() {
        let key = format!("{}.png", n % 20);
        versions.push(upload(&stack, &mut reference, &key, *class).await);
    }
    let stack = Arc::new(stack);
    let mut recorded = BTreeSet::new();
    let mut running: JoinSet<Vec<Value>> = JoinSet::new();
    for step in &history.steps {
        match step {
            Step::Deliver { objects, queue } => {
                let delivered: Vec<Version> = objects
                    .iter()
                    .map(|n| versions[n % versions.len()].clone())
                    .collect();
                tried
                    .deliveries
                    .fetch_add(delivered.len(), Ordering::Relaxed);
                let (stack, queue) = (Arc::clone(&stack), *queue);
                running.spawn(async move {
                    if queue {
                        deliver_as_messages(&stack, &delivered).await;
                        return Vec::new();
                    }
                    let answers = delivered.iter().map(|version| deliver(&stack, version));
                    join_all(answers).await.into_iter().flatten().collect()
                });
            }
            Step::Fault {
                operation,
                fault,
                count,
            } => {
                let proxy = match *operation {
                    "GetObject" => stack.s3_proxy(),
                    _ => stack.dynamodb_proxy(),
                };
                proxy.next(operation, *fault, *count);
            }
            Step::Chance { calls, seed } => {
                let faults: Vec<Fault> = Fault::WIRE
                    .into_iter()
                    .filter(|fault| *fault != Fault::Delay)
                    .collect();
                stack.s3_proxy().by_chance(*calls, &faults, *seed);
                stack.dynamodb_proxy().by_chance(*calls, &faults, !*seed);
            }
            Step::Kill(n) => {
                let processes = Vec::from_iter(stack.local.processes().ids());
                if !processes.is_empty() {
                    kill(processes[n % processes.len()]);
                }
            }
            Step::Settle => settle(&mut running, &mut recorded).await,
        }
    }
    settle(&mut running, &mut recorded).await;
    for proxy in [stack.s3_proxy(), stack.dynamodb_proxy()] {
        proxy.heal();
        let faults = proxy.faults().into_values().sum();
        tried.faults.fetch_add(faults, Ordering::Relaxed);
    }
    for version in &versions {
        let (outcome, _) = deliver_until_done(&stack, version).await;
        note(&outcome, &mut recorded);
    }
    promise::check(&stack, &reference).await;
    tried.histories.fetch_add(1, Ordering::Relaxed);
    tried.objects.fetch_add(versions.len(), Ordering::Relaxed);
    Arc::into_inner(stack).unwrap().stop().await;
}

async fn settle(running: &mut JoinSet<Vec<Value>>, recorded: &mut BTreeSet<String>) {
    while let Some(answers) = running.join_next().await {
        for answer in answers.unwrap() {
            note(&answer["outcomes"][0], recorded);
        }
    }
}

/// No object version is said to be recorded twice.
fn note(outcome: &Value, recorded: &mut BTreeSet<String>) {
    if outcome["outcome"] == "recorded" {
        let version = outcome["versionId"].as_str().unwrap();
        assert!(recorded.insert(version.to_owned()), "{outcome}");
    }
}

#[test]
fn any_history_ends_as_the_reference_says() {
    let config = Config {
        cases: 16,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let tried = Tried::default();
    let result = TestRunner::new(config).run(&any_history(), |history| {
        // A runtime for each, which takes the processes of a failed one with it.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(&history, &tried));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    println!(
        "{} histories: {} objects, {} deliveries and one more of each, {} faults",
        count(&tried.histories),
        count(&tried.objects),
        count(&tried.deliveries),
        count(&tried.faults)
    );
}
