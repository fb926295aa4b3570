//! Runs random histories and compares the tables with a reference. A history that fails is shrunk.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tokio::task::JoinSet;

use super::history::{History, Step, any_history, quick_wire_faults};
use crate::support::{
    command::kill,
    event::outcome,
    exclusive,
    promise::{self, Reference, Version, deliver, deliver_as_messages, deliver_until_done, upload},
    proxy::Proxy,
    stack::{Options, Stack},
};

#[test]
fn a_few_histories_end_as_the_reference_says() {
    histories_end_as_the_reference_says(2);
}

#[test]
#[ignore = "long: 16 histories"]
fn any_history_ends_as_the_reference_says() {
    histories_end_as_the_reference_says(16);
}

/// Counts the work of all histories.
#[derive(Default)]
struct Tally {
    histories: AtomicUsize,
    objects: AtomicUsize,
    deliveries: AtomicUsize,
    faults: AtomicUsize,
}

fn histories_end_as_the_reference_says(cases: u32) {
    let _turn = exclusive::blocking_turn();
    let config = Config {
        cases,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let tally = Tally::default();
    let result = TestRunner::new(config).run(&any_history(), |history| {
        // Each history has a runtime of its own. When it ends, the processes of a failed history end too.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run(&history, &tally));
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
    println!(
        "{} histories: {} objects, {} deliveries and one more of each, {} faults",
        count(&tally.histories),
        count(&tally.objects),
        count(&tally.deliveries),
        count(&tally.faults)
    );
}

/// A history that is running.
struct Run {
    stack: Arc<Stack>,
    versions: Vec<Version>,
    /// Deliveries that have not ended. Each returns the answers to events of one object.
    deliveries: JoinSet<Vec<Value>>,
    /// Ids of the versions that an answer called recorded.
    recorded: BTreeSet<String>,
}

/// Runs a history. Then delivers every object until it is done, as an event source does, and compares the tables
/// with the reference.
async fn run(history: &History, tally: &Tally) {
    let stack = Stack::with(Options {
        processes: history.processes,
        proxied: true,
        ..Options::invoked_by_hand()
    })
    .await;
    let mut reference = Reference::new();
    let mut versions = Vec::new();
    for (n, class) in history.objects.iter().enumerate() {
        let key = format!("{}.png", n % 20);
        versions.push(upload(&stack, &mut reference, &key, *class).await);
    }
    let mut run = Run {
        stack: Arc::new(stack),
        versions,
        deliveries: JoinSet::new(),
        recorded: BTreeSet::new(),
    };
    for step in &history.steps {
        run.step(step, tally).await;
    }
    run.end(&reference, tally).await;
}

impl Run {
    async fn step(&mut self, step: &Step, tally: &Tally) {
        match step {
            Step::Deliver { objects, queue } => {
                let versions = objects
                    .iter()
                    .map(|n| &self.versions[n % self.versions.len()]);
                let versions: Vec<Version> = versions.cloned().collect();
                tally
                    .deliveries
                    .fetch_add(versions.len(), Ordering::Relaxed);
                self.deliver(versions, *queue);
            }
            Step::Fault {
                operation,
                fault,
                count,
            } => self
                .stack
                .proxy_of(operation)
                .next(operation, *fault, *count),
            Step::Chance { calls, seed } => {
                for (proxy, seed) in self.stack.proxies().iter().zip([*seed, !*seed]) {
                    proxy.by_chance(*calls, &quick_wire_faults(), seed);
                }
            }
            Step::Kill(n) => {
                let processes = self.stack.processes();
                if !processes.is_empty() {
                    kill(processes[n % processes.len()]);
                }
            }
            Step::Settle => self.settle().await,
        }
    }

    /// Starts the delivery of `versions`.
    fn deliver(&mut self, versions: Vec<Version>, queue: bool) {
        let stack = Arc::clone(&self.stack);
        self.deliveries.spawn(async move {
            if queue {
                // SQS's answer has no outcomes.
                deliver_as_messages(&stack, &versions).await;
                return Vec::new();
            }
            let answers = versions.iter().map(|version| deliver(&stack, version));
            // A failed event is delivered again at the end of the history.
            join_all(answers).await.into_iter().flatten().collect()
        });
    }

    /// Waits for the end of all deliveries.
    async fn settle(&mut self) {
        while let Some(answers) = self.deliveries.join_next().await {
            for answer in answers.unwrap() {
                self.note(outcome(&answer));
            }
        }
    }

    /// Fails if an object version is recorded twice.
    fn note(&mut self, outcome: &Value) {
        if outcome["outcome"] == "recorded" {
            let version = outcome["versionId"].as_str().unwrap();
            assert!(
                self.recorded.insert(version.to_owned()),
                "recorded twice: {outcome}"
            );
        }
    }

    async fn end(mut self, reference: &Reference, tally: &Tally) {
        self.settle().await;
        self.stack.proxies().iter().for_each(Proxy::heal);
        for version in self.versions.clone() {
            let (outcome, _) = deliver_until_done(&self.stack, &version).await;
            self.note(&outcome);
        }
        promise::check(&self.stack, reference).await;
        let faults = self
            .stack
            .proxies()
            .iter()
            .map(|proxy| proxy.faults().into_values().sum::<usize>());
        tally.faults.fetch_add(faults.sum(), Ordering::Relaxed);
        tally.histories.fetch_add(1, Ordering::Relaxed);
        tally
            .objects
            .fetch_add(self.versions.len(), Ordering::Relaxed);
        let stack = Arc::into_inner(self.stack).expect("no delivery is running");
        stack.stop().await;
    }
}
