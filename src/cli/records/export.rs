//! `export`

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use anyhow::bail;
use chrono::{NaiveDate, Utc};
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
    error::chain,
    export::{
        CaptureMethod, Export, Format, LicenceName, Licences, Metadata, Progress, SamplingDesign,
        Taxa, Written, spans,
    },
    records::Span,
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
        let export = Export {
            format: arguments.format,
            spans: spans(
                arguments.by.by,
                arguments.from,
                arguments.to,
                opened.today(),
            )?,
            filter: arguments.filter.filter(),
            taxa: taxa(arguments.format)?,
            metadata: metadata(&arguments.package),
        };
        let bar = progress(total(&export.spans, &opened).await);
        let mut damaged = 0;
        let written = export.write(
            &opened.ledger,
            &mut output,
            deadline,
            |progress| match progress {
                Progress::Records(records) => bar.inc(records as u64),
                Progress::Damaged(error) => {
                    damaged += 1;
                    bar.suspend(|| eprintln!("error: {}", chain(error)));
                }
            },
        );
        let written = written.await?;
        bar.finish_and_clear();
        say(&written);
        output.finish()?;
        Ok(match damaged {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        })
    })
}

fn say(written: &Written) {
    match written {
        Written::Csv(records) => eprintln!("{records} records"),
        Written::Training(counts) => eprintln!(
            "{} reviewed photos. Left out: {} without review, {} that the reviewer could not tell",
            counts.written, counts.not_reviewed, counts.unknown
        ),
        Written::CamtrapDp(counts) => eprintln!(
            "{} photos, {} observations, {} deployments",
            counts.media, counts.observations, counts.deployments
        ),
    }
}

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
