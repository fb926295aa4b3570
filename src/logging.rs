//! Log levels.

use tracing::Level;
use tracing_subscriber::filter::Targets;

/// What RUST_LOG says, as in `info,aws_config=debug`, or `default` where it is unset, empty or wrong.
pub fn levels(default: &str) -> Targets {
    let levels = std::env::var("RUST_LOG")
        .ok()
        .filter(|levels| !levels.is_empty());
    levels
        .and_then(|levels| levels.parse().ok())
        .or_else(|| default.parse().ok())
        .unwrap_or_else(|| Targets::new().with_default(Level::INFO))
}
