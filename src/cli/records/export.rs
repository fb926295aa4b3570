//! `export`

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use chrono::{Days, NaiveDate, Utc};
use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use strum::VariantNames;

use super::{
    block_on, model,
    output::Output,
    span::{ByArgument, FilterArguments, date},
};
use crate::{
    cli::{
        table::progress,
        tables::{Opened, TableArguments, deadline},
    },
    deployments::Deployments,
    error::chain,
    export::{
        CamtrapDp, CaptureMethod, CsvExport, LicenceName, Licences, Metadata, SamplingDesign, Taxa,
        TrainingExport,
    },
    records::{MAX_DAYS, MAX_PAGE, Order, Query, Record, Span},
};

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// csv: a table for spreadsheets. camtrap-dp: a Camtrap DP 1.0.2 package, a zip. training: JSON lines of reviewed
    /// photos
    #[arg(long, value_parser = PossibleValuesParser::new(Format::VARIANTS).try_map(|text| text.parse::<Format>()))]
    format: Format,
    /// The file to write, or - for standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    #[command(flatten)]
    tables: TableArguments,
    /// First night or date [default: a year before the last]
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: Option<NaiveDate>,
    /// Last night or date [default: today]
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<NaiveDate>,
    #[command(flatten)]
    by: ByArgument,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    package: Package,
}

/// What a Camtrap DP package says about its project.
#[derive(Args)]
#[command(next_help_heading = "Options of --format camtrap-dp")]
struct Package {
    /// Title of the project
    #[arg(long, default_value = "Moth photos")]
    title: String,
    /// Person or organisation to ask about the package [default: the user's name in USER]
    #[arg(long, value_name = "NAME")]
    contact: Option<String>,
    /// How the stations were chosen
    #[arg(long, default_value = "targeted", value_parser = PossibleValuesParser::new(SamplingDesign::VARIANTS).try_map(|text| text.parse::<SamplingDesign>()))]
    sampling_design: SamplingDesign,
    /// What makes the cameras take photos
    #[arg(long, default_value = "timeLapse", value_parser = PossibleValuesParser::new(CaptureMethod::VARIANTS).try_map(|text| text.parse::<CaptureMethod>()))]
    capture_method: CaptureMethod,
    /// Licence of the tables, such as CC0-1.0
    #[arg(long, value_name = "LICENCE", requires = "media_licence")]
    data_licence: Option<LicenceName>,
    /// Licence of the photos, such as CC-BY-4.0
    #[arg(long, value_name = "LICENCE", requires = "data_licence")]
    media_licence: Option<LicenceName>,
}

