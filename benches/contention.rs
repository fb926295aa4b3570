//! Cost of a burst in one class: concurrent writers commit to the counter of one day and class.
//!
//!     cargo bench --bench contention
//!
//! Each writer stands for a function instance. It commits its share of the photos in groups of k, through the
//! real SDK, to the embedded table. A proxy adds the latency of a DynamoDB call and answers a fixed share of the
//! transactions with TransactionConflict. Attempts and write units do not depend on the machine; the time to
//! drain does.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../tests/support/proxy.rs"]
#[allow(dead_code, unreachable_pub, reason = "tests use the rest")]
mod proxy;

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use chrono_tz::Africa::Lagos;
use clap::Parser;
use moth_classifier::{
    aws::Deadline,
    capture::{Capture, CaptureSource},
    config::FunctionConfig,
    http::ApiKeys,
    ledger::{Ledger, Written},
    local::{Local, Settings, api, tables},
    model::{Label, Probabilities},
    object::{ObjectCreated, ObjectVersion, VersionId},
    prediction::{PhotoFile, Prediction},
};
use proxy::{Fault, Proxy};
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

#[derive(Parser)]
struct Arguments {
    /// Photos in each row
    #[arg(long, default_value_t = 500)]
    photos: usize,
    /// Latency of a DynamoDB call, in milliseconds
    #[arg(long, default_value_t = 10)]
    latency: u64,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// `cargo bench` passes this
    #[arg(long, hide = true)]
    bench: bool,
}

/// Numbers of concurrent writers.
const WRITERS: [usize; 4] = [1, 4, 16, 64];
/// Photos in one commit: that of a direct event, and that of a queue's batch.
const GROUPS: [usize; 2] = [1, 10];
/// One in so many transactions meets a random conflict. 0 means none.
const CONFLICT_ONE_IN: [u64; 2] = [0, 5];

#[derive(Serialize)]
struct Row {
    k: usize,
    writers: usize,
    conflict_one_in: u64,
    commits: usize,
    attempts_per_commit: f64,
    write_units_per_photo: f64,
    photos_per_second: f64,
    seconds: f64,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let _ = arguments.bench;
    if !arguments.json {
        println!(
            "{} photos, {} ms a call\n",
            arguments.photos, arguments.latency
        );
        println!(
            "  k  writers  conflicts  attempts a commit  write units a photo  photos a second  seconds"
        );
    }
    for one_in in CONFLICT_ONE_IN {
        for writers in WRITERS {
            for k in GROUPS {
                let row = measure(&arguments, k, writers, one_in).await;
                show(&row, arguments.json).unwrap();
            }
        }
    }
}

async fn measure(arguments: &Arguments, k: usize, writers: usize, one_in: u64) -> Row {
    let folder = tempfile::tempdir().unwrap();
    let (local, _events) = Local::start(settings(folder.path())).await.unwrap();
    let proxy = Proxy::listen().await;
    proxy.connect(local.endpoints().dynamodb, || ());
    proxy.latency(Duration::from_millis(arguments.latency));
    if one_in > 0 {
        // Reads cannot conflict: the proxy passes them.
        proxy.by_chance(one_in, &[Fault::Conflict], 1);
    }
    let client = local.clients().1;
    let through_proxy = client.config().to_builder();
    let through_proxy = through_proxy.endpoint_url(format!("http://{}", proxy.address()));
    let client = aws_sdk_dynamodb::Client::from_conf(through_proxy.build());
    let names = tables();
    let ledger = Ledger::new(client, names.predictions, names.ledger);

    let labels: Arc<[Label]> = [Label::try_from("FAW".to_owned()).unwrap()].into();
    let predictions: Vec<Prediction> = (0..arguments.photos)
        .map(|n| prediction(n, &labels))
        .collect();
    let mut groups: Vec<Vec<Prediction>> = predictions.chunks(k).map(<[_]>::to_vec).collect();
    let commits = groups.len();
    let deadline = Deadline::after(Duration::from_secs(900));
    let started = Instant::now();
    let mut at_once = JoinSet::new();
    for writer in 0..writers {
        let share = groups.split_off(groups.len() - groups.len() / (writers - writer));
        let ledger = ledger.clone();
        at_once.spawn(async move {
            for group in share {
                let group: Vec<&Prediction> = group.iter().collect();
                let mut committed = ledger.commit(&group, deadline).await;
                for prediction in group {
                    let written = committed.take(prediction.id);
                    assert!(matches!(written, Ok(Written::Now(_))), "{written:?}");
                }
            }
        });
    }
    at_once.join_all().await;
    let seconds = started.elapsed().as_secs_f64();
    local.stop().await;

    let attempts = proxy.calls()["TransactWriteItems"];
    let photos = predictions.len() as f64;
    Row {
        k,
        writers,
        conflict_one_in: one_in,
        commits,
        attempts_per_commit: attempts as f64 / commits as f64,
        // Two units for each item of a transaction, even if it is cancelled.
        write_units_per_photo: (attempts * 2 * (2 * k + 2)) as f64 / photos,
        photos_per_second: photos / seconds,
        seconds,
    }
}

/// The services, without the function.
fn settings(folder: &std::path::Path) -> Settings {
    Settings {
        api: api(ApiKeys::default()),
        config: FunctionConfig::read_with_tables(tables(), |_| None).unwrap(),
        folder: folder.to_owned(),
        port: 0,
        concurrency: 0,
        bootstrap: env!("CARGO_BIN_EXE_moth-classifier").into(),
        timeout: Duration::from_secs(60),
        notify: false,
        proxies: None,
    }
}

fn prediction(n: usize, labels: &Arc<[Label]>) -> Prediction {
    let object = ObjectVersion {
        bucket: "moths".into(),
        key: format!("camera 7/{n}.jpg"),
        version: VersionId::new(Uuid::new_v4().simple().to_string()),
    };
    let now = Utc::now();
    let created = ObjectCreated::new(object, "eu-west-1".into(), None);
    Prediction {
        id: created.id.unread(),
        created,
        probabilities: Probabilities::new(Arc::clone(labels), vec![1.0]).unwrap(),
        model_version: "d53b8b1f68a1".into(),
        class: labels[0].clone(),
        waits_for_review: false,
        capture: Capture {
            at: now.fixed_offset(),
            source: CaptureSource::Upload,
            doubt: None,
            night: now.date_naive(),
            station: None,
            camera: None,
            position: None,
        },
        file: PhotoFile {
            width: 500,
            height: 500,
            bytes: 100_000,
            sha256: [0; 32],
        },
        uploaded: now.with_timezone(&Lagos),
        predicted_at: now,
    }
}

fn show(row: &Row, json: bool) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        return writeln!(stdout, "{}", serde_json::to_string(row)?);
    }
    let conflicts = match row.conflict_one_in {
        0 => "none".to_owned(),
        n => format!("1 in {n}"),
    };
    writeln!(
        stdout,
        "{:>3} {:>8} {conflicts:>10} {:>18.2} {:>20.1} {:>16.0} {:>8.1}",
        row.k,
        row.writers,
        row.attempts_per_commit,
        row.write_units_per_photo,
        row.photos_per_second,
        row.seconds
    )
}
