//! `serve`

use std::{
    future::{pending, ready},
    net::IpAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, bail};
use axum::{
    Router,
    http::{StatusCode, header::CONTENT_TYPE},
    routing::get,
};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use strum::VariantNames;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

use super::{interrupted, records::block_on};
use crate::{
    aws,
    config::{ApiConfig, ComputeConfig, RecordConfig, Tables},
    error::chain,
    http::{
        Access, Anonymous, Api, ApiKeys, ModelFolders, Models, Photos, Principal, Role, Server,
        Settings, Store, health::METRICS_TYPE,
    },
    ledger::Ledger,
    logging,
    model::MANIFEST,
};

/// Where SageMaker puts the model.
const SAGEMAKER_MODEL: &str = "/opt/ml/model";

#[derive(Args)]
pub(super) struct Arguments {
    /// Address to listen on. Off loopback, API_KEYS or --open is needed
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 means any free port
    #[arg(long, env = "PORT", default_value = "8080")]
    port: u16,
    /// Serve each model in this folder of folders, beside the one in MODEL_DIR
    #[arg(long, env = "MODELS_DIR", value_name = "DIR")]
    models: Option<PathBuf>,
    /// Only classify, although PREDICTIONS_TABLE and LEDGER_TABLE are set
    #[arg(long, env = "WITHOUT_TABLES")]
    without_tables: bool,
    /// Let everybody in who has no API key, with this role
    #[arg(
        long,
        env = "OPEN",
        value_name = "ROLE",
        value_parser = PossibleValuesParser::new(Role::VARIANTS).try_map(|text| text.parse::<Role>())
    )]
    open: Option<Role>,
    /// Number of requests that one caller may send in a minute. A caller is a key, or an address without one
    #[arg(long, env = "RATE_LIMIT", value_name = "N")]
    rate_limit: Option<NonZeroU32>,
    /// Serve /metrics on this port too. On loopback it is on --port already
    #[arg(long, env = "METRICS_PORT", value_name = "PORT")]
    metrics_port: Option<u16>,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    logging::start_function();
    block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let compute = ComputeConfig::read(|name| std::env::var_os(name))?;
    let config = ApiConfig::read(|name| std::env::var_os(name))?;
    let is_loopback = is_loopback(&arguments.host);
    let settings = Settings {
        has_metrics: is_loopback,
        per_minute: arguments.rate_limit,
        ..Settings::of(&compute)
    };
    if config.sign_in.is_some() {
        eprintln!("OIDC_ISSUER has no effect: `serve` checks API keys, and no tokens of people.");
    }
    let access = access(&arguments, config.keys.clone(), is_loopback)?;
    let store = match arguments.without_tables {
        true => None,
        false => store(&compute, config).await?,
    };
    let folders = folders(arguments.models.clone());
    let api = Api::new(Models::new(folders, compute), access, store, settings);
    let api = Arc::new(api);
    let server = Server::bind(&arguments.host, arguments.port, Arc::clone(&api)).await?;
    let address = server.address();
    eprintln!("HTTP API   http://{address}\nReference  http://{address}/docs/");
    if let Some(port) = arguments.metrics_port {
        serve_metrics(&arguments.host, port, Arc::clone(&api)).await?;
    }
    let hangups = signal(SignalKind::hangup())?;
    let loading = async {
        // The first models. Until they are there, /readyz says so.
        if let Err(error) = api.models().reload().await {
            return Err(anyhow::Error::from(error));
        }
        eprintln!("Ready.");
        tokio::spawn(reload_on(hangups, Arc::clone(&api)));
        pending().await
    };
    // The server ends as soon as this future does, so a handler that cannot be installed is an error of its own.
    let (failed, failure) = oneshot::channel();
    let stop = async {
        if let Err(error) = interrupted().await {
            let _ = failed.send(error);
        }
    };
    tokio::select! {
        // The models load on another thread while this one builds the router.
        biased;
        failed = loading => failed,
        () = server.run(stop) => failure.await.map_or(Ok(ExitCode::SUCCESS), Err),
    }
}

