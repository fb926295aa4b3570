//! A package of [Camtrap DP 1.0.2](https://camtrap-dp.tdwg.org): a zip with `datapackage.json`, `deployments.csv`,
//! `media.csv` and `observations.csv`.
//!
//! | Camtrap DP | record |
//! |---|---|
//! | deploymentID | the deployment of station and camera at the time of capture |
//! | mediaID | the photo's UUID |
//! | filePath | [`ObjectVersion::uri`](crate::object::ObjectVersion::uri) |
//! | observations | one of the model, and one of the reviewer if there is a review |
//! | eventID | station, slash, trap night |
//! | eventStart, eventEnd | the time of capture, because each observation is of one photo |
//! | observationType | `unknown` for UNKNOWN, `blank` for NOT_A_MOTH, otherwise `animal` |
//! | scientificName | the name of the class in the model's taxa; the class itself if it has none |
//! | observationTags | `class:<class>`, and `predicted:<label>` if the model's class is UNKNOWN |
//! | count | empty: a photo may show several moths |

mod error;
mod metadata;
mod rows;
mod spool;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

pub use self::{
    error::{CamtrapError, Place, Unplaced},
    metadata::{CaptureMethod, LicenceName, LicenceNameError, Licences, Metadata, SamplingDesign},
};
use self::{
    rows::{MEDIA_COLUMNS, OBSERVATION_COLUMNS},
    spool::Spool,
};
use super::Taxa;
use crate::{
    deployments::{Deployment, Deployments, camtrap_columns},
    records::{Captured, Record},
};

/// Writes a Camtrap DP package. Media and observations are in temporary files until the zip is written.
#[derive(Debug)]
pub struct CamtrapDp<'a> {
    deployments: &'a Deployments,
    taxa: &'a Taxa,
    metadata: &'a Metadata,
    media: Spool,
    observations: Spool,
    /// Stations of the records.
    stations: BTreeSet<&'a str>,
    /// Scientific names in the observations.
    names: BTreeSet<String>,
    unplaced: Unplaced,
}

/// What a package has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CamtrapCounts {
    /// Rows of `deployments.csv`.
    pub deployments: u64,
    /// Rows of `media.csv`: one for each record.
    pub media: u64,
    /// Rows of `observations.csv`.
    pub observations: u64,
}

impl<'a> CamtrapDp<'a> {
    /// Creates the temporary files.
    ///
    /// # Errors
    ///
    /// [`CamtrapError::Spool`] if they cannot be written.
    pub fn new(
        deployments: &'a Deployments,
        taxa: &'a Taxa,
        metadata: &'a Metadata,
    ) -> Result<Self, CamtrapError> {
        Ok(Self {
            deployments,
            taxa,
            metadata,
            media: Spool::new(&MEDIA_COLUMNS).map_err(CamtrapError::Spool)?,
            observations: Spool::new(&OBSERVATION_COLUMNS).map_err(CamtrapError::Spool)?,
            stations: BTreeSet::new(),
            names: BTreeSet::new(),
            unplaced: Unplaced::default(),
        })
    }

    /// Adds one record. A record without deployment is reported by [`finish`](Self::finish).
    ///
    /// # Errors
    ///
    /// [`CamtrapError::Spool`] if a temporary file cannot be written.
    pub fn write(&mut self, record: &Record) -> Result<(), CamtrapError> {
        match self.deployment(record) {
            Some((deployment, captured)) => self
                .write_rows(record, captured, deployment)
                .map_err(CamtrapError::Spool),
            None => {
                self.unplaced.add(record);
                Ok(())
            }
        }
    }

    /// The deployment in which the photo was taken.
    fn deployment(&self, record: &Record) -> Option<(&'a Deployment, Captured)> {
        let (captured, station) = (record.captured?, record.station.as_deref()?);
        let camera = record.camera.as_deref();
        let deployment = self.deployments.at(station, camera, captured.at)?;
        Some((deployment, captured))
    }

    fn write_rows(
        &mut self,
        record: &Record,
        captured: Captured,
        deployment: &'a Deployment,
    ) -> io::Result<()> {
        let method = self.metadata.capture_method;
        let media = rows::media(record, captured, deployment, method);
        self.media.push(media)?;
        for observation in rows::observations(record, captured, deployment, self.taxa) {
            let name = observation.scientific_name();
            if !name.is_empty() && !self.names.contains(name) {
                self.names.insert(name.to_owned());
            }
            self.observations.push(observation.cells())?;
        }
        self.stations.insert(&deployment.station);
        Ok(())
    }

    /// Writes the zip to `out`. `deployments.csv` has all deployments of the stations of the records, also those without
    /// photo: a camera that ran and caught nothing is a finding.
    ///
    /// # Errors
    ///
    /// - [`CamtrapError::NoDeployment`] if a record has none, and [`CamtrapError::NoRecord`] if there is no record.
    ///   Nothing was written.
    /// - [`CamtrapError::Write`] if `out` fails. What was written is no valid zip.
    pub fn finish(self, mut out: impl Write) -> Result<CamtrapCounts, CamtrapError> {
        if !self.unplaced.is_empty() {
            return Err(CamtrapError::NoDeployment(self.unplaced));
        }
        let rows = self.deployments.rows().iter();
        let deployments: Vec<&Deployment> = rows
            .filter(|row| self.stations.contains(row.station.as_str()))
            .collect();
        let package = self
            .metadata
            .package(&deployments, &self.names)
            .ok_or(CamtrapError::NoRecord)?;
        let counts = CamtrapCounts {
            deployments: deployments.len() as u64,
            media: self.media.rows(),
            observations: self.observations.rows(),
        };
        let mut zip = ZipWriter::new_stream(&mut out);
        let written = (|| {
            zip.start_file("datapackage.json", options(0))?;
            zip.write_all(package.as_bytes())?;
            zip.start_file("deployments.csv", options(0))?;
            write_deployments(&mut zip, &deployments)?;
            for (name, spool) in [
                ("media.csv", self.media),
                ("observations.csv", self.observations),
            ] {
                let (mut file, bytes) = spool.into_file()?;
                zip.start_file(name, options(bytes))?;
                io::copy(&mut file, &mut zip)?;
            }
            io::Result::Ok(())
        })();
        match written {
            Ok(()) => zip.finish().map_err(io::Error::from),
            Err(error) => {
                // Dropping it would write the end of the zip, which would then look complete.
                std::mem::forget(zip);
                Err(error)
            }
        }
        .map_err(CamtrapError::Write)?;
        out.flush().map_err(CamtrapError::Write)?;
        Ok(counts)
    }
}

/// Options of an entry of `bytes` bytes.
fn options(bytes: u64) -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        // A zip without the extension zip64 has entries of up to 4 GiB. Deflate may lengthen data by a little.
        .large_file(bytes > 0xF000_0000)
}

fn write_deployments(out: impl Write, deployments: &[&Deployment]) -> io::Result<()> {
    let mut csv = spool::writer(out);
    csv.write_record(camtrap_columns())?;
    for deployment in deployments {
        csv.write_record(deployment.camtrap_cells())?;
    }
    csv.flush()
}
