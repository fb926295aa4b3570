//! Why a package is not written.

use std::{collections::BTreeMap, fmt, io};

use chrono::NaiveDate;

use crate::{object::Escaped, records::Record};

/// Why a package is not written.
#[derive(Debug, thiserror::Error)]
pub enum CamtrapError {
    /// Records without deployment.
    #[error(
        "no package was written, because no deployment covers {0}. Add deployments to the deployments table, or export \
         other stations or nights"
    )]
    NoDeployment(Unplaced),
    /// No record was exported.
    #[error(
        "no package was written, because no record was chosen: a Camtrap DP package has at least one deployment"
    )]
    NoRecord,
    /// A temporary file cannot be written.
    #[error(
        "cannot write a temporary file of the export: TMPDIR must be a folder with space for it"
    )]
    Spool(#[source] io::Error),
    /// The package cannot be written.
    #[error("cannot write the package")]
    Write(#[source] io::Error),
}

/// Where the photos of records without deployment were taken, and how many there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unplaced(BTreeMap<Place, Count>);

/// Where the photo of a record without deployment was taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At this station, with this camera.
    Station(String, Option<String>),
    /// The record has no station.
    NoStation,
    /// The record is of an older version of this program, and has no time of capture.
    NoTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    records: u64,
    /// First and last night.
    nights: Option<(NaiveDate, NaiveDate)>,
}

impl Unplaced {
    /// Adds a record.
    pub(super) fn add(&mut self, record: &Record) {
        let place = match (&record.captured, &record.station) {
            (None, _) => Place::NoTime,
            (Some(_), None) => Place::NoStation,
            (Some(_), Some(station)) => Place::Station(station.clone(), record.camera.clone()),
        };
        let count = self.0.entry(place).or_insert(Count {
            records: 0,
            nights: None,
        });
        count.records += 1;
        if let Some(night) = record.night() {
            let (first, last) = count.nights.unwrap_or((night, night));
            count.nights = Some((first.min(night), last.max(night)));
        }
    }

    /// Whether every record has a deployment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of records at each place.
    pub fn places(&self) -> impl Iterator<Item = (&Place, u64)> {
        self.0.iter().map(|(place, count)| (place, count.records))
    }
}

/// Most places in one message.
const MAX_PLACES: usize = 20;

impl fmt::Display for Unplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (place, count)) in self.0.iter().take(MAX_PLACES).enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            let records = if count.records == 1 {
                "record"
            } else {
                "records"
            };
            write!(f, "{separator}{} {records} {place}", count.records)?;
            match count.nights {
                Some((first, last)) if first == last => write!(f, ", night {first}")?,
                Some((first, last)) => write!(f, ", nights {first} to {last}")?,
                None => {}
            }
        }
        match self.0.len().saturating_sub(MAX_PLACES) {
            0 => Ok(()),
            more => {
                let records: u64 = self.0.values().skip(MAX_PLACES).map(|n| n.records).sum();
                write!(f, "; and {records} records at {more} other places")
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Station(station, None) => write!(f, "of station {}", Escaped(station)),
            Self::Station(station, Some(camera)) => {
                write!(
                    f,
                    "of station {}, camera {}",
                    Escaped(station),
                    Escaped(camera)
                )
            }
            Self::NoStation => write!(f, "without station"),
            Self::NoTime => write!(f, "without time of capture"),
        }
    }
}
