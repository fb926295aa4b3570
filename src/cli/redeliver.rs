//! `redeliver`

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;
use tokio::sync::watch;

use super::{
    interrupted,
    table::{Column, Table},
};
use crate::{
    aws::{self, stack::Stack},
    redeliver::{Kept, Redelivered, Redelivery},
    respond::Report,
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Name of the stack
    #[arg(
        long,
        value_name = "NAME",
        default_value = "moth-classifier",
        value_parser = clap::builder::NonEmptyStringValueParser::new()
    )]
    stack: String,
    /// Print one JSON object a line, for each message
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(redeliver(arguments))
}

async fn redeliver(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let sdk = aws::sdk_config().await;
    let stack = Stack::find(&arguments.stack, &sdk).await?;
    let redelivery = Redelivery::new(stack, &sdk);
    let mut show = Show::new(arguments.json, redelivery.failed().await?)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(stop_when_interrupted(stop));
    let drained = redelivery
        .drain(&stopped, |redelivered| show.message(redelivered))
        .await;
    show.finish();
    drained?;
    let left = redelivery.failed().await?;
    show.summary(left, redelivery.uploaded().await?)?;
    Ok(match show.kept as u64 + left {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Sets `stop` at the first interrupt, and ends the process at the second.
async fn stop_when_interrupted(stop: watch::Sender<bool>) -> anyhow::Result<Infallible> {
    interrupted().await?;
    eprintln!(
        "Finishing the messages in flight. A second interrupt leaves them hidden for 50 minutes."
    );
    stop.send_replace(true);
    interrupted().await?;
    std::process::exit(130)
}

/// Shows the result of each message, and sums them up.
struct Show {
    table: Option<Table>,
    deleted: usize,
    kept: usize,
    outcomes: BTreeMap<&'static str, usize>,
}

impl Show {
    fn new(json: bool, messages: u64) -> io::Result<Self> {
        let columns = vec![
            Column::left("message", ID),
            Column::left("outcome", "duplicate".len()),
            Column::names("photo", std::iter::empty()),
            Column::left("class", 5),
            Column::left("date", "2026-11-20".len()),
            Column::right("count", 5),
            Column::left("reason", 0),
        ];
        Ok(Self {
            table: match json {
                true => None,
                false => Some(Table::new(columns, messages as usize)?),
            },
            deleted: 0,
            kept: 0,
            outcomes: BTreeMap::new(),
        })
    }

    fn message(&mut self, redelivered: &Redelivered) -> io::Result<()> {
        match &redelivered.result {
            Ok(reports) => {
                self.deleted += 1;
                for report in reports {
                    *self.outcomes.entry(report.outcome.as_str()).or_default() += 1;
                }
            }
            Err(_) => self.kept += 1,
        }
        match &self.table {
            Some(table) => rows(table, redelivered),
            None => writeln!(io::stdout(), "{}", line(redelivered)),
        }
    }

    fn finish(&self) {
        if let Some(table) = &self.table {
            table.finish();
        }
    }

    /// `left` and `uploaded` are the numbers of messages in the failure queue and in the upload queue.
    fn summary(&self, left: u64, uploaded: u64) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        if self.table.is_none() {
            let line = json!({"failureQueue": left, "uploadQueue": uploaded});
            return writeln!(stdout, "{line}");
        }
        writeln!(
            stdout,
            "\nMessages: {} deleted, {} kept.",
            self.deleted, self.kept
        )?;
        let outcomes = self.outcomes.iter();
        let outcomes: Vec<_> = outcomes.map(|(name, n)| format!("{n} {name}")).collect();
        if !outcomes.is_empty() {
            writeln!(stdout, "Photos: {}.", outcomes.join(", "))?;
        }
        match left.saturating_sub(self.kept as u64) {
            _ if left == 0 => writeln!(stdout, "The failure queue is empty.")?,
            0 => writeln!(stdout, "Messages in the failure queue: {left}.")?,
            _ => writeln!(
                stdout,
                "Messages in the failure queue: {left}. Those that are in flight can be received within 50 minutes: \
                 run redeliver again then."
            )?,
        }
        writeln!(stdout, "Messages in the upload queue: {uploaded}.")
    }
}

/// Characters of a message id (a UUID) in the table.
const ID: usize = 8;

fn rows(table: &Table, redelivered: &Redelivered) -> io::Result<()> {
    let id = redelivered.message_id.get(..ID);
    let id = id.unwrap_or(&redelivered.message_id);
    match &redelivered.result {
        Err(kept) => table.row(&[id, "kept", "", "", "", "", &kept.to_string()])?,
        Ok(reports) if reports.is_empty() => {
            table.row(&[
                id,
                "nothing",
                "",
                "",
                "",
                "",
                "the message names no uploaded photo",
            ])?;
        }
        Ok(reports) => {
            for report in reports {
                table.write(&row(id, report).each_ref().map(String::as_str))?;
            }
            table.advance();
        }
    }
    Ok(())
}

fn row(id: &str, report: &Report) -> [String; 7] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        id.to_owned(),
        report.outcome.as_str().to_owned(),
        report.key.clone(),
        text(&report.class_name),
        text(&report.date),
        text(&report.count.map(|count| count.to_string())),
        text(&report.reason),
    ]
}

fn line(redelivered: &Redelivered) -> serde_json::Value {
    let id = &redelivered.message_id;
    match &redelivered.result {
        Ok(outcomes) => json!({"messageId": id, "deleted": true, "outcomes": outcomes}),
        Err(kept) => json!({
            "messageId": id,
            "deleted": false,
            "readable": !matches!(kept, Kept::Unreadable(_)),
            "reason": kept.to_string(),
        }),
    }
}
