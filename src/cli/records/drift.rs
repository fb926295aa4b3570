//! `drift`

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;

use super::{block_on, model, span::DayArguments};
use crate::{
    cli::tables::{TableArguments, deadline},
    records::{By, Confidences, Drift, Share},
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    tables: TableArguments,
    /// Days are dates of upload
    #[command(flatten)]
    days: DayArguments,
    /// Print one JSON object a line, for each model version
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(async {
        let opened = arguments.tables.open().await?;
        let span = arguments.days.span(By::Date, &opened)?;
        let references = references()?;
        let all = opened.ledger.drift(span, &references, deadline()).await?;
        let mut stdout = io::stdout().lock();
        if all.is_empty() && !arguments.json {
            writeln!(stdout, "No record from {} to {}.", span.from(), span.to())?;
        }
        for drift in &all {
            match arguments.json {
                true => writeln!(stdout, "{}", serde_json::to_string(drift)?)?,
                false => show(&mut stdout, drift)?,
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// The reference of the model in MODEL_DIR, by its version. Without a model, the first days are the reference.
fn references() -> anyhow::Result<BTreeMap<String, Confidences>> {
    let Some(manifest) = model::manifest()? else {
        return Ok(BTreeMap::new());
    };
    let version = manifest.model_version().to_owned();
    let reference = manifest.reference.map(|reference| Confidences {
        bins: reference.bins,
        unknown: reference.unknown,
    });
    Ok(reference
        .into_iter()
        .map(|one| (version.clone(), one))
        .collect())
}

fn show(stdout: &mut impl Write, drift: &Drift) -> io::Result<()> {
    writeln!(
        stdout,
        "model {}: {} records",
        drift.model_version,
        drift.now.total()
    )?;
    if drift.reference.is_none() {
        writeln!(
            stdout,
            "Nothing to compare with: the model has no reference, and no photos before these days."
        )?;
    }
    if let (Some(psi), Some(source)) = (drift.psi, drift.reference_source) {
        let verdict = match psi {
            ..0.1 => "stable",
            ..0.25 => "some change",
            _ => "a shift: look at the photos",
        };
        writeln!(stdout, "PSI {psi:.3} against the {source}: {verdict}")?;
    }
    if let Some(rate) = drift.unknown_rate {
        writeln!(stdout, "UNKNOWN {:.1} %", 100.0 * rate)?;
    }
    let share = |bins: &[u64], bin: usize| {
        let total: u64 = bins.iter().sum();
        100.0 * bins[bin] as f64 / total.max(1) as f64
    };
    writeln!(stdout, "probability    now  reference")?;
    for bin in 0..drift.now.bins.len() {
        let reference = match &drift.reference {
            Some(reference) => format!("{:8.1} %", share(&reference.bins, bin)),
            None => String::new(),
        };
        let now = share(&drift.now.bins, bin);
        let from = bin as f64 / 10.0;
        writeln!(
            stdout,
            "{from:.1}–{:.1}   {now:6.1} % {reference}",
            from + 0.1
        )?;
    }
    let of = |share: &Share| {
        format!(
            "{} of {} = {:.0} % ({:.0} to {:.0} %)",
            share.part,
            share.whole,
            100.0 * share.share,
            100.0 * share.low,
            100.0 * share.high
        )
    };
    match &drift.confusion.agreement {
        Some(agreement) => writeln!(
            stdout,
            "all reviews of this model agree with it: {}",
            of(agreement)
        )?,
        None => writeln!(stdout, "no review yet")?,
    }
    for (class, precision) in &drift.confusion.precision {
        writeln!(stdout, "  {class}: {}", of(precision))?;
    }
    writeln!(stdout)
}
