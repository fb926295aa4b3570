//! The rows of `media.csv` and `observations.csv`.

use chrono::{DateTime, Utc};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::metadata::CaptureMethod;
use crate::{
    deployments::{Deployment, whole_seconds},
    export::{Kind, Taxa, inert},
    model::Label,
    records::{Captured, Record},
};

pub(super) const MEDIA_COLUMNS: [&str; 11] = [
    "mediaID",
    "deploymentID",
    "captureMethod",
    "timestamp",
    "filePath",
    "filePublic",
    "fileName",
    "fileMediatype",
    "exifData",
    "favorite",
    "mediaComments",
];

pub(super) const OBSERVATION_COLUMNS: [&str; 28] = [
    "observationID",
    "deploymentID",
    "mediaID",
    "eventID",
    "eventStart",
    "eventEnd",
    "observationLevel",
    "observationType",
    "cameraSetupType",
    "scientificName",
    "count",
    "lifeStage",
    "sex",
    "behavior",
    "individualID",
    "individualPositionRadius",
    "individualPositionAngle",
    "individualSpeed",
    "bboxX",
    "bboxY",
    "bboxWidth",
    "bboxHeight",
    "classificationMethod",
    "classifiedBy",
    "classificationTimestamp",
    "classificationProbability",
    "observationTags",
    "observationComments",
];

/// Characters that cannot be in a value of a list of tags.
const TAG: &AsciiSet = &CONTROLS.add(b'%').add(b'|').add(b':');

/// The row of a photo in `media.csv`.
pub(super) fn media(
    record: &Record,
    captured: Captured,
    deployment: &Deployment,
    method: CaptureMethod,
) -> [String; MEDIA_COLUMNS.len()] {
    let key = &record.object.key;
    let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
    let doubt = captured.doubt.map(|doubt| {
        format!(
            "The camera's clock was not believed ({doubt}): the timestamp is that of the upload."
        )
    });
    [
        record.id.to_string(),
        deployment.id.clone(),
        method.to_string(),
        whole_seconds(captured.at),
        file_path(&record.object.uri()),
        "false".into(),
        inert(name).into_owned(),
        media_type(name).into(),
        String::new(),
        String::new(),
        doubt.unwrap_or_default(),
    ]
}

/// Camtrap DP forbids two dots in a row, so that no path leaves the package.
fn file_path(uri: &str) -> String {
    uri.replace("..", ".%2E")
}

/// Media type by the extension of the key. A key with another extension has a photo whose type the record does not say.
fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    match extension.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" | "jpe" | "jfif" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        _ => "image/*",
    }
}

/// What the model or a reviewer says about a photo: a row of `observations.csv`.
pub(super) struct Observation<'a> {
    record: &'a Record,
    captured: Captured,
    deployment: &'a Deployment,
    by: Classifier<'a>,
    kind: Kind,
    scientific_name: String,
    tags: String,
}

/// Who classified a photo.
enum Classifier<'a> {
    Machine,
    Human { name: &'a str, at: DateTime<Utc> },
}

/// The observations of a photo: the model's, and the reviewer's if there is one.
pub(super) fn observations<'a>(
    record: &'a Record,
    captured: Captured,
    deployment: &'a Deployment,
    taxa: &Taxa,
) -> impl Iterator<Item = Observation<'a>> {
    let observation = |class: &Label, by, predicted: Option<&Label>| {
        let mut tags = format!("class:{}", tag(class));
        if let Some(label) = predicted {
            tags = format!("{tags} | predicted:{}", tag(label));
        }
        let kind = Kind::of(class);
        Observation {
            record,
            captured,
            deployment,
            by,
            kind,
            scientific_name: match kind {
                Kind::Moth => {
                    let name = taxa.get(class).map_or(class.as_str(), String::as_str);
                    inert(name).into_owned()
                }
                Kind::NotAMoth | Kind::Unknown => String::new(),
            },
            tags,
        }
    };
    let predicted = (record.class != record.predicted).then_some(&record.predicted);
    let machine = observation(&record.class, Classifier::Machine, predicted);
    let human = record.review.as_ref().map(|review| {
        let by = Classifier::Human {
            name: &review.by,
            at: review.at,
        };
        observation(&review.class, by, None)
    });
    [Some(machine), human].into_iter().flatten()
}

fn tag(label: &Label) -> impl std::fmt::Display {
    utf8_percent_encode(label.as_str(), TAG)
}

impl Observation<'_> {
    /// Empty if the photo shows no moth, or nobody can tell.
    pub(super) fn scientific_name(&self) -> &str {
        &self.scientific_name
    }

    pub(super) fn cells(self) -> [String; OBSERVATION_COLUMNS.len()] {
        let Self {
            record,
            captured,
            deployment,
            ..
        } = self;
        let (method, by, at, probability) = match self.by {
            Classifier::Machine => (
                "machine",
                format!("moth-classifier, model {}", record.model_version),
                record.predicted_at,
                record.probability.to_string(),
            ),
            Classifier::Human { name, at } => {
                ("human", inert(name).into_owned(), at, String::new())
            }
        };
        let kind = match self.kind {
            Kind::Moth => "animal",
            Kind::NotAMoth => "blank",
            Kind::Unknown => "unknown",
        };
        let timestamp = whole_seconds(captured.at);
        let absent = String::new;
        [
            format!("{}-{method}", record.id),
            deployment.id.clone(),
            record.id.to_string(),
            format!("{}/{}", deployment.station, captured.night),
            timestamp.clone(),
            timestamp,
            "media".into(),
            kind.into(),
            absent(), // cameraSetupType
            self.scientific_name,
            absent(), // count
            absent(), // lifeStage
            absent(), // sex
            absent(), // behavior
            absent(), // individualID
            absent(), // individualPositionRadius
            absent(), // individualPositionAngle
            absent(), // individualSpeed
            absent(), // bboxX
            absent(), // bboxY
            absent(), // bboxWidth
            absent(), // bboxHeight
            method.into(),
            by,
            whole_seconds(at.fixed_offset()),
            probability,
            self.tags,
            absent(), // observationComments
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_no_two_dots_in_a_row() {
        for (uri, path) in [
            ("s3://moths/a.jpg", "s3://moths/a.jpg"),
            ("s3://moths/a..jpg", "s3://moths/a.%2Ejpg"),
            ("s3://moths/.../....jpg", "s3://moths/.%2E./.%2E.%2Ejpg"),
        ] {
            assert_eq!(file_path(uri), path);
        }
    }

    #[test]
    fn the_extension_tells_the_media_type() {
        for (name, expected) in [
            ("IMG_0001.JPG", "image/jpeg"),
            ("a.b.webp", "image/webp"),
            ("a.png", "image/png"),
            ("photo", "image/*"),
            ("a.jpg.part", "image/*"),
        ] {
            assert_eq!(media_type(name), expected);
        }
    }
}
