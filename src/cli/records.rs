//! The commands for the people who use the records.

pub(super) mod audit;
pub(super) mod change;
pub(super) mod counts;
pub(super) mod deployments;
pub(super) mod drift;
pub(super) mod export;
pub(super) mod list;
mod model;
mod output;
mod span;

use std::process::ExitCode;

/// Runs `command`, which waits for the network.
pub(super) fn block_on(
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(command)
}
