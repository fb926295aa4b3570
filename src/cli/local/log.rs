//! The log of `local`, on standard error.

use std::{fmt, io};

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::logging;

/// Log target of the responses of dynoxide, the embedded DynamoDB.
const DYNAMODB: &str = "dynoxide::server";

/// Starts the log.
pub(super) fn start() {
    // s3s logs every refused request as an error, although a refusal is a normal response.
    let default = Targets::new()
        .with_default(Level::ERROR)
        .with_target("s3s", LevelFilter::OFF);
    tracing_subscriber::registry()
        .with(Levels(logging::levels(default)))
        .with(
            tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(io::stderr),
        )
        .init();
}

/// Applies the levels, and also passes failures of the embedded DynamoDB.
///
/// dynoxide tells the cause of a failure only in the body of its response, which it logs at TRACE. It logs
/// refused requests in the same way, and those are frequent: a failed condition is a normal response.
struct Levels(Targets);

impl Levels {
    fn enable(&self, metadata: &Metadata<'_>) -> bool {
        self.0.would_enable(metadata.target(), metadata.level())
    }

    fn may_report_a_failure(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == DYNAMODB && self.0.would_enable(DYNAMODB, &Level::ERROR)
    }
}

impl<S: Subscriber> Layer<S> for Levels {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.enable(metadata) || self.may_report_a_failure(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.enable(metadata) || self.may_report_a_failure(metadata)
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

/// A response in the log of the embedded DynamoDB. The message precedes the other fields.
#[derive(Default)]
struct Answer {
    is_error: bool,
    operation: String,
    body: String,
}

impl Answer {
    /// The error, if it is the service's and not the request's.
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
