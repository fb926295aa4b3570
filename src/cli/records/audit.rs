//! `audit`

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use chrono::NaiveDate;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::block_on;
use crate::{
    cli::tables::{Opened, TableArguments, deadline},
    error::chain,
    object::Escaped,
    records::{Dates, Finding, Repair, Report},
};

/// Rounds of repairs. A repair of an item changes what the others of the same item were found as: a counter may have
/// three, and a confusion item is mended by a hundred numbers at a time.
const ROUNDS: usize = 10;

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    tables: TableArguments,
    /// First date of upload [default: all]. With dates, nights and reviewers' statistics are not checked
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Last date of upload [default: all]
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// Mend what can be mended
    #[arg(long)]
    repair: bool,
    /// Print one JSON object a line, for each finding, and a last one for the whole
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(async {
        let opened = arguments.tables.open().await?;
        let mut report = audit(arguments, &opened).await?;
        let mut mended = 0;
        if arguments.repair {
            for _ in 0..ROUNDS {
                let (done, tried) = repair(arguments, &report, &opened).await?;
                mended += done;
                if tried == 0 {
                    break;
                }
                report = audit(arguments, &opened).await?;
            }
        }
        for finding in &report.findings {
            show(
                arguments,
                finding,
                arguments.repair.then_some(Repair::Impossible),
            )?;
        }
        summary(arguments, &report, mended)?;
        Ok(match report.findings.is_empty() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    })
}

async fn audit(arguments: &Arguments, opened: &Opened) -> anyhow::Result<Report> {
    let dates = Dates {
        from: arguments.from,
        to: arguments.to,
    };
    let bar = counter();
    let progress = |items| bar.set_position(items);
    let report = opened.ledger.audit(dates, deadline, progress).await;
    bar.finish_and_clear();
    Ok(report?)
}

/// Repairs what can be repaired. Returns how many findings are mended, and how many were tried: the next audit shows
/// whether one that changed meanwhile is still wrong.
async fn repair(
    arguments: &Arguments,
    report: &Report,
    opened: &Opened,
) -> anyhow::Result<(usize, usize)> {
    let (mut mended, mut tried) = (0, 0);
    if report
        .findings
        .iter()
        .any(|finding| matches!(finding, Finding::NoNight { .. }))
    {
        let zone = opened.rules.time_zone;
        eprintln!("Records without a night get that of their upload in {zone}, from TIME_ZONE.");
    }
    for finding in &report.findings {
        let repair = opened.ledger.repair(finding, &opened.rules, deadline());
        match repair.await {
            Ok(Repair::Mended) => {
                (mended, tried) = (mended + 1, tried + 1);
                show(arguments, finding, Some(Repair::Mended))?;
            }
            Ok(Repair::Changed) => tried += 1,
            Ok(Repair::Impossible) => {}
            // One item that cannot be written does not keep the others from being mended.
            Err(error) => eprintln!("error: cannot mend {finding}: {}", chain(&error)),
        }
    }
    Ok((mended, tried))
}

fn show(arguments: &Arguments, finding: &Finding, repair: Option<Repair>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    if arguments.json {
        let mut json = serde_json::to_value(finding)?;
        json["repair"] = json!(repair);
        writeln!(stdout, "{json}")?;
        return Ok(());
    }
    let word = match repair {
        Some(Repair::Mended) => "mended  ",
        Some(Repair::Changed | Repair::Impossible) => "stays   ",
        None => "wrong   ",
    };
    writeln!(stdout, "{word}{}", Escaped(&finding.to_string()))?;
    Ok(())
}

fn summary(arguments: &Arguments, report: &Report, mended: usize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let Report {
        findings,
        unsettled,
        records,
        items,
    } = report;
    if arguments.json {
        let json = json!({
            "records": records,
            "ledgerItems": items,
            "mended": mended,
            "wrong": findings.len(),
            "unsettled": unsettled,
        });
        return writeln!(stdout, "{json}");
    }
    for key in unsettled {
        writeln!(stdout, "changed while it was read: {}", Escaped(key))?;
    }
    write!(stdout, "Records: {records}, ledger items: {items}; ")?;
    match (mended, findings.len()) {
        (0, 0) => writeln!(stdout, "nothing is wrong.")?,
        (0, wrong) if !arguments.repair => {
            writeln!(
                stdout,
                "{wrong} findings. --repair mends what can be mended."
            )?;
        }
        (mended, wrong) => writeln!(stdout, "{mended} mended, {wrong} stay.")?,
    }
    if !unsettled.is_empty() {
        writeln!(
            stdout,
            "Counters that changed were not checked: run audit again later."
        )?;
    }
    Ok(())
}

/// Shows how many items were read, on a terminal.
fn counter() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {pos} items read  {per_sec}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
