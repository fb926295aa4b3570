//! Shows the outcome of each photo, in a table or as JSON lines.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use serde::Serialize;

use crate::{
    cli::{
        files::File,
        table::{Column, Table},
    },
    object::{ObjectVersion, VersionId},
    respond::Report,
};

/// One photo as `local` shows it.
pub(super) enum Photo {
    /// It has an outcome.
    Ended(Report),
    /// It has none: the upload failed, or the function gave up on it.
    Failed(Failed),
}

/// The JSON form of a photo without outcome. Its members are those of a [`Report`].
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Failed {
    key: String,
    version_id: Option<String>,
    outcome: &'static str,
    class_name: Option<String>,
    probability: Option<f32>,
    count: Option<u64>,
    date: Option<String>,
    reason: String,
}

const FAILED: &str = "failed";

impl Photo {
    pub(super) fn failed(object: &ObjectVersion, reason: String) -> Self {
        Self::Failed(Failed {
            key: object.key.clone(),
            version_id: object
                .version
                .as_ref()
                .map(VersionId::as_str)
                .map(Into::into),
            outcome: FAILED,
            class_name: None,
            probability: None,
            count: None,
            date: None,
            reason,
        })
    }

    fn outcome(&self) -> &'static str {
        match self {
            Self::Ended(report) => report.outcome.as_str(),
            Self::Failed(failed) => failed.outcome,
        }
    }

    fn to_json(&self) -> serde_json::Result<String> {
        match self {
            Self::Ended(report) => serde_json::to_string(report),
            Self::Failed(failed) => serde_json::to_string(failed),
        }
    }

    fn print_row(&self, table: &Table) -> io::Result<()> {
        match self {
            Self::Ended(report) => table.row(&[
                report.outcome.as_str(),
                &report.key,
                report.class_name.as_deref().unwrap_or(""),
                &text(
                    report
                        .probability
                        .map(|probability| format!("{probability:.3}")),
                ),
                report.date.as_deref().unwrap_or(""),
                &text(report.count),
                report.reason.as_deref().unwrap_or(""),
            ]),
            Self::Failed(failed) => {
                table.row(&[FAILED, &failed.key, "", "", "", "", &failed.reason])
            }
        }
    }
}

/// An empty cell for `None`.
fn text(value: Option<impl ToString>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

/// Shows photos and sums them up.
pub(super) struct Show {
    table: Option<Table>,
    outcomes: BTreeMap<&'static str, usize>,
    /// The highest ordinal of each day and class.
    counts: BTreeMap<(String, String), u64>,
}

impl Show {
    pub(super) fn new(json: bool, files: &[File]) -> anyhow::Result<Self> {
        let columns = vec![
            Column::left("outcome", "duplicate".len()),
            Column::names("file", files.iter().map(|file| file.key.as_str())),
            Column::left("class", 5),
            Column::right("probability", 0),
            Column::left("date", "2026-11-20".len()),
            Column::right("count", 5),
            Column::left("reason", 0),
        ];
        let table = match json {
            true => None,
            false => Some(Table::new(columns, files.len())?),
        };
        Ok(Self {
            table,
            outcomes: BTreeMap::new(),
            counts: BTreeMap::new(),
        })
    }

    pub(super) fn photo(&mut self, photo: &Photo) -> io::Result<()> {
        *self.outcomes.entry(photo.outcome()).or_default() += 1;
        if let Photo::Ended(Report {
            date: Some(date),
            class_name: Some(class),
            count: Some(count),
            ..
        }) = photo
        {
            let group = (date.clone(), class.clone());
            let highest = self.counts.entry(group).or_default();
            *highest = (*count).max(*highest);
        }
        match &self.table {
            Some(table) => photo.print_row(table),
            None => writeln!(io::stdout(), "{}", photo.to_json()?),
        }
    }

    pub(super) fn summary(&self, elapsed: Duration) -> io::Result<()> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        table.finish();
        let mut stdout = io::stdout().lock();
        let total: usize = self.outcomes.values().sum();
        let outcomes: Vec<String> = self
            .outcomes
            .iter()
            .map(|(word, n)| format!("{n} {word}"))
            .collect();
        let seconds = elapsed.as_secs_f64();
        let rate = total as f64 / seconds;
        writeln!(
            stdout,
            "\n{} in {seconds:.1} s, {rate:.1} a second",
            outcomes.join(", ")
        )?;
        for ((date, class), count) in &self.counts {
            writeln!(stdout, "{date}  {class}: {count}")?;
        }
        Ok(())
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        match self.outcomes.contains_key(FAILED) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        }
    }
}
