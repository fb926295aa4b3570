//! The deployments table: which camera was at which station, where, and from when to when.
//!
//! The table has the columns of `deployments.csv` of [Camtrap DP 1.0.2](https://camtrap-dp.tdwg.org) and two more:
//!
//! - `timeZone`: the IANA name of the zone of the camera's clock, such as `Africa/Lagos`;
//! - `clockOffsetSeconds`: by how many seconds the camera's clock is ahead of the true time; negative if it is behind.
//!   The true time is the time that the camera shows, minus the offset.
//!
//! `locationID` is the station, and `cameraID` the camera, as in a [`Record`](crate::records::Record). A row without
//! cameraID is for all cameras of its station.

mod column;
mod fault;
mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset, SecondsFormat, TimeDelta, Timelike};
use chrono_tz::Tz;
use csv::{Terminator, WriterBuilder};

use self::column::{CAMTRAP_COLUMNS, COLUMNS, END, START};
pub use self::fault::{DeploymentsError, Fault};
use crate::photo::Position;

/// Longest table, in bytes. It is one item in DynamoDB, which has up to 400 KB.
pub const MAX_BYTES: usize = 256 * 1024;

/// The deployments table, checked: its ids are unique, and a camera has one deployment at a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployments {
    rows: Vec<Deployment>,
    /// Indices into `rows`, by station.
    by_station: BTreeMap<String, Vec<usize>>,
}

/// One camera, or all cameras, at one station for a time.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// deploymentID.
    pub id: String,
    /// locationID: the station.
    pub station: String,
    /// cameraID: the camera. `None` for all cameras of the station.
    pub camera: Option<String>,
    /// latitude and longitude.
    pub position: Position,
    /// deploymentStart.
    pub start: DateTime<FixedOffset>,
    /// deploymentEnd. A photo of this second belongs to the deployment.
    pub end: DateTime<FixedOffset>,
    /// timeZone: the zone of the camera's clock.
    pub time_zone: Option<Tz>,
    /// clockOffsetSeconds: how far the camera's clock is ahead of the true time.
    pub clock_offset: TimeDelta,
    /// All cells, in the order of [`COLUMNS`].
    cells: [String; COLUMNS.len()],
}

impl Deployment {
    /// Whether `instant` is from the first to the last second of the deployment.
    pub fn covers(&self, instant: DateTime<FixedOffset>) -> bool {
        let seconds = self.start.timestamp()..=self.end.timestamp();
        seconds.contains(&instant.timestamp())
    }

    /// The cells of Camtrap DP's columns, with times in the form that Camtrap DP requires.
    pub(crate) fn camtrap_cells(&self) -> impl Iterator<Item = String> {
        let cells = self.cells.iter().take(CAMTRAP_COLUMNS);
        cells.enumerate().map(|(column, cell)| match column {
            START => whole_seconds(self.start),
            END => whole_seconds(self.end),
            _ => cell.clone(),
        })
    }
}

impl Deployments {
    /// Reads a table from a CSV file in UTF-8, with or without byte order mark. The columns may be in any order, and
    /// columns that Camtrap DP does not require may be absent. `locationID` is required, because without it no photo
    /// could belong to the deployment.
    ///
    /// # Errors
    ///
    /// [`DeploymentsError::Invalid`] names all faults of the table, each with line, column, value and what is allowed.
    pub fn parse(csv: &[u8]) -> Result<Self, DeploymentsError> {
        let deployments = Self::new(read::rows(csv)?);
        // `to_csv` writes all columns, so it can be longer than what was read.
        match deployments.to_csv().len() {
            0..=MAX_BYTES => Ok(deployments),
            bytes => Err(DeploymentsError::TooLarge { bytes }),
        }
    }

    fn new(rows: Vec<Deployment>) -> Self {
        let mut by_station: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            by_station
                .entry(row.station.clone())
                .or_default()
                .push(index);
        }
        Self { rows, by_station }
    }

    /// The table as CSV: all columns, and the rows in the order in which they were read.
    #[expect(
        clippy::expect_used,
        reason = "a Vec takes all that is written, and all rows have the same number of cells"
    )]
    pub fn to_csv(&self) -> String {
        let mut writer = WriterBuilder::new()
            .terminator(Terminator::CRLF)
            .from_writer(Vec::new());
        let header = COLUMNS.iter().map(|column| column.name);
        writer.write_record(header).expect("a header");
        for row in &self.rows {
            writer.write_record(&row.cells).expect("a row");
        }
        let csv = writer.into_inner().expect("all rows");
        String::from_utf8(csv).expect("UTF-8, like all cells")
    }

    /// The deployments, in the order of the table.
    pub fn rows(&self) -> &[Deployment] {
        &self.rows
    }

    /// The deployment of `camera` at `station` for which `in_force` is true. A deployment that names the camera goes
    /// before one for all cameras of the station, and a later one before an earlier one.
    pub fn find(
        &self,
        station: &str,
        camera: Option<&str>,
        mut in_force: impl FnMut(&Deployment) -> bool,
    ) -> Option<&Deployment> {
        let indices = self.by_station.get(station)?;
        indices
            .iter()
            .map(|&index| &self.rows[index])
            .filter(|row| row.camera.is_none() || row.camera.as_deref() == camera)
            .filter(|row| in_force(row))
            .max_by_key(|row| (row.camera.is_some(), row.start))
    }

    /// The deployment of `camera` at `station` that covers `instant`, which is a true time.
    pub fn at(
        &self,
        station: &str,
        camera: Option<&str>,
        instant: DateTime<FixedOffset>,
    ) -> Option<&Deployment> {
        self.find(station, camera, |row| row.covers(instant))
    }
}

/// The names of Camtrap DP's own columns.
pub(crate) fn camtrap_columns() -> impl Iterator<Item = &'static str> {
    COLUMNS
        .iter()
        .take(CAMTRAP_COLUMNS)
        .map(|column| column.name)
}

/// `at` in the form that Camtrap DP requires: ISO 8601 in whole seconds, with offset.
pub(crate) fn whole_seconds(at: DateTime<FixedOffset>) -> String {
    // Nanoseconds of a leap second are over a billion: without them, second 60 is second 59.
    let at = at.with_nanosecond(0).unwrap_or(at);
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
