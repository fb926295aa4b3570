//! Logging: levels and format.

use std::panic;

use tracing::Level;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Log levels from RUST_LOG, such as `info,aws_config=debug`, or `default` if RUST_LOG is unset, empty or
/// invalid.
pub(crate) fn levels(default: Targets) -> Targets {
    let from_environment = std::env::var("RUST_LOG")
        .ok()
        .filter(|levels| !levels.is_empty())
        .and_then(|levels| levels.parse().ok());
    from_environment.unwrap_or(default)
}

/// Starts the function's log: JSON lines on standard output, which Lambda sends to CloudWatch.
pub(crate) fn start_function() {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_span_list(false);
    // The handler logs each failure. The runtime would log it once more, as Debug text.
    let levels = levels(Targets::new().with_default(Level::INFO))
        .with_target("lambda_runtime::layers::panic", LevelFilter::OFF);
    tracing_subscriber::registry()
        .with(levels)
        .with(lines)
        .init();
    // A panic is one line of the log, like everything else. A panic in a decoder rejects the photo.
    panic::set_hook(Box::new(|panic| tracing::error!(reason = %panic, "panic")));
}
