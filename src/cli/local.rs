//! `local PATH…`

mod api;
mod log;
mod show;
mod upload;

use std::{
    collections::HashSet,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use tokio::sync::Semaphore;

use self::{
    api::ServedApi,
    show::{Photo, Show},
    upload::upload,
};
use super::{
    files::{self, File},
    interrupted,
};
use crate::{
    config::{ApiConfig, FunctionConfig},
    cpus::share,
    event,
    local::{
        self, BUCKET, CREDENTIALS, Delivery, Events, Local, LocalError, REGION, Settings,
        lambda::FUNCTION, tables, url,
    },
    model::{Manifest, ModelError, check_hash},
    object::ObjectVersion,
    respond::read_outcomes,
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Files and folders to upload. Folders are read recursively, without names that begin with a dot. The key of a file
    /// is its path below the folder: name the folder that has those of the stations
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
    /// Port of S3; DynamoDB, Lambda and the HTTP API have the three after it [default: 9000 with --serve, else any]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=65532))]
    port: Option<u16>,
    /// Number of function instances that run at once [default: one for each CPU]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: Option<u16>,
    /// Start this program as the function instead of this binary, such as a script that runs the image
    #[arg(long, value_name = "FILE")]
    bootstrap: Option<PathBuf>,
}

/// Time limit of an invocation.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Default port of S3 with --serve.
const PORT: u16 = 9000;
/// The HTTP API has the port of S3 and this number.
const API_OFFSET: u16 = 3;
/// Uploaded photos without outcome, for each function instance: enough that no instance waits for an upload,
/// and few enough that uploads and outcomes advance together.
const AHEAD: usize = 4;

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    log::start();
    let config = FunctionConfig::read_with_tables(tables(), |name| std::env::var_os(name))?;
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

/// Checks the model's files. The function would report the same error, but in its log.
fn check_model(config: &FunctionConfig) -> Result<(), ModelError> {
    let folder = &config.compute.model_dir;
    let manifest = Manifest::read(folder)?;
    check_hash(&folder.join(&manifest.file), &manifest.sha256)
}

async fn serve(
    arguments: Arguments,
    mut config: FunctionConfig,
    files: Vec<File>,
) -> anyhow::Result<ExitCode> {
    // A function instance may run in another folder.
    config.compute.model_dir = std::path::absolute(&config.compute.model_dir)?;
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
    let cpus = config.compute.cpus;
    let concurrency = arguments.concurrency.map_or(cpus, usize::from);
    config.compute.cpus = share(cpus, concurrency);
    let port = arguments
        .port
        .unwrap_or(if arguments.serve { PORT } else { 0 });
    let bootstrap = match &arguments.bootstrap {
        Some(file) => file
            .canonicalize()
            .with_context(|| format!("cannot find {}", file.display()))?,
        None => std::env::current_exe().context("cannot find this binary")?,
    };
    let keys = ApiConfig::read(|name| std::env::var_os(name))?.keys;
    let settings = Settings {
        config: config.clone(),
        api: local::api(keys.clone()),
        folder,
        port,
        concurrency,
        bootstrap,
        timeout: TIMEOUT,
        notify: true,
        proxies: None,
    };
    let (local, events) = Local::start(settings).await?;
    let _api = match arguments.serve {
        true => {
            let api = ServedApi::start(&config, keys, &local, port + API_OFFSET).await?;
            print_endpoints(&local, &api, arguments.json)?;
            Some(api)
        }
        false => None,
    };
    let ended = tokio::select! {
        ended = watch(&arguments, &local, files, AHEAD * concurrency, events) => ended,
        interrupted = interrupted() => interrupted.map(|()| match arguments.serve {
            true => ExitCode::SUCCESS,
            // The exit code by which a shell reports SIGINT.
            false => ExitCode::from(130),
        }),
    };
    local.stop().await;
    let does_not_start =
        |error: &anyhow::Error| matches!(error.downcast_ref(), Some(LocalError::Function { .. }));
    if let (Err(error), Some(temporary)) = (&ended, temporary)
        && does_not_start(error)
    {
        // Keeps the folder: the error names the log in it.
        let _path = temporary.keep();
    }
    ended
}

/// Uploads `files` and shows every outcome, until each file has one; with --serve until it is interrupted.
async fn watch(
    arguments: &Arguments,
    local: &Local,
    files: Vec<File>,
    ahead: usize,
    mut events: Events,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut show = Show::new(arguments.json, &files)?;
    let mut open = files.len();
    let mut uploading = files.len();
    let gate = Arc::new(Semaphore::new(ahead));
    let mut uploads = upload(local.clients().0, files, Arc::clone(&gate));
    // Photos that are uploaded and have no outcome, and photos whose outcome came before the response of
    // the upload.
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
                        show.photo(&Photo::failed(&object, reason))?;
                        settled = 1;
                    }
                }
            }
            Some(delivery) = events.deliveries.recv() => {
                for (object, photo) in photos(delivery)? {
                    show.photo(&photo)?;
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

/// Each object of an event with its outcome. All of them failed if the function did, or if its answer does
/// not have an outcome for each.
fn photos(delivery: Delivery) -> anyhow::Result<Vec<(ObjectVersion, Photo)>> {
    let mut objects = Vec::new();
    for part in event::parse(&delivery.event, REGION).parts {
        for created in part.records {
            objects.push(created?.object);
        }
    }
    let outcomes = match delivery.answer {
        Ok(answer) => read_outcomes(&answer, &objects).map_err(|error| error.to_string()),
        Err(reason) => Err(reason),
    };
    Ok(match outcomes {
        // `read_outcomes` has checked that each object has its report.
        Ok(reports) => {
            let photos = reports.into_iter().map(Photo::Ended);
            objects.into_iter().zip(photos).collect()
        }
        Err(reason) => objects
            .into_iter()
            .map(|object| {
                let photo = Photo::failed(&object, reason.clone());
                (object, photo)
            })
            .collect(),
    })
}

/// Prints the endpoints and commands to try. With --json they go to standard error, because standard output
/// is for a program.
fn print_endpoints(local: &Local, api: &ServedApi, json: bool) -> io::Result<()> {
    let endpoints = local.endpoints();
    let (s3, dynamodb, lambda) = (
        url(endpoints.s3),
        url(endpoints.dynamodb),
        url(endpoints.lambda),
    );
    let (id, secret) = CREDENTIALS;
    let api = url(api.address);
    let text = format!(
        "HTTP API  {api}  reference {api}/docs/
S3        {s3}  bucket {BUCKET}
DynamoDB  {dynamodb}  tables predictions, ledger
Lambda    {lambda}  function {FUNCTION}

export AWS_ACCESS_KEY_ID={id} AWS_SECRET_ACCESS_KEY={secret} AWS_DEFAULT_REGION={REGION}
curl {api}/v1/records
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
