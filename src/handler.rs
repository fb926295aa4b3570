//! What Lambda sees: one event in, one answer or one error out.

use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use tracing::error;

use crate::{
    aws,
    bucket::Bucket,
    classifier::{Classifier, ModelError},
    config::{Config, ConfigError},
    error::chain,
    event,
    ledger::Ledger,
    outcome::Report,
    pipeline::Pipeline,
    retry::Deadline,
};

/// The function, ready for events.
pub struct Handler {
    pipeline: Pipeline,
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
}

/// The function's answer: an outcome for each object of the event, in its order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Response {
    /// One for each object created.
    pub outcomes: Vec<Report>,
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

impl Handler {
    /// The function as `config` describes it, talking to AWS as `sdk` does.
    ///
    /// # Errors
    ///
    /// Where the model is missing or wrong.
    pub fn new(config: Config, sdk: &SdkConfig) -> Result<Self, ModelError> {
        let Config {
            predictions_table,
            ledger_table,
            model_dir,
            time_zone,
            limits,
        } = config;
        let classifier = Classifier::load(&model_dir)?.into();
        let bucket = Bucket::new(aws_sdk_s3::Client::new(sdk), limits.bytes);
        let tables = aws_sdk_dynamodb::Client::new(sdk);
        let ledger = Ledger::new(tables, predictions_table, ledger_table);
        Ok(Self {
            pipeline: Pipeline {
                bucket,
                classifier,
                ledger,
                time_zone,
                limits,
            },
        })
    }

    /// Works on every object of an event; one that fails does not keep the others from theirs.
    ///
    /// # Errors
    ///
    /// Where at least one record is malformed or did not get its outcome.
    pub async fn handle(&self, event: LambdaEvent<Value>) -> Result<Response, InvocationError> {
        let deadline = Deadline::after(remaining(&event.context));
        let records = event::parse(&event.payload).map_err(|error| InvocationError {
            malformed: true,
            records: 1,
            failures: vec![failure(&error)],
        })?;
        let count = records.len();
        let (mut outcomes, mut failures, mut malformed) = (Vec::new(), Vec::new(), true);
        for record in records {
            match record {
                Ok(created) => match self.pipeline.process(&created, deadline).await {
                    Ok(report) => outcomes.push(report),
                    Err(error) => {
                        malformed = false;
                        failures.push(format!("{}: {}", created.object, failure(&error)));
                    }
                },
                Err(error) => failures.push(failure(&error)),
            }
        }
        if failures.is_empty() {
            Ok(Response { outcomes })
        } else {
            Err(InvocationError {
                malformed,
                records: count,
                failures,
            })
        }
    }
}

/// Starts the function and serves the Lambda Runtime API until the process is ended.
///
/// # Errors
///
/// Where it cannot start, or the Runtime API goes away.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    let config = Config::read(|name| std::env::var_os(name)).map_err(StartError::from)?;
    let handler = Handler::new(config, &aws::sdk_config().await).map_err(StartError::from)?;
    lambda_runtime::run(service_fn(|event| handler.handle(event))).await
}

fn remaining(context: &Context) -> Duration {
    context
        .deadline()
        .duration_since(SystemTime::now())
        .unwrap_or_default()
}

/// Logs a failure and gives its text.
fn failure(error: &(dyn std::error::Error + 'static)) -> String {
    let text = chain(error);
    error!(reason = text, "failed");
    text
}
