//! The Lambda handler: one event in, one answer or one error out.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use chrono::Utc;
use chrono_tz::Tz;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use tracing::{error, info, warn};

use crate::{
    aws::{self, Bucket, Deadline},
    classifier::Classifier,
    config::{ApiConfig, ConfigError, FunctionConfig},
    error::chain,
    event,
    http::{
        Access, Anonymous, Api, Models, Photos, Settings, Store,
        lambda::{self, LambdaAdapter, LambdaReply},
    },
    ledger::Ledger,
    logging,
    model::{Backend, ModelError},
    object::ObjectCreated,
    pipeline::Pipeline,
    respond::{
        Answer, Invocation, InvocationError, Settled, SettledPart, answer, http_metric_lines,
        log_failure, log_outcome, metric_lines, settle,
    },
};

/// The function, ready for events.
struct Handler {
    pipeline: Pipeline,
    /// Answers HTTP events; `None` in the function that photos invoke.
    adapter: Option<LambdaAdapter>,
    region: String,
    time_zone: Tz,
    is_warm: AtomicBool,
}

/// Why the function cannot start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    /// The environment is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model is missing or invalid.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The region is unknown.
    #[error("AWS_REGION is not set")]
    Region,
}

/// What Lambda gets for an event.
#[derive(Serialize)]
#[serde(untagged)]
enum Reply {
    /// For an event with photos.
    Photos(Answer),
    /// For an HTTP event.
    Http(Value),
}

/// The HTTP API of this function.
fn http_api(
    config: &FunctionConfig,
    api: ApiConfig,
    bucket: String,
    classifier: Arc<Classifier>,
    sdk: &SdkConfig,
) -> Api {
    let FunctionConfig {
        compute,
        record,
        tables,
    } = config;
    let client = aws_sdk_dynamodb::Client::new(sdk);
    let store = Store {
        ledger: Ledger::new(client, tables.predictions.clone(), tables.ledger.clone()),
        rules: record.capture.clone(),
        photos: Some(Photos::new(
            &aws_sdk_s3::Client::new(sdk),
            bucket,
            api.thumbnails_bucket,
            compute.limits.bytes,
        )),
    };
    let access = Access {
        keys: api.keys,
        anonymous: Anonymous::Nobody,
    };
    let settings = Settings {
        max_body: Some(lambda::MAX_BODY),
        max_response: Some(lambda::MAX_RESPONSE),
        sign_in: api.sign_in,
        // API Gateway limits the rate.
        ..Settings::of(compute)
    };
    let models = Models::of_function(&compute.model_dir, classifier);
    Api::new(models, access, Some(store), settings)
}

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        let error_type = match error.is_malformed {
            true => "MalformedEvent",
            false => "Retryable",
        };
        Self {
            error_type: error_type.into(),
            error_message: error.to_string(),
        }
    }
}

impl Handler {
    fn new(config: FunctionConfig, api: ApiConfig, sdk: &SdkConfig) -> Result<Self, StartError> {
        let region = sdk.region().ok_or(StartError::Region)?.to_string();
        let classifier = Arc::new(Classifier::load(&config.compute)?);
        match classifier.model().backend() {
            // Until the compiled file is fixed, every cold start compiles the model again.
            backend @ Backend::Engine(..) => warn!(%backend, "model"),
            backend => info!(%backend, "model"),
        }
        let time_zone = config.record.capture.time_zone;
        let max_bytes = config.compute.limits.bytes;
        let bucket = Bucket::new(aws_sdk_s3::Client::new(sdk), max_bytes);
        let adapter = api.photos_bucket.clone().map(|bucket| {
            let classifier = Arc::clone(&classifier);
            LambdaAdapter::new(Arc::new(http_api(&config, api, bucket, classifier, sdk)))
        });
        let ledger = Ledger::new(
            aws_sdk_dynamodb::Client::new(sdk),
            config.tables.predictions,
            config.tables.ledger,
        );
        Ok(Self {
            adapter,
            pipeline: Pipeline::new(bucket, classifier, ledger, config.record),
            region,
            time_zone,
            is_warm: AtomicBool::new(false),
        })
    }

    /// Answers an event.
    async fn handle(&self, event: LambdaEvent<Value>) -> Result<Reply, InvocationError> {
        match &self.adapter {
            Some(adapter) if lambda::is_http(&event.payload) => {
                Ok(Reply::Http(self.request(adapter, event).await))
            }
            _ => self.photos(event).await.map(Reply::Photos),
        }
    }

    /// Answers an HTTP event.
    async fn request(&self, adapter: &LambdaAdapter, event: LambdaEvent<Value>) -> Value {
        let LambdaEvent { payload, context } = event;
        let LambdaReply {
            response,
            status,
            summary,
        } = adapter.handle(payload).await;
        let (route, duration) = match &summary {
            Some(summary) => (summary.route.as_str(), summary.duration),
            None => ("none", Duration::ZERO),
        };
        let function = &context.env_config.function_name;
        let lines = http_metric_lines(function, route, status, duration, Utc::now());
        print_metrics(&lines);
        response
    }

    /// Processes every object of an event. A failed object does not affect the others.
    async fn photos(&self, event: LambdaEvent<Value>) -> Result<Answer, InvocationError> {
        let LambdaEvent { payload, context } = event;
        let deadline = Deadline::after(remaining(&context));
        let event = event::parse(&payload, &self.region);
        let created: Vec<ObjectCreated> = event.created().cloned().collect();
        // Boxed: the compiler cannot lay out this future and those of the runtime as one type.
        let run = Box::pin(self.pipeline.run(&created, deadline)).await;

        let (source, parts) = settle(event, run.photos);
        log_records(&parts);
        let now = Utc::now();
        let function = &context.env_config;
        let invocation = Invocation {
            function: &function.function_name,
            version: &function.version,
            is_cold: !self.is_warm.swap(true, Ordering::Relaxed),
            conflicts: run.conflicts,
            today: now.with_timezone(&self.time_zone).date_naive(),
            now,
        };
        print_metrics(&metric_lines(&invocation, &parts));
        answer(source, parts)
    }
}

fn log_records(parts: &[SettledPart]) {
    for record in parts.iter().flat_map(|part| &part.records) {
        match record {
            Settled::Ended {
                object,
                outcome,
                timings,
            } => log_outcome(object, outcome, timings),
            Settled::Failed { code, reason, .. } => log_failure(code, reason),
        }
    }
}

/// Writes metric lines to standard output, which Lambda sends to CloudWatch.
fn print_metrics(lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    if let Err(error) = io::stdout().lock().write_all(text.as_bytes()) {
        // The log goes to standard output too, so this line may be lost as well.
        error!(%error, "the metrics of this invocation cannot be written");
    }
}

/// Runs the function until Lambda ends the process.
pub fn serve() -> ExitCode {
    logging::start_function();
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(reason = chain(error.as_ref()), "cannot start");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), lambda_runtime::Error> {
    let config = FunctionConfig::read(|name| std::env::var_os(name)).map_err(StartError::from)?;
    let api = ApiConfig::read(|name| std::env::var_os(name)).map_err(StartError::from)?;
    let handler = Handler::new(config, api, &aws::sdk_config().await)?;
    lambda_runtime::run(service_fn(|event| handler.handle(event))).await
}

fn remaining(context: &Context) -> Duration {
    // If the deadline has passed, no time remains.
    context
        .deadline()
        .duration_since(SystemTime::now())
        .unwrap_or(Duration::ZERO)
}
