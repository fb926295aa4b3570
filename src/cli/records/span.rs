//! Days and conditions, as options of a command.

use chrono::{Days, NaiveDate};
use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};

use crate::{
    cli::tables::Opened,
    model::Label,
    records::{By, Filter, ReviewFilter, Span},
};

/// Number of days without `--from`.
const DAYS: u64 = 30;

#[derive(Args)]
pub(in crate::cli) struct SpanArguments {
    /// First night or date, as in 2026-05-01 [default: 29 days before the last]
    #[arg(long, value_name = "DATE")]
    from: Option<NaiveDate>,
    /// Last night or date [default: today]
    #[arg(long, value_name = "DATE")]
    to: Option<NaiveDate>,
    /// Days are trap nights, or dates of upload
    #[arg(long, default_value = "night", value_parser = by_parser())]
    by: By,
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
    #[arg(long, value_name = "P")]
    min_probability: Option<f32>,
    /// Only up to this probability, 0 to 1
    #[arg(long, value_name = "P")]
    max_probability: Option<f32>,
    /// Only this model version
    #[arg(long, value_name = "VERSION")]
    model: Option<String>,
}

impl SpanArguments {
    pub(in crate::cli) fn span(&self, opened: &Opened) -> anyhow::Result<Span> {
        let to = self.to.unwrap_or_else(|| opened.today());
        let from = match self.from {
            Some(from) => from,
            // At the beginning of time there is no day before.
            None => to.checked_sub_days(Days::new(DAYS - 1)).unwrap_or(to),
        };
        Ok(Span::new(self.by, from, to)?)
    }
}

impl FilterArguments {
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
