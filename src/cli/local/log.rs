//! What `local` logs on standard error.

use std::{fmt, io};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::logging;

/// s3s logs every refused request as an error, and a refusal is an answer.
const LEVELS: &str = "error,s3s=off";
/// Where dynoxide, the embedded DynamoDB, logs its answers.
const DYNAMODB: &str = "dynoxide::server";

/// Logs to standard error from now on.
pub(super) fn start() {
    tracing_subscriber::registry()
        .with(Levels(logging::levels(LEVELS)))
        .with(tracing_subscriber::fmt::layer().with_writer(io::stderr))
        .init();
}

/// Lets through what the levels let through, and logs the failures of the embedded DynamoDB.
///
/// dynoxide names the cause of a failure only in the body of its answer, and logs that at TRACE, as it does with
/// refused requests, of which the ledger makes many: a condition that does not hold is an answer.
struct Levels(Targets);

impl Levels {
    fn enable(&self, metadata: &Metadata<'_>) -> bool {
        self.0.would_enable(metadata.target(), metadata.level())
    }

    fn may_tell_of_a_failure(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == DYNAMODB && self.0.would_enable(DYNAMODB, &Level::ERROR)
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enable(metadata) || self.may_tell_of_a_failure(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.enable(metadata) || self.may_tell_of_a_failure(metadata)
    }

    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        if self.enable(event.metadata()) {
            return true;
        }
        let mut answer = Answer::default();
        event.record(&mut answer);
        if let Some(error) = answer.failure() {
            let operation = &answer.operation;
            tracing::error!(operation, error, "the embedded DynamoDB failed");
        }
        false
    }
}

/// What the embedded DynamoDB logs of a request. The message comes before the other fields.
#[derive(Default)]
struct Answer {
    is_error: bool,
    operation: String,
    body: String,
}

impl Answer {
    /// The error, where it is not one of the request.
    fn failure(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let kind = body["__type"].as_str()?;
        let message = body["message"].as_str().unwrap_or(&self.body);
        kind.ends_with("#InternalServerError")
            .then(|| message.to_owned())
    }
}

impl Visit for Answer {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "operation" {
            value.clone_into(&mut self.operation);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.is_error = format!("{value:?}") == "error response body",
            "body" if self.is_error => self.body = format!("{value:?}"),
            _ => {}
        }
    }
}
