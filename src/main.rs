//! The Lambda function where Lambda started it, otherwise the command line.

use std::{env, panic, process::ExitCode};

use moth_classifier::{cli, error::chain, handler, logging};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

fn main() -> ExitCode {
    if env::var_os("AWS_LAMBDA_RUNTIME_API").is_some() {
        function()
    } else {
        cli::run()
    }
}

/// Logs JSON lines to standard output, which Lambda sends to CloudWatch.
fn function() -> ExitCode {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false);
    // The handler logs each failure as it reports it; the runtime would log the same once more, as Debug text.
    let levels =
        logging::levels("info").with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    tracing_subscriber::registry()
        .with(levels)
        .with(lines)
        .init();
    // A panic is one line of the log, like everything else. What a decoder panics at is rejected.
    panic::set_hook(Box::new(|panic| tracing::error!(reason = %panic, "panic")));
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(handler::run()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(reason = chain(error.as_ref()), "cannot start");
            ExitCode::FAILURE
        }
    }
}