/// Each day is a query, so that more years would take minutes without need.
const MAX_YEARS: u32 = 20;

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
enum Format {
    Csv,
    CamtrapDp,
    Training,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    block_on(async {
        let opened = arguments.tables.open().await?;
        if arguments.format == Format::CamtrapDp
            && arguments.out.as_os_str() == "-"
            && std::io::stdout().is_terminal()
        {
            bail!("a Camtrap DP package is a zip: name a file with --out");
        }
        let mut output = Output::create(&arguments.out)?;
        let (taxa, damaged) = (taxa(arguments.format)?, Damaged::default());
        let damaged = match arguments.format {
            Format::Csv => csv(arguments, &opened, &mut output, taxa, damaged).await?,
            Format::CamtrapDp => package(arguments, &opened, &mut output, &taxa, damaged).await?,
            Format::Training => training(arguments, &opened, &mut output, damaged).await?,
        };
        output.finish()?;
        Ok(match damaged.0 {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    })
}

/// Number of records that could not be read. Each is named on standard error.
#[derive(Default)]
struct Damaged(u64);

async fn csv(
    arguments: &Arguments,
    opened: &Opened,
    output: &mut Output,
    taxa: Taxa,
    mut damaged: Damaged,
) -> anyhow::Result<Damaged> {
    let mut export = CsvExport::new(output, taxa)?;
    each(arguments, opened, &mut damaged, |record| {
        Ok(export.write(record)?)
    })
    .await?;
    let records = export.finish()?;
    eprintln!("{records} records");
    Ok(damaged)
}

async fn training(
    arguments: &Arguments,
    opened: &Opened,
    output: &mut Output,
    mut damaged: Damaged,
) -> anyhow::Result<Damaged> {
    let mut export = TrainingExport::new(output);
    each(arguments, opened, &mut damaged, |record| {
        Ok(export.write(record)?)
    })
    .await?;
    let counts = export.finish()?;
    eprintln!(
        "{} reviewed photos. Left out: {} without review, {} that the reviewer could not tell",
        counts.written, counts.not_reviewed, counts.unknown
    );
    Ok(damaged)
}

async fn package(
    arguments: &Arguments,
    opened: &Opened,
    output: &mut Output,
    taxa: &Taxa,
    mut damaged: Damaged,
) -> anyhow::Result<Damaged> {
    let none = || Deployments::parse(NO_DEPLOYMENTS.as_bytes());
    let deployments = match opened.ledger.deployments(deadline()).await? {
        Some(deployments) => deployments,
        None => none()?,
    };
    let metadata = metadata(&arguments.package);
    let mut export = CamtrapDp::new(&deployments, taxa, &metadata)?;
    each(arguments, opened, &mut damaged, |record| {
        Ok(export.write(record)?)
    })
    .await?;
    let counts = export.finish(output)?;
    eprintln!(
        "{} photos, {} observations, {} deployments",
        counts.media, counts.observations, counts.deployments
    );
    Ok(damaged)
}

/// A deployments table without rows.
const NO_DEPLOYMENTS: &str =
    "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n";

fn metadata(package: &Package) -> Metadata {
    let user = || std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
    let licences = package
        .data_licence
        .clone()
        .zip(package.media_licence.clone());
    Metadata {
        title: package.title.clone(),
        contact: package.contact.clone().unwrap_or_else(user),
        sampling_design: package.sampling_design,
        capture_method: package.capture_method,
        licences: licences.map(|(data, media)| Licences { data, media }),
        created: Utc::now(),
    }
}

/// Scientific names in the manifest of the model in MODEL_DIR. Says so if there are none.
fn taxa(format: Format) -> anyhow::Result<Taxa> {
    let taxa = model::manifest()?.map_or(Taxa::new(), |manifest| manifest.taxa);
    if taxa.is_empty() && format != Format::Training {
        eprintln!("No scientific names: set MODEL_DIR to a model whose model.json has `taxa`.");
    }
    Ok(taxa)
}

/// Writes each record that the arguments ask for, the oldest first, with a progress bar.
async fn each(
    arguments: &Arguments,
    opened: &Opened,
    damaged: &mut Damaged,
    mut write: impl FnMut(&Record) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let spans = spans(arguments, opened.today())?;
    let bar = progress(total(&spans, opened).await);
    for span in spans {
        let query = Query {
            span,
            filter: arguments.filter.filter(),
            order: Order::Oldest,
        };
        let page = |cursor| opened.ledger.records(&query, MAX_PAGE, cursor, deadline());
        let mut next = Some(page(None).await?);
        while let Some(mut current) = next {
            // The next page is on its way while this one is written.
            let cursor = current.next.take();
            let ahead = async {
                match cursor {
                    Some(cursor) => page(Some(cursor)).await.map(Some),
                    None => Ok(None),
                }
            };
            let written = async {
                for record in &current.records {
                    write(record)?;
                }
                bar.inc(current.records.len() as u64);
                anyhow::Ok(())
            };
            let (fetched, written) = tokio::join!(ahead, written);
            written?;
            for error in &current.damaged {
                damaged.0 += 1;
                bar.suspend(|| eprintln!("error: {}", chain(error)));
            }
            next = fetched?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// The number of records of `spans`, for a progress bar; 0 if nobody sees the bar, or a counter is damaged: that must not
/// keep records from being exported.
async fn total(spans: &[Span], opened: &Opened) -> usize {
    if !std::io::stderr().is_terminal() {
        return 0;
    }
    let mut total: u64 = 0;
    for &span in spans {
        let Ok(days) = opened.ledger.counts(span, deadline()).await else {
            return 0;
        };
        for day in days {
            total = total.saturating_add(day.total());
        }
    }
    total as usize
}

/// The days of the arguments, in spans of up to a year.
fn spans(arguments: &Arguments, today: NaiveDate) -> anyhow::Result<Vec<Span>> {
    let to = arguments.to.unwrap_or(today);
    let year = Days::new(MAX_DAYS - 1);
    if arguments
        .from
        .is_some_and(|from| to.years_since(from) > Some(MAX_YEARS))
    {
        bail!("an export has at most {MAX_YEARS} years: choose a later --from, or an earlier --to");
    }
    let mut from = match arguments.from {
        Some(from) => from,
        None => to.checked_sub_days(year).unwrap_or(to),
    };
    let mut spans = Vec::new();
    loop {
        let end = from.checked_add_days(year).map_or(to, |end| end.min(to));
        spans.push(Span::new(arguments.by.by, from, end)?);
        if end == to {
            return Ok(spans);
        }
        from = end.succ_opt().context("there is no day after the last")?;
    }
}
