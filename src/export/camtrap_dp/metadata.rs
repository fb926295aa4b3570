//! `datapackage.json`.

use std::{collections::BTreeSet, str::FromStr};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Value, json};

use crate::{
    deployments::{Deployment, whole_seconds},
    photo::Position,
};

/// The URL below which the profile and the schemas of Camtrap DP 1.0.2 are.
const CAMTRAP_DP: &str = "https://raw.githubusercontent.com/tdwg/camtrap-dp/1.0.2";

/// What the records do not say about a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Title of the project.
    pub title: String,
    /// Name of the person or organisation to ask about the package.
    pub contact: String,
    /// How the stations were chosen.
    pub sampling_design: SamplingDesign,
    /// What makes the cameras take photos.
    pub capture_method: CaptureMethod,
    /// Licences. Without them, nobody but their owner may use data and photos.
    pub licences: Option<Licences>,
    /// When the package is made.
    pub created: DateTime<Utc>,
}

/// How the stations of a project were chosen.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames,
)]
#[strum(serialize_all = "camelCase")]
pub enum SamplingDesign {
    /// At random.
    SimpleRandom,
    /// At random, then in a regular pattern.
    SystematicRandom,
    /// At random, in groups.
    ClusteredRandom,
    /// To study an effect.
    Experimental,
    /// Where certain species are expected, such as the fields that a pest attacks.
    Targeted,
    /// Where it was convenient.
    Opportunistic,
}

/// What makes a camera take a photo.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::Display, strum::EnumString, strum::VariantNames,
)]
#[strum(serialize_all = "camelCase")]
pub enum CaptureMethod {
    /// Something moved.
    ActivityDetection,
    /// Time passed.
    TimeLapse,
}

/// The licences of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Licences {
    /// Licence of the tables.
    pub data: LicenceName,
    /// Licence of the photos.
    pub media: LicenceName,
}

/// Name of a licence as [Open Definition](https://licenses.opendefinition.org) spells it, such as `CC-BY-4.0`: letters,
/// digits, `-`, `.` and `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LicenceName(String);

/// The text is no name of a licence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of a licence such as CC-BY-4.0 or CC0-1.0")]
pub struct LicenceNameError(String);

impl FromStr for LicenceName {
    type Err = LicenceNameError;

    fn from_str(text: &str) -> Result<Self, LicenceNameError> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        match !text.is_empty() && text.chars().all(is_allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(LicenceNameError(text.to_owned())),
        }
    }
}

impl Metadata {
    /// The JSON for these deployments and the scientific names of the observations. `None` without deployment: a package
    /// has a place and a time.
    pub(super) fn package(
        &self,
        deployments: &[&Deployment],
        names: &BTreeSet<String>,
    ) -> Option<String> {
        let date = |at: DateTime<_>| -> NaiveDate { at.date_naive() };
        let start = deployments.iter().map(|row| date(row.start)).min()?;
        let end = deployments.iter().map(|row| date(row.end)).max()?;
        let taxonomic: Vec<Value> = names
            .iter()
            .map(|name| json!({"scientificName": name}))
            .collect();
        let resources = ["deployments", "media", "observations"].map(resource);
        let mut package = json!({
            "profile": format!("{CAMTRAP_DP}/camtrap-dp-profile.json"),
            "created": whole_seconds(self.created.fixed_offset()),
            "title": self.title,
            "contributors": [{"title": self.contact, "role": "contact"}],
            "sources": [{"title": "moth-classifier", "version": env!("CARGO_PKG_VERSION")}],
            "project": {
                "title": self.title,
                "samplingDesign": self.sampling_design.to_string(),
                "captureMethod": [self.capture_method.to_string()],
                "individualAnimals": false,
                "observationLevel": ["media"],
            },
            "spatial": spatial(deployments.iter().map(|row| row.position))?,
            "temporal": {"start": start.to_string(), "end": end.to_string()},
            "taxonomic": taxonomic,
            "resources": resources,
        });
        if let Some(Licences { data, media }) = &self.licences {
            package["licenses"] = json!([
                {"name": data.0, "scope": "data"},
                {"name": media.0, "scope": "media"},
            ]);
        }
        Some(format!("{package:#}\n"))
    }
}

fn resource(name: &str) -> Value {
    json!({
        "name": name,
        "path": format!("{name}.csv"),
        "profile": "tabular-data-resource",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8",
        "schema": format!("{CAMTRAP_DP}/{name}-table-schema.json"),
    })
}

/// The smallest rectangle with all `positions`, as GeoJSON: a point if they are one. `None` without position.
fn spatial(positions: impl Iterator<Item = Position>) -> Option<Value> {
    let boxes = positions.map(
        |Position {
             latitude,
             longitude,
         }| { [longitude, latitude, longitude, latitude] },
    );
    let bbox @ [west, south, east, north] = boxes.reduce(|a, b| {
        [
            a[0].min(b[0]),
            a[1].min(b[1]),
            a[2].max(b[2]),
            a[3].max(b[3]),
        ]
    })?;
    Some(match (west, south) == (east, north) {
        true => json!({"type": "Point", "bbox": bbox, "coordinates": [west, south]}),
        false => json!({
            "type": "Polygon",
            "bbox": bbox,
            "coordinates": [
                [[west, south], [east, south], [east, north], [west, north], [west, south]],
            ],
        }),
    })
}
