//! What Lambda sees: one event in, one answer or one error out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_config::SdkConfig;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde_json::Value;
use tracing::error;

use crate::{
    aws,
    bucket::Bucket,
    classifier::{Classifier, ModelError, Way},
    config::{Config, ConfigError},
    error::chain,
    event::{self, Event, Part, Source},
    ledger::Ledger,
    metrics::Metrics,
    object::ObjectVersion,
    outcome::Report,
    pipeline::{Ended, Pipeline},
    predictor::Predictor,
    response::{FailedMessage, Response, ResultCode, TaskResult},
    retry::Deadline,
};

/// The function, ready for events.
pub struct Handler {
    pipeline: Pipeline,
    metrics: Arc<Metrics>,
    region: String,
}

/// Why the function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The environment is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model is missing or wrong.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The function does not know where it is.
    #[error("AWS_REGION is not set")]
    Region,
}

/// The function's error: all was tried, and these failed. Lambda sends the event again, and what is
/// done already is skipped.
#[derive(Debug, thiserror::Error)]
#[error("{} of {records} records failed: {}", failures.len(), failures.join("; "))]
pub struct InvocationError {
    /// Whether the event itself is at fault, so that sending it again will not help.
    malformed: bool,
    records: usize,
    failures: Vec<String>,
}

impl From<InvocationError> for Diagnostic {
    fn from(error: InvocationError) -> Self {
        let error_type = if error.malformed {
            "MalformedEvent"
        } else {
            "Retryable"
        };
        Self {
            error_type: error_type.into(),
            error_message: error.to_string(),
        }
    }
}

/// Why a record did not come to an outcome.
struct Failure {
    /// Whether the record itself is at fault.
    malformed: bool,
    reason: String,
}

impl Handler {
    /// The function as `config` describes it, talking to AWS as `sdk` does.
    ///
    /// # Errors
    ///
    /// Where the model is missing or wrong, or the region is not known.
    pub fn new(config: Config, sdk: &SdkConfig) -> Result<Self, StartError> {
        let Config {
            predictions_table,
            ledger_table,
            model_dir,
            time_zone,
            limits,
            isa,
            cpus,
        } = config;
        let region = sdk.region().ok_or(StartError::Region)?.to_string();
        let classifier = Classifier::load(&model_dir, isa)?;
        match classifier.way() {
            way @ Way::Compiled(_) => tracing::info!(%way, "model"),
            way => tracing::warn!(%way, "model"),
        }
        let predictor = Predictor::new(classifier, limits, cpus);
        let bucket = Bucket::new(aws_sdk_s3::Client::new(sdk), limits.bytes);
        let tables = aws_sdk_dynamodb::Client::new(sdk);
        let ledger = Ledger::new(tables, predictions_table, ledger_table);
        let metrics = Arc::<Metrics>::default();
        Ok(Self {
            pipeline: Pipeline::new(bucket, predictor, ledger, Arc::clone(&metrics), time_zone),
            metrics,
            region,
        })
    }

    /// Works on every object of an event; one that fails does not keep the others from theirs.
    ///
    /// # Errors
    ///
    /// Where the source takes no partial answer, and at least one record is malformed or did not get
    /// its outcome.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Response, InvocationError> {
        let deadline = Deadline::after(remaining(&event.context));
        let Event { source, parts } = event::parse(&event.payload, &self.region);
        let created = parts.iter().flat_map(|part| &part.objects);
        let objects: Vec<_> = created.flatten().cloned().collect();
        // Boxed: the compiler refuses to lay out all of it and the runtime's own futures as one type.
        let ended = Box::pin(self.pipeline.run(&objects, deadline)).await;

        let mut ended = objects.iter().zip(ended);
        let parts = parts.into_iter().map(|Part { id, objects }| {
            let results = objects.into_iter().filter_map(|created| match created {
                Ok(_) => ended
                    .next()
                    .map(|(created, ended)| self.result(&created.object, ended)),
                Err(error) => Some(Err(self.failure(true, chain(&error)))),
            });
            (id, results.collect())
        });
        let parts = parts.collect();
        let function = &event.context.env_config;
        self.metrics
            .flush(&function.function_name, &function.version);
        answer(source, parts)
    }

    fn result(&self, object: &ObjectVersion, ended: Ended) -> Result<Report, Failure> {
        ended.map_err(|error| self.failure(false, format!("{object}: {}", chain(&error))))
    }

    /// Logs a failure.
    fn failure(&self, malformed: bool, reason: String) -> Failure {
        error!(reason, "failed");
        self.metrics.failed();
        Failure { malformed, reason }
    }
}

type Results = Vec<Result<Report, Failure>>;

/// The answer that `source` reads, from the results of each of its parts.
fn answer(source: Source, parts: Vec<(String, Results)>) -> Result<Response, InvocationError> {
    match source {
        Source::Notification => {
            let results: Results = parts.into_iter().flat_map(|(_, results)| results).collect();
            let records = results.len();
            let (mut outcomes, mut failures) = (Vec::new(), Vec::new());
            for result in results {
                match result {
                    Ok(report) => outcomes.push(report),
                    Err(failure) => failures.push(failure),
                }
            }
            if failures.is_empty() {
                return Ok(Response::Notification { outcomes });
            }
            Err(InvocationError {
                malformed: failures.iter().all(|failure| failure.malformed),
                records,
                failures: failures.into_iter().map(|failure| failure.reason).collect(),
            })
        }
        Source::Queue => Ok(Response::Queue {
            batch_item_failures: parts
                .into_iter()
                .filter(|(_, results)| results.iter().any(Result::is_err))
                .map(|(id, _)| FailedMessage {
                    item_identifier: id,
                })
                .collect(),
        }),
        Source::BatchOperations {
            schema_version,
            invocation_id,
        } => Ok(Response::BatchOperations {
            invocation_schema_version: schema_version,
            treat_missing_keys_as: ResultCode::TemporaryFailure,
            invocation_id,
            results: parts
                .into_iter()
                .flat_map(|(id, results)| {
                    results.into_iter().map(move |result| match result {
                        Ok(report) => TaskResult::ended(id.clone(), &report),
                        Err(Failure { malformed, reason }) => {
                            TaskResult::failed(id.clone(), &reason, malformed)
                        }
                    })
                })
                .collect(),
        }),
    }
}

/// Starts the function and serves the Lambda Runtime API until the process is ended.
///
/// # Errors
///
/// Where it cannot start, or the Runtime API goes away.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    let config = Config::read(|name| std::env::var_os(name)).map_err(StartError::from)?;
    let handler = Handler::new(config, &aws::sdk_config().await)?;
    lambda_runtime::run(service_fn(|event| handler.handle(event))).await
}

fn remaining(context: &Context) -> Duration {
    context
        .deadline()
        .duration_since(SystemTime::now())
        .unwrap_or_default()
}
