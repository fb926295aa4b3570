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

use std::{num::NonZeroUsize, process::ExitCode, thread};

/// Threads for work that blocks, beside one for each CPU: hashes, files, and names of hosts.
const MORE_BLOCKING_THREADS: usize = 2;

/// Runs `command`, which waits for the network.
pub(super) fn block_on(
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Each thread that decodes photos keeps some MB in an arena of malloc. By default there may be 512.
        .max_blocking_threads(cpus + MORE_BLOCKING_THREADS)
        .build()?;
    runtime.block_on(command)
}
