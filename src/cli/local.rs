//! `local PATH…`

mod log;

use std::{
    collections::{BTreeMap, HashSet},
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use aws_sdk_s3::primitives::ByteStream;
use clap::Args;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};

use super::{
    config,
    files::{self, File},
    interrupted,
    table::{Column, Table},
};
use crate::{
    classifier,
    config::Config,
    error::chain,
    event,
    local::{
        self, BUCKET, CREDENTIALS, Delivery, Events, Local, LocalError, REGION, Settings,
        lambda::FUNCTION, url,
    },
    manifest::Manifest,
    object::{ObjectVersion, VersionId},
    outcome::{Outcome, Report},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Files and folders to put into the bucket; folders with all below them, but for names that
    /// begin with a dot
    #[arg(required_unless_present = "serve", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Keep running afterwards, for the AWS CLI and SDKs; Ctrl-C stops
    #[arg(long)]
    serve: bool,
    /// Keep objects and tables in this folder between runs
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port of S3; DynamoDB and Lambda have the two after it [default: 9000 with --serve, else any]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65533))]
    port: Option<u16>,
    /// How many processes of the function run at once [default: one for each CPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Option<u16>,
    /// Start this as the function instead of this binary: a script that runs the image, for instance
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
}

/// The function's answer.
#[derive(Deserialize)]
struct Response {
    outcomes: Vec<Report>,
}

/// How long the function may work on one event.
const TIMEOUT: Duration = Duration::from_secs(60);
/// S3's port with --serve, where none is given.
const PORT: u16 = 9000;
/// Objects put, for each process of the function, before their outcomes are there: enough that none
/// waits for the next, few enough that uploads and outcomes go hand in hand.
const AHEAD: usize = 4;

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    log::start();
    let config = config()?;
    let files = match arguments.paths.as_slice() {
        [] => Vec::new(),
        paths => files::find(paths)?,
    };
    check_model(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(arguments, config, files))
}

/// The function would say the same, but in its log.
fn check_model(config: &Config) -> anyhow::Result<()> {
    let manifest = Manifest::read(&config.model_dir)?;
    Ok(classifier::check_hash(
        &config.model_dir.join(&manifest.file),
        &manifest.sha256,
    )?)
}

