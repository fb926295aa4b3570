//! The command line: `classify`, `compile`, `local` and `redeliver`.

mod classify;
mod compile;
mod files;
#[cfg(feature = "local")]
mod local;
#[cfg(feature = "stack")]
mod redeliver;
mod self_test;
mod table;

use std::{ffi::OsString, io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::config::Config;

/// Classifies photos and counts them.
///
/// Configured by environment variables: MODEL_DIR, TIME_ZONE, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS,
/// MAX_CPU_ISA, RUST_LOG.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Classify files and folders of photos, without AWS
    ///
    /// Exits with 0 if every file was classified, with 1 if one was not.
    Classify(Classify),
    /// Make the model ready to run, so that nothing is left to do at start
    ///
    /// Writes model.compiled beside model.json, in MODEL_DIR.
    Compile,
    /// Run the whole system on this machine: S3, Lambda and DynamoDB, embedded
    ///
    /// Puts every file into the bucket and shows what becomes of it. Exits with 0 if every object
    /// was recorded or rejected, with 1 if one was not.
    #[cfg(feature = "local")]
    Local(local::Arguments),
    /// Deliver again what a deployed function gave up on
    ///
    /// Invokes the function of the stack with each message of its failure queue, whichever way it was delivered,
    /// and shows what becomes of the photos. A message is deleted only when all of them have their outcome; what
    /// was counted before is not counted again. Takes region and credentials as the AWS CLI does. Exits with 0 if
    /// the queue is empty, with 1 if a message had to be kept.
    #[cfg(feature = "stack")]
    Redeliver(redeliver::Arguments),
}

#[derive(Args)]
struct Classify {
    /// Files and folders; folders are read with all below them, but for names that begin with a dot
    #[arg(required_unless_present = "self_test", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Classify a picture that is built in, and compare with what the manifest recorded of it
    #[arg(long, conflicts_with = "paths")]
    self_test: bool,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Classify(arguments) if arguments.self_test => self_test::run(arguments.json),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::Compile => compile::run(),
        #[cfg(feature = "local")]
        Command::Local(arguments) => local::run(arguments),
        #[cfg(feature = "stack")]
        Command::Redeliver(arguments) => redeliver::run(&arguments),
    };
    match result {
        Ok(code) => code,
        // The reader of a pipe has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends at SIGINT (Ctrl-C) or SIGTERM.
#[cfg(any(feature = "local", feature = "stack"))]
async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminated.recv() => {}
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The configuration of the environment; the tables have names of their own here.
fn config() -> anyhow::Result<Config> {
    Ok(Config::read(|name| match name {
        "PREDICTIONS_TABLE" => Some(OsString::from("predictions")),
        "LEDGER_TABLE" => Some(OsString::from("ledger")),
        _ => std::env::var_os(name),
    })?)
}
