//! The command line.

mod api_key;
mod classify;
mod compile;
mod files;
#[cfg(feature = "local")]
mod local;
mod records;
#[cfg(feature = "stack")]
mod redeliver;
mod self_test;
mod serve;
mod table;
mod tables;

use std::{io, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// Classifies photos and counts them
///
/// Environment variables configure it: MODEL_DIR, UNKNOWN_BELOW, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS,
/// MAX_CPU_ISA, RUST_LOG; and for records TIME_ZONE, NIGHT_STARTS, KEY_PATTERN, REVIEW_BELOW.
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
    /// Exits with 0 if every file is classified, else with 1.
    Classify(Classify),
    /// Compile the model, so that the function starts faster
    ///
    /// Writes model.compiled beside model.json in MODEL_DIR.
    Compile,
    /// Run the whole system on this machine: S3, Lambda and DynamoDB, embedded
    ///
    /// Uploads every file and shows its outcome. Exits with 0 if every photo is recorded or rejected, with 1
    /// if one fails.
    #[cfg(feature = "local")]
    Local(local::Arguments),
    /// Retry the photos that a deployed function gave up on
    ///
    /// Invokes the function of the stack with each message in its failure queue, and shows the outcomes of the
    /// photos. A message is deleted only when all of its photos have an outcome. No photo is counted twice. Takes
    /// region and credentials from the environment, as the AWS CLI does. Exits with 0 if the queue is empty
    /// afterwards, with 1 if a message was kept.
    #[cfg(feature = "stack")]
    Redeliver(redeliver::Arguments),
    /// Serve the HTTP API
    ///
    /// API_KEYS has the entries that `api-key` prints. PREDICTIONS_TABLE, LEDGER_TABLE and PHOTOS_BUCKET name what it
    /// serves; without tables it only classifies. SIGHUP loads the models again. SIGTERM lets requests in flight finish.
    Serve(serve::Arguments),
    /// Make a key for the HTTP API
    ApiKey(api_key::Arguments),
    /// List records by night or date, or show some with their history
    Records(records::list::Arguments),
    /// Count the records of each night or date, in a bar chart
    ///
    /// A reviewer's class counts before the model's. Deleted records do not count.
    Counts(records::counts::Arguments),
    /// Say which class a record has, or take a review back
    ///
    /// What the model said stays in the record. Exits with 0 if every record is changed, else with 1.
    Review(records::change::Review),
    /// Delete records; `restore` brings them back within 30 days
    ///
    /// The photos stay in the bucket, and are not counted again. Exits with 0 if every record is deleted, else with 1.
    Delete(records::change::Changed),
    /// Bring deleted records back
    ///
    /// Exits with 0 if every record is restored, else with 1.
    Restore(records::change::Changed),
    /// Check that the tables agree: ordinals, counters, records, reviews
    ///
    /// Exits with 0 if nothing is wrong, or all was mended, else with 1.
    Audit(records::audit::Arguments),
    /// Write records to a file for other programs
    ///
    /// Exits with 0 if every record was written, with 1 if one cannot be read.
    Export(records::export::Arguments),
    /// Import or export the table of cameras, stations and times
    Deployments(records::deployments::Arguments),
    /// Compare the model's confidence with that of its first days, and the model with its reviewers
    Drift(records::drift::Arguments),
}

#[derive(Args)]
struct Classify {
    /// Files and folders. Folders are read recursively, without names that begin with a dot
    #[arg(required_unless_present = "self_test", value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Classify a built-in photo and compare the result with the one in the manifest
    #[arg(long, conflicts_with = "paths")]
    self_test: bool,
}

/// Runs the command in the arguments of the process.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Classify(arguments) if arguments.self_test => self_test::run(arguments.json),
        Command::Classify(arguments) => classify::run(&arguments),
        Command::Compile => compile::run(),
        #[cfg(feature = "local")]
        Command::Local(arguments) => local::run(arguments),
        #[cfg(feature = "stack")]
        Command::Redeliver(arguments) => redeliver::run(&arguments),
        Command::Serve(arguments) => serve::run(arguments),
        Command::ApiKey(arguments) => api_key::run(arguments),
        Command::Records(arguments) => records::list::run(&arguments),
        Command::Counts(arguments) => records::counts::run(&arguments),
        Command::Review(arguments) => records::change::review(&arguments),
        Command::Delete(arguments) => records::change::delete(&arguments),
        Command::Restore(arguments) => records::change::restore(&arguments),
        Command::Audit(arguments) => records::audit::run(&arguments),
        Command::Export(arguments) => records::export::run(&arguments),
        Command::Deployments(arguments) => records::deployments::run(&arguments),
        Command::Drift(arguments) => records::drift::run(&arguments),
    };
    match result {
        Ok(code) => code,
        // The reader of the pipe, such as `head`, has read enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Waits for SIGINT (Ctrl-C) or SIGTERM.
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