async fn serve(
    arguments: Arguments,
    mut config: Config,
    files: Vec<File>,
) -> anyhow::Result<ExitCode> {
    // The function need not be started where we were.
    config.model_dir = std::path::absolute(&config.model_dir)?;
    let (folder, temporary) = match &arguments.data {
        Some(folder) => {
            local::make_folder(folder)?;
            (std::path::absolute(folder)?, None)
        }
        None => {
            let temporary = tempfile::Builder::new()
                .prefix("moth-classifier-")
                .tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let concurrency = arguments.concurrency.map_or(config.cpus, usize::from);
    // Sandboxes share the CPUs.
    config.cpus = (config.cpus / concurrency).max(1);
    let port = arguments
        .port
        .unwrap_or(if arguments.serve { PORT } else { 0 });
    let bootstrap = match &arguments.bootstrap {
        Some(file) => file
            .canonicalize()
            .with_context(|| format!("cannot find {}", file.display()))?,
        None => std::env::current_exe().context("cannot find this binary")?,
    };
    let settings = Settings {
        config,
        folder,
        port,
        concurrency,
        bootstrap,
        timeout: TIMEOUT,
        notify: true,
        between: None,
    };
    let (local, events) = Local::start(settings).await?;
    if arguments.serve {
        print_endpoints(&local, arguments.json)?;
    }
    let ended = tokio::select! {
        ended = watch(&arguments, &local, files, AHEAD * concurrency, events) => ended,
        interrupted = interrupted() => interrupted.map(|()| match arguments.serve {
            true => ExitCode::SUCCESS,
            // What a shell makes of a process that SIGINT ended.
            false => ExitCode::from(130),
        }),
    };
    local.stop().await;
    let unstarted =
        |error: &anyhow::Error| matches!(error.downcast_ref(), Some(LocalError::Function { .. }));
    if let (Err(error), Some(temporary)) = (&ended, temporary)
        && unstarted(error)
    {
        let _ = temporary.keep(); // the error points at the log in it
    }
    ended
}

/// Uploads `files` and shows every outcome, until each of them has its own and, with --serve, on.
async fn watch(
    arguments: &Arguments,
    local: &Local,
    files: Vec<File>,
    ahead: usize,
    mut events: Events,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut show = Show::new(arguments, &files)?;
    let mut open = files.len();
    let mut uploading = files.len();
    let gate = Arc::new(Semaphore::new(ahead));
    let mut uploads = upload(local.clients().0, files, Arc::clone(&gate));
    // Uploaded and without an outcome; and the other way round, where the outcome was faster.
    let (mut waiting, mut early) = (HashSet::new(), HashSet::new());

    loop {
        let mut settled = 0;
        tokio::select! {
            Some(upload) = uploads.recv() => {
                uploading -= 1;
                match upload {
                    Ok(object) if early.remove(&object) => settled = 1,
                    Ok(object) => drop(waiting.insert(object)),
                    Err((object, reason)) => {
                        show.report(&Report::failed(&object, reason))?;
                        settled = 1;
                    }
                }
            }
            Some(delivery) = events.deliveries.recv() => {
                for (object, report) in reports(delivery)? {
                    show.report(&report)?;
                    if waiting.remove(&object) {
                        settled += 1;
                    } else if uploading > 0 {
                        early.insert(object);
                    }
                }
            }
            Some(failure) = events.failure.recv() => return Err(failure.into()),
        }
        gate.add_permits(settled);
        open -= settled;
        if open == 0 && settled > 0 {
            show.summary(started.elapsed())?;
        }
        if open == 0 && !arguments.serve {
            return Ok(show.exit_code());
        }
    }
}

type Upload = Result<ObjectVersion, (ObjectVersion, String)>;

/// Puts `files` into the bucket, no more at once than `gate` has permits. The one who reads the
/// uploads gives a permit back for each.
fn upload(
    client: aws_sdk_s3::Client,
    files: Vec<File>,
    gate: Arc<Semaphore>,
) -> mpsc::UnboundedReceiver<Upload> {
    let (sender, uploads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for file in files {
            // The gate is never closed.
            let Ok(permit) = gate.acquire().await else {
                return;
            };
            permit.forget();
            let (client, sender) = (client.clone(), sender.clone());
            tokio::spawn(async move { sender.send(put(&client, file).await) });
        }
    });
    uploads
}

async fn put(client: &aws_sdk_s3::Client, file: File) -> Upload {
    let mut object = ObjectVersion {
        bucket: BUCKET.into(),
        key: file.key,
        version: None,
    };
    let body = match ByteStream::from_path(&file.path).await {
        Ok(body) => body,
        Err(error) => return Err((object, format!("cannot read the file: {}", chain(&error)))),
    };
    match client
        .put_object()
        .bucket(BUCKET)
        .key(&object.key)
        .body(body)
        .send()
        .await
    {
        Ok(put) => {
            object.version = put.version_id.and_then(VersionId::new);
            Ok(object)
        }
        Err(error) => Err((object, format!("cannot upload: {}", chain(&error)))),
    }
}

/// The outcome of each object of an event.
fn reports(delivery: Delivery) -> anyhow::Result<Vec<(ObjectVersion, Report)>> {
    let parts = event::parse(&delivery.event, REGION).parts.into_iter();
    let objects = parts
        .flat_map(|part| part.objects)
        .map(|created| Ok(created?.object))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(match delivery.answer {
        Ok(answer) => {
            let Response { outcomes } = serde_json::from_value(answer)?;
            objects.into_iter().zip(outcomes).collect()
        }
        Err(reason) => objects
            .into_iter()
            .map(|object| {
                let report = Report::failed(&object, reason.clone());
                (object, report)
            })
            .collect(),
    })
}

/// Shows outcomes and keeps their tally.
struct Show {
    table: Option<Table>,
    tally: BTreeMap<&'static str, usize>,
    /// The last ordinal of each day and class.
    counts: BTreeMap<(String, String), u64>,
}

impl Show {
    fn new(arguments: &Arguments, files: &[File]) -> anyhow::Result<Self> {
        let columns = vec![
            Column::left("outcome", "duplicate".len()),
            Column::names("file", files.iter().map(|file| file.key.as_str())),
            Column::left("class", 5),
            Column::right("probability", 0),
            Column::left("date", "2026-11-20".len()),
            Column::right("count", 5),
            Column::left("reason", 0),
        ];
        let table = match arguments.json {
            true => None,
            false => Some(Table::new(columns, files.len())?),
        };
        Ok(Self {
            table,
            tally: BTreeMap::new(),
            counts: BTreeMap::new(),
        })
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        *self.tally.entry(report.outcome.as_str()).or_default() += 1;
        if let (Some(date), Some(class), Some(count)) =
            (&report.date, &report.class_name, report.count)
        {
            let last = self
                .counts
                .entry((date.clone(), class.clone()))
                .or_default();
            *last = count.max(*last);
        }
        let Some(table) = &self.table else {
            let mut line = serde_json::to_string(report)?;
            line.push('\n');
            return io::stdout().write_all(line.as_bytes());
        };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        table.row(&[
            report.outcome.as_str(),
            &report.key,
            &text(&report.class_name),
            &report
                .probability
                .map(|probability| format!("{probability:.3}"))
                .unwrap_or_default(),
            &text(&report.date),
            &report
                .count
                .map(|count| count.to_string())
                .unwrap_or_default(),
            &text(&report.reason),
        ])
    }

    fn summary(&self, elapsed: Duration) -> io::Result<()> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        table.finish();
        let mut stdout = io::stdout().lock();
        let total: usize = self.tally.values().sum();
        let tally: Vec<String> = self
            .tally
            .iter()
            .map(|(word, n)| format!("{n} {word}"))
            .collect();
        let seconds = elapsed.as_secs_f64();
        let pace = total as f64 / seconds;
        writeln!(
            stdout,
            "\n{} in {seconds:.1} s, {pace:.1} a second",
            tally.join(", ")
        )?;
        for ((date, class), count) in &self.counts {
            writeln!(stdout, "{date}  {class}: {count}")?;
        }
        Ok(())
    }

    fn exit_code(&self) -> ExitCode {
        match self.tally.contains_key(Outcome::Failed.as_str()) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}

/// What a person can try while it runs; on standard error where standard output is for a program.
fn print_endpoints(local: &Local, json: bool) -> io::Result<()> {
    let endpoints = local.endpoints();
    let (s3, dynamodb, lambda) = (
        url(endpoints.s3),
        url(endpoints.dynamodb),
        url(endpoints.lambda),
    );
    let (id, secret) = CREDENTIALS;
    let text = format!(
        "S3        {s3}  bucket {BUCKET}
DynamoDB  {dynamodb}  tables predictions, ledger
Lambda    {lambda}  function {FUNCTION}

export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={REGION}
aws --endpoint-url {s3} s3 cp photo.jpg s3://{BUCKET}/
aws --endpoint-url {s3} s3api list-object-versions --bucket {BUCKET}
aws --endpoint-url {dynamodb} dynamodb scan --table-name predictions

Ctrl-C stops it.

"
    );
    match json {
        true => io::stderr().write_all(text.as_bytes()),
        false => io::stdout().write_all(text.as_bytes()),
    }
}
