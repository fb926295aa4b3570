//! Many people at once over HTTP, with faults on the wire and kills of the server.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use fastrand::Rng;
use serde_json::json;

use crate::{
    records::run,
    support::{
        api::{Api, Client},
        command::stdout,
        exclusive,
        photo::CLASSES,
        promise::{Reference, deliver, upload},
        proxy::{Fault, Proxy},
        random, reviews,
        stack::{Options, Stack},
    },
};

/// People at once.
const CLIENTS: usize = 8;
/// One call in this number fails: 5 %.
const CALLS_PER_FAULT: u64 = 20;
/// The server is killed before one request in this number.
const REQUESTS_PER_KILL: u64 = 60;

#[tokio::test(flavor = "multi_thread")]
async fn changes_over_http_leave_nothing_to_repair() {
    storm(12, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 800 changes"]
async fn a_storm_of_changes_over_http_leaves_nothing_to_repair() {
    storm(30, 100).await;
}

async fn storm(number: usize, steps: usize) {
    let _turn = exclusive::turn().await;
    let stack = Stack::with(Options {
        proxied: true,
        ..Options::invoked_by_hand()
    })
    .await;
    let mut random = random::generator();
    let mut reference = Reference::new();
    let (mut ids, mut classes) = (Vec::new(), BTreeMap::new());
    for n in 0..number {
        let class = CLASSES[n % CLASSES.len()];
        let version = upload(&stack, &mut reference, &format!("{n}.png"), Some(class)).await;
        deliver(&stack, &version).await.unwrap();
        ids.push(reviews::id(&version));
        classes.insert(reviews::id(&version), class);
    }
    let faults: Vec<Fault> = Fault::WIRE
        .into_iter()
        .filter(|fault| *fault != Fault::Delay)
        .collect();
    stack
        .dynamodb_proxy()
        .by_chance(CALLS_PER_FAULT, &faults, random.u64(..));
    let api = RwLock::new(Api::of_stack(&stack, &[]));
    let (done, refused, lost, kills) = (
        Mutex::new(Vec::new()),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let seeds: Vec<u64> = (0..CLIENTS).map(|_| random.u64(..)).collect();
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for (client, seed) in seeds.into_iter().enumerate() {
                let (api, ids, done, refused, lost, kills, stack) =
                    (&api, &ids, &done, &refused, &lost, &kills, &stack);
                scope.spawn(move || {
                    let mut random = Rng::with_seed(seed);
                    for step in 0..steps {
                        if random.u64(..REQUESTS_PER_KILL) == 0 {
                            // Requests in flight are cut off.
                            api.read().unwrap().signal("-KILL");
                            *api.write().unwrap() = Api::of_stack(stack, &[]);
                            add(kills);
                        }
                        let note = format!("{client} {step}");
                        let base = api.read().unwrap().address.clone();
                        let person = Client::new(&format!("http://{base}"), None);
                        match change(&person, random.choice(ids).unwrap(), &note, &mut random) {
                            Some(200) => done.lock().unwrap().push(note),
                            Some(404 | 409 | 410 | 412 | 422) => add(refused),
                            // The change may have been made, or not.
                            Some(500 | 503 | 504) | None => add(lost),
                            Some(status) => panic!("{status}"),
                        }
                    }
                });
            }
        });
    });
    stack.proxies().iter().for_each(Proxy::heal);
    let audit = run(&stack, &["audit"]).await;
    assert!(audit.status.success(), "{}", stdout(&audit));
    let notes = reviews::check(&stack, &classes).await;
    let done = done.into_inner().unwrap();
    for note in &done {
        assert!(notes.contains(note), "{note} is lost");
    }
    println!(
        "{} changes made, {} in the histories, {} refused, {} without answer, {} kills, {} faults",
        done.len(),
        notes.len(),
        refused.into_inner(),
        lost.into_inner(),
        kills.into_inner(),
        stack.dynamodb_proxy().faults().into_values().sum::<usize>()
    );
}

fn add(number: &AtomicUsize) {
    number.fetch_add(1, Ordering::Relaxed);
}

/// Changes a record. The status of the change; `None` if the connection was cut.
fn change(api: &Client, id: &str, note: &str, random: &mut Rng) -> Option<u16> {
    let revision = match random.bool() {
        true => {
            let record = api.try_send("GET", &format!("/v1/records/{id}/history"), &[], &[])?;
            match record.status {
                200 => Some(record.json()["history"].as_array().unwrap().len()),
                status => return Some(status),
            }
        }
        false => None,
    };
    let actions = [
        "confirm", "relabel", "unknown", "withdraw", "delete", "restore",
    ];
    let action = random.choice(actions).unwrap();
    let mut change = json!({"id": id, "action": action, "note": note, "revision": revision});
    if action == "relabel" {
        change["className"] = json!(random.choice(["AAW", "FAW", "NOT_A_MOTH"]).unwrap());
    }
    let body = json!({"changes": [change]}).to_string();
    let headers = [("content-type", "application/json")];
    let answer = api.try_send("POST", "/v1/reviews", &headers, body.as_bytes())?;
    match answer.status {
        200 => Some(answer.json()["items"][0]["status"].as_u64().unwrap() as u16),
        status => Some(status),
    }
}