/// Loads the models again after each SIGHUP.
async fn reload_on(mut hangups: tokio::signal::unix::Signal, api: Arc<Api>) {
    while hangups.recv().await.is_some() {
        match api.models().reload().await {
            Ok(models) => tracing::info!(models = models.join(", "), "the models were loaded"),
            Err(error) => tracing::error!(
                reason = chain(&error),
                "the models were not loaded; those that serve stay"
            ),
        }
    }
}

/// Who gets in.
fn access(arguments: &Arguments, keys: ApiKeys, is_loopback: bool) -> anyhow::Result<Access> {
    let principal = |name: &str, role| -> anyhow::Result<Principal> {
        Ok(Principal {
            name: name.parse()?,
            role,
            station: None,
        })
    };
    let anonymous = match (arguments.open, keys.is_empty()) {
        (Some(role), _) => Anonymous::Everybody(principal("anonymous", role)?),
        (None, false) => Anonymous::Nobody,
        (None, true) if is_loopback => Anonymous::ThisMachine(principal("local", Role::Admin)?),
        (None, true) => bail!(
            "{} is reachable from other machines, and there are no API_KEYS: make one with `api-key`, or let everybody in \
             with --open reader",
            arguments.host
        ),
    };
    Ok(Access { keys, anonymous })
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Tables and bucket of the environment; `None` if it names no table.
async fn store(compute: &ComputeConfig, config: ApiConfig) -> anyhow::Result<Option<Store>> {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if !is_set("PREDICTIONS_TABLE") && !is_set("LEDGER_TABLE") {
        eprintln!("PREDICTIONS_TABLE and LEDGER_TABLE are not set: this server only classifies.");
        if config.photos_bucket.is_some() {
            eprintln!("PHOTOS_BUCKET has no effect without the tables.");
        }
        return Ok(None);
    }
    let Tables {
        predictions,
        ledger,
    } = Tables::read(|name| std::env::var_os(name))?;
    let rules = RecordConfig::read(|name| std::env::var_os(name))?.capture;
    let sdk = aws::sdk_config().await;
    let ledger = Ledger::new(aws_sdk_dynamodb::Client::new(&sdk), predictions, ledger);
    let photos = config.photos_bucket.map(|bucket| {
        let client = aws_sdk_s3::Client::new(&sdk);
        let thumbnails = config.thumbnails_bucket;
        Photos::new(&client, bucket, thumbnails, compute.limits.bytes)
    });
    Ok(Some(Store {
        ledger,
        rules,
        photos,
    }))
}

/// The folders of the models.
fn folders(more: Option<PathBuf>) -> ModelFolders {
    let named = std::env::var_os("MODEL_DIR").filter(|folder| !folder.is_empty());
    let sagemaker = || {
        let folder = Path::new(SAGEMAKER_MODEL);
        folder.join(MANIFEST).is_file().then(|| folder.to_owned())
    };
    // First, because the image sets MODEL_DIR.
    let default = match (sagemaker(), named) {
        (Some(folder), _) => Some(folder),
        (None, Some(folder)) => Some(folder.into()),
        (None, None) => more.is_none().then(|| "model".into()),
    };
    ModelFolders { default, more }
}

/// Serves `/metrics` alone, for Prometheus.
async fn serve_metrics(host: &str, port: u16, api: Arc<Api>) -> anyhow::Result<()> {
    let listener = TcpListener::bind((host, port)).await;
    let listener = listener.with_context(|| {
        format!("cannot listen on {host}:{port}: choose another --metrics-port")
    })?;
    let address = listener.local_addr()?;
    eprintln!("Metrics    http://{address}/metrics");
    let metrics = move || {
        let text = api.metrics().map_err(|_| StatusCode::INTERNAL_SERVER_ERROR);
        ready(text.map(|text| ([(CONTENT_TYPE, METRICS_TYPE)], text)))
    };
    let router = Router::new().route("/metrics", get(metrics));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}
