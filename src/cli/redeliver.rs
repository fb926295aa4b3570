//! `redeliver`

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;

use super::table::{Column, Table};
use crate::{
    aws,
    outcome::Report,
    redeliver::{Kept, Redelivered, Redelivery},
    stack::{Stack, StackError},
};

#[derive(Args)]
pub(super) struct Arguments {
    /// Name of the stack
    #[arg(long, value_name = "NAME", default_value = "moth-classifier")]
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
    let region = sdk.region().ok_or(StackError::Region)?.to_string();
    let redelivery = Redelivery::new(stack, region, &sdk);
    let mut show = Show::new(arguments.json, redelivery.failed().await?)?;
    let drained = redelivery
        .drain(|redelivered| show.message(redelivered))
        .await;
    show.finish();
    drained?;
    show.summary(redelivery.uploaded().await?)?;
    Ok(match show.kept {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Shows what became of each message, and keeps the tally.
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

    fn summary(&self, uploaded: u64) -> io::Result<()> {
        if self.table.is_none() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        let (deleted, kept) = (self.deleted, self.kept);
        match deleted + kept {
            0 => writeln!(stdout, "\nThe failure queue is empty.")?,
            all => writeln!(
                stdout,
                "\nMessages: {all}, of which {deleted} deleted, {kept} kept in the failure queue."
            )?,
        }
        let outcomes = self.outcomes.iter();
        let outcomes: Vec<_> = outcomes.map(|(name, n)| format!("{n} {name}")).collect();
        if !outcomes.is_empty() {
            writeln!(stdout, "Photos: {}.", outcomes.join(", "))?;
        }
        writeln!(stdout, "In the upload queue wait {uploaded} photos.")
    }
}

/// Message ids are UUIDs: so many characters tell those of one run apart.
const ID: usize = 8;

fn rows(table: &Table, redelivered: &Redelivered) -> io::Result<()> {
    let id = redelivered.message_id.get(..ID);
    let id = id.unwrap_or(&redelivered.message_id);
    match &redelivered.result {
        Err(kept) => table.row(&[id, "kept", "", "", "", "", &kept.to_string()])?,
        Ok(reports) if reports.is_empty() => {
            table.row(&[id, "nothing", "", "", "", "", "it tells of no new photo"])?;
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
        report
            .count
            .map(|count| count.to_string())
            .unwrap_or_default(),
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
