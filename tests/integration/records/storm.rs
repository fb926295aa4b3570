//! Many people and many deliveries at once, with faults and kills at random.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use moth_classifier::{aws::Deadline, ledger::Ledger};
use serde_json::Value;
use tokio::{io::AsyncReadExt, task::JoinSet};

use super::run;
use crate::support::{
    command::{BINARY, kill, root, stdout},
    exclusive,
    photo::CLASSES,
    promise::{Reference, Version, deliver, deliver_until_done, upload},
    proxy::{Fault, Proxy},
    random, reviews,
    stack::{Options, Stack},
};

/// The size of a storm.
struct Storm {
    photos: usize,
    /// Changes and deliveries by each client.
    steps: usize,
}

/// Clients that work at once.
const CLIENTS: usize = 8;
/// One call in this number fails: 5 %.
const CALLS_PER_FAULT: u64 = 20;
/// One client in this number is killed while it changes a record.
const CHANGES_PER_KILL: u64 = 8;
/// A killed client lives up to this long, in milliseconds. It takes about 50 to change a record.
const LIFE: u64 = 60;

/// What clients did.
#[derive(Default)]
struct Tally {
    changes: AtomicUsize,
    refused: AtomicUsize,
    killed: AtomicUsize,
    deliveries: AtomicUsize,
    /// Notes of the changes that a client said to have made.
    notes: Mutex<Vec<String>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_storm_of_reviews_leaves_nothing_to_repair() {
    Storm {
        photos: 12,
        steps: 8,
    }
    .run()
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 1,200 changes"]
async fn a_storm_of_reviews_leaves_nothing_to_repair() {
    // Few photos: clients meet at most of them.
    Storm {
        photos: 40,
        steps: 150,
    }
    .run()
    .await;
}

impl Storm {
    async fn run(&self) {
        let _turn = exclusive::turn().await;
        let started = Instant::now();
        let stack = Stack::with(Options {
            processes: 2,
            proxied: true,
            ..Options::invoked_by_hand()
        })
        .await;
        let mut random = random::generator();
        let mut reference = Reference::new();
        let mut photos = Vec::new();
        let mut classes = BTreeMap::new();
        for n in 0..self.photos {
            let class = CLASSES[n % CLASSES.len()];
            let version = upload(&stack, &mut reference, &format!("{n}.png"), Some(class)).await;
            classes.insert(reviews::id(&version), class);
            photos.push(version);
        }
        // A kill ends the processes of the function. Clients are killed in `Client::change`.
        let faults = [&Fault::WIRE[..], &Fault::KILLS].concat();
        let faults: Vec<Fault> = faults
            .into_iter()
            .filter(|fault| *fault != Fault::Delay)
            .collect();
        for proxy in stack.proxies() {
            proxy.by_chance(CALLS_PER_FAULT, &faults, random.u64(..));
        }
        let stack = Arc::new(stack);
        let tally = Arc::new(Tally::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let worker = Client {
                name: format!("client-{client}"),
                stack: Arc::clone(&stack),
                photos: photos.clone(),
                random: Rng::with_seed(random.u64(..)),
                tally: Arc::clone(&tally),
            };
            clients.spawn(worker.work(self.steps));
        }
        let mut audits = 0;
        loop {
            tokio::select! {
                client = clients.join_next() => match client {
                    Some(client) => client.unwrap(),
                    None => break,
                },
                // Nothing is wrong at any time, although clients change what the audit reads.
                audit = run(&stack, &["audit"]) => {
                    audits += 1;
                    assert!(audit.status.success(), "{}", stdout(&audit));
                }
            }
        }
        stack.proxies().iter().for_each(Proxy::heal);
        for version in &photos {
            deliver_until_done(&stack, version).await;
        }
        let audit = run(&stack, &["audit"]).await;
        assert!(audit.status.success(), "{}", stdout(&audit));
        let notes = reviews::check(&stack, &classes).await;
        for note in tally.notes.lock().unwrap().iter() {
            assert!(notes.contains(note), "{note} is lost");
        }
        let count = |of: &AtomicUsize| of.load(Ordering::Relaxed);
        println!(
            "{} changes of {} photos by {CLIENTS} clients ({} refused, {} killed, {} in the histories), {} deliveries, {} faults, {audits} audits meanwhile, {:.0} s",
            count(&tally.changes),
            self.photos,
            count(&tally.refused),
            count(&tally.killed),
            notes.len(),
            count(&tally.deliveries),
            stack
                .proxies()
                .iter()
                .flat_map(|proxy| proxy.faults().into_values())
                .sum::<usize>(),
            started.elapsed().as_secs_f64(),
        );
        let stack = Arc::into_inner(stack).expect("every client has ended");
        stack.stop().await;
    }
}

/// A person, or a program of a person.
struct Client {
    name: String,
    stack: Arc<Stack>,
    photos: Vec<Version>,
    random: Rng,
    tally: Arc<Tally>,
}

impl Client {
    async fn work(mut self, steps: usize) {
        for step in 0..steps {
            let version = self.random.choice(&self.photos).unwrap().clone();
            if self.random.u8(..4) == 0 {
                self.tally.deliveries.fetch_add(1, Ordering::Relaxed);
                // A delivery that fails is made again at the end.
                let _ = deliver(&self.stack, &version).await;
                continue;
            }
            self.change(&reviews::id(&version), step).await;
        }
    }

    /// Changes a record, with a note that nobody else has. The client may be killed meanwhile.
    async fn change(&mut self, id: &str, step: usize) {
        let changes: [&[&str]; 8] = [
            &["review", "--confirm"],
            &["review", "--class", "AAW"],
            &["review", "--class", "FAW"],
            &["review", "--unknown"],
            &["review", "--not-a-moth"],
            &["review", "--withdraw"],
            &["delete"],
            &["restore"],
        ];
        let change = changes[self.random.usize(..changes.len())];
        let note = format!("{} {step}", self.name);
        // Without a revision, nobody changes what another one reviewed.
        let mut options = Vec::new();
        if self.random.bool() {
            let ledger = Ledger::new(
                self.stack.dynamodb.clone(),
                "predictions".into(),
                "ledger".into(),
            );
            let deadline = Deadline::after(Duration::from_secs(30));
            if let Ok(history) = ledger.history(id.parse().unwrap(), deadline).await {
                options = vec!["--revision".to_owned(), history.len().to_string()];
            }
        }
        let dynamodb = format!("http://{}", self.stack.dynamodb_proxy().address());
        let mut command = tokio::process::Command::new(BINARY);
        command
            .args(change)
            .args([id, "--json", "--by", &self.name, "--note", &note])
            .args(options)
            .args(["--predictions", "predictions", "--ledger", "ledger"])
            .current_dir(root())
            .env("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local-secret")
            .env("AWS_REGION", "us-east-1")
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut output = process.stdout.take().unwrap();
        self.tally.changes.fetch_add(1, Ordering::Relaxed);
        if self.random.u64(..CHANGES_PER_KILL) == 0 {
            let life = Duration::from_millis(self.random.u64(..LIFE));
            if tokio::time::timeout(life, process.wait()).await.is_err() {
                kill(process.id().unwrap());
                self.tally.killed.fetch_add(1, Ordering::Relaxed);
            }
        }
        let mut text = String::new();
        output.read_to_string(&mut text).await.unwrap();
        process.wait().await.unwrap();
        // A killed client says nothing.
        let Some(line) = text.lines().next() else {
            return;
        };
        let said: Value = serde_json::from_str(line).unwrap();
        match said["changed"].as_bool().unwrap() {
            true => self.tally.notes.lock().unwrap().push(note),
            false => drop(self.tally.refused.fetch_add(1, Ordering::Relaxed)),
        }
    }
}
