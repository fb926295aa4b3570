//! Days and conditions, as options of a command.

use chrono::NaiveDate;
use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};

use crate::{
    cli::tables::{Opened, deadline},
    model::Label,
    records::{By, DEFAULT_DAYS, Filter, MAX_DAYS, ReviewFilter, Span},
};

#[derive(Args)]
pub(in crate::cli) struct DayArguments {
    /// First night or date, as in 2026-05-01 [default: 29 days before the last]
    #[arg(long, value_name = "DATE", value_parser = date)]
    from: Option<NaiveDate>,
    /// Last night or date [default: today]
    #[arg(long, value_name = "DATE", value_parser = date)]
    to: Option<NaiveDate>,
}

#[derive(Args)]
pub(in crate::cli) struct ByArgument {
    /// Days are trap nights, or dates of upload
    #[arg(long, default_value = "night", value_parser = by_parser())]
    pub(in crate::cli) by: By,
}

#[derive(Args)]
pub(in crate::cli) struct FilterArguments {
    /// Only this class; a reviewer's class counts before the model's
    #[arg(long, value_parser = label)]
    class: Option<Label>,
    /// Only this station
    #[arg(long)]
    station: Option<String>,
    /// Only records with this review
    #[arg(long, value_parser = review_parser())]
    review: Option<ReviewFilter>,
    /// Only from this probability on, 0 to 1
    #[arg(long, value_name = "P", value_parser = probability)]
    min_probability: Option<f32>,
    /// Only up to this probability, 0 to 1
    #[arg(long, value_name = "P", value_parser = probability)]
    max_probability: Option<f32>,
    /// Only this model version
    #[arg(long, value_name = "VERSION")]
    model: Option<String>,
}

impl DayArguments {
    /// The days; the last 30 by default.
    pub(in crate::cli) fn span(&self, by: By, opened: &Opened) -> anyhow::Result<Span> {
        self.span_of(DEFAULT_DAYS, by, opened)
    }

    /// The days; the last year by default.
    pub(in crate::cli) fn long_span(&self, by: By, opened: &Opened) -> anyhow::Result<Span> {
        let days = match self.from.or(self.to) {
            Some(_) => DEFAULT_DAYS,
            None => MAX_DAYS,
        };
        self.span_of(days, by, opened)
    }

    fn span_of(&self, days: u64, by: By, opened: &Opened) -> anyhow::Result<Span> {
        let today = opened.today();
        Ok(Span::with_defaults(by, self.from, self.to, days, today)?)
    }
}

/// Reads a date.
pub(in crate::cli) fn date(text: &str) -> Result<NaiveDate, String> {
    text.parse()
        .map_err(|_| "write a date as year, month and day: 2026-05-01".to_owned())
}

/// Reads a probability.
fn probability(text: &str) -> Result<f32, String> {
    let probability = text.parse().ok();
    probability
        .filter(|probability| (0.0..=1.0).contains(probability))
        .ok_or_else(|| "a probability is a number from 0 to 1".to_owned())
}

/// Fails if nobody ever counted a record of `class`: it may be misspelt.
pub(in crate::cli) async fn check_counted(class: &Label, opened: &Opened) -> anyhow::Result<()> {
    let classes = opened.ledger.classes(deadline()).await?;
    // Tables of an older version list no class.
    if classes.is_empty() || classes.contains(class) {
        return Ok(());
    }
    let classes: Vec<&str> = classes.iter().map(Label::as_str).collect();
    anyhow::bail!(
        "no record ever had the class {class}. Classes: {}",
        classes.join(", ")
    )
}

impl FilterArguments {
    pub(in crate::cli) fn class(&self) -> Option<&Label> {
        self.class.as_ref()
    }

    pub(in crate::cli) fn filter(&self) -> Filter {
        Filter {
            class: self.class.clone(),
            station: self.station.clone(),
            review: self.review,
            min_probability: self.min_probability,
            max_probability: self.max_probability,
            model_version: self.model.clone(),
        }
    }
}

/// Reads a class.
pub(in crate::cli) fn label(text: &str) -> Result<Label, String> {
    Label::try_from(text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn by_parser() -> impl TypedValueParser<Value = By> {
    PossibleValuesParser::new(["night", "date"]).try_map(|text| text.parse::<By>())
}

fn review_parser() -> impl TypedValueParser<Value = ReviewFilter> {
    let names = [
        "waiting",
        "none",
        "reviewed",
        "confirmed",
        "relabelled",
        "unknown",
    ];
    PossibleValuesParser::new(names).try_map(|text| text.parse::<ReviewFilter>())
}
