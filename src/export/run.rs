//! Reads records and writes them in one of the formats.

use std::io::{self, Write};

use chrono::{Days, NaiveDate};

use super::{
    CamtrapCounts, CamtrapDp, CamtrapError, CsvExport, Metadata, Taxa, TrainingCounts,
    TrainingExport,
};
use crate::{
    aws::Deadline,
    deployments::{Deployments, DeploymentsError},
    error::Error,
    ledger::Ledger,
    records::{By, Filter, ListError, MAX_DAYS, MAX_PAGE, Order, Query, Record, Span, SpanError},
};

/// Longest export, in years. Each day is a query, so more would take minutes without need.
pub const MAX_YEARS: u32 = 20;
/// A deployments table without rows.
const NO_DEPLOYMENTS: &str =
    "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n";

/// The form of an export.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    strum::EnumString,
    strum::VariantNames,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[strum(serialize_all = "kebab-case")]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A table for spreadsheets.
    Csv,
    /// A Camtrap DP 1.0.2 package, a zip.
    CamtrapDp,
    /// JSON lines of reviewed photos.
    Training,
}

/// Which records to write, and how.
#[derive(Debug, Clone)]
pub struct Export {
    /// The form.
    pub format: Format,
    /// The days, in spans of up to a year: [`spans`].
    pub spans: Vec<Span>,
    /// Conditions on the records.
    pub filter: Filter,
    /// Scientific names.
    pub taxa: Taxa,
    /// What a package says about its project.
    pub metadata: Metadata,
}

/// What happens while records are written.
pub enum Progress<'a> {
    /// This number of records was written.
    Records(usize),
    /// A record cannot be read. The others go on.
    Damaged(&'a Error),
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Rows of a table.
    Csv(u64),
    /// A package.
    CamtrapDp(CamtrapCounts),
    /// Lines of training data.
    Training(TrainingCounts),
}

/// Why an export is not complete.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The records cannot be read.
    #[error(transparent)]
    List(#[from] ListError),
    /// The deployments cannot be read.
    #[error(transparent)]
    Ledger(#[from] Error),
    /// There is no package of these records.
    #[error(transparent)]
    Camtrap(#[from] CamtrapError),
    /// A deployments table without rows cannot be made: a defect.
    #[error(transparent)]
    Deployments(#[from] DeploymentsError),
    /// The output fails.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
}

/// The days of an export are no days.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportDaysError {
    /// They are too many.
    #[error("an export has at most {MAX_YEARS} years: choose a later from, or an earlier to")]
    TooLong,
    /// The first is after the last.
    #[error(transparent)]
    Span(#[from] SpanError),
    /// There is no day after the last of them.
    #[error("{0} is the last day there is")]
    EndOfTime(NaiveDate),
}

/// The days from `from` to `to` in spans of up to a year. By default, the year that ends with `to`, or `today`.
///
/// # Errors
///
/// If they are no days, or more than [`MAX_YEARS`].
pub fn spans(
    by: By,
    from: Option<NaiveDate>,
    to: Option<NaiveDate>,
    today: NaiveDate,
) -> Result<Vec<Span>, ExportDaysError> {
    let to = to.unwrap_or(today);
    let year = Days::new(MAX_DAYS - 1);
    if from.is_some_and(|from| to.years_since(from) > Some(MAX_YEARS)) {
        return Err(ExportDaysError::TooLong);
    }
    let mut from = from.unwrap_or_else(|| to.checked_sub_days(year).unwrap_or(to));
    let mut spans = Vec::new();
    loop {
        let end = from.checked_add_days(year).map_or(to, |end| end.min(to));
        spans.push(Span::new(by, from, end)?);
        if end == to {
            return Ok(spans);
        }
        from = end.succ_opt().ok_or(ExportDaysError::EndOfTime(end))?;
    }
}

impl Export {
    /// Writes the records to `out`, the oldest first. `deadline` gives each call of a table its time.
    ///
    /// # Errors
    ///
    /// If the records cannot be read, or the output fails. Then what was written is not complete.
    pub async fn write(
        &self,
        ledger: &Ledger,
        mut out: impl Write,
        deadline: impl Fn() -> Deadline,
        mut progress: impl FnMut(Progress<'_>),
    ) -> Result<Written, ExportError> {
        let (deadline, progress) = (&deadline, &mut progress);
        Ok(match self.format {
            Format::Csv => {
                let mut export = CsvExport::new(&mut out, self.taxa.clone())?;
                self.each(ledger, deadline, progress, |record| {
                    Ok(export.write(record)?)
                })
                .await?;
                Written::Csv(export.finish()?)
            }
            Format::Training => {
                let mut export = TrainingExport::new(&mut out);
                self.each(ledger, deadline, progress, |record| {
                    Ok(export.write(record)?)
                })
                .await?;
                Written::Training(export.finish()?)
            }
            Format::CamtrapDp => {
                let deployments = match ledger.deployments(deadline()).await? {
                    Some(deployments) => deployments,
                    None => Deployments::parse(NO_DEPLOYMENTS.as_bytes())?,
                };
                let mut export = CamtrapDp::new(&deployments, &self.taxa, &self.metadata)?;
                self.each(ledger, deadline, progress, |record| {
                    Ok(export.write(record)?)
                })
                .await?;
                Written::CamtrapDp(export.finish(out)?)
            }
        })
    }

    /// Calls `write` with each record.
    async fn each(
        &self,
        ledger: &Ledger,
        deadline: &impl Fn() -> Deadline,
        progress: &mut impl FnMut(Progress<'_>),
        mut write: impl FnMut(&Record) -> Result<(), ExportError>,
    ) -> Result<(), ExportError> {
        for &span in &self.spans {
            let query = Query {
                span,
                filter: self.filter.clone(),
                order: Order::Oldest,
            };
            let page = |cursor| ledger.records(&query, MAX_PAGE, cursor, deadline());
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
                let written = async { current.records.iter().try_for_each(&mut write) };
                let (fetched, written) = tokio::join!(ahead, written);
                written?;
                progress(Progress::Records(current.records.len()));
                for error in &current.damaged {
                    progress(Progress::Damaged(error));
                }
                next = fetched?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_come_in_spans_of_a_year() {
        let date = |text: &str| text.parse::<NaiveDate>().unwrap();
        let today = date("2026-05-01");
        let of = |from, to| spans(By::Night, from, to, today);
        assert_eq!(of(None, None).unwrap()[0].from(), date("2025-05-01"));
        let years = of(Some(date("2024-01-01")), None).unwrap();
        assert_eq!(years.len(), 3);
        assert_eq!(years[0].to().succ_opt(), Some(years[1].from()));
        assert_eq!(years[2].to(), today);
        assert_eq!(
            of(Some(date("2000-01-01")), None),
            Err(ExportDaysError::TooLong)
        );
        assert!(of(Some(date("2026-05-02")), None).is_err());
        assert!(of(Some(NaiveDate::MAX), Some(NaiveDate::MAX)).is_ok());
    }
}
