//! The JSON form of a record: in `--json` output and in answers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::Record;
use crate::{ledger::item, model::decimal, object::VersionId};

/// What both tables say about one photo that was counted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Record)]
pub(crate) struct RecordJson<'a> {
    /// UUID of the photo.
    #[schema(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
    id: String,
    /// The effective class: the reviewer's, otherwise the model's.
    #[schema(example = "FAW")]
    class_name: &'a str,
    /// The class in which the model counted it; UNKNOWN if the model was not certain.
    model_class_name: &'a str,
    /// The model's most probable class.
    predicted_class_name: &'a str,
    /// Probability of that class, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    probability: f64,
    /// Probabilities of the most probable classes.
    probabilities: BTreeMap<&'a str, f64>,
    /// The day on which it counts: the date of the upload in TIME_ZONE.
    #[schema(format = Date, example = "2026-11-20")]
    date: String,
    /// Ordinal in the model's class on that day, from 1.
    #[schema(minimum = 1)]
    count: u64,
    /// Time of the upload in TIME_ZONE.
    #[schema(example = "2026-11-20T19:04:31")]
    uploaded_at: String,
    /// Trap night: the date on which the night began.
    #[schema(format = Date)]
    night: Option<String>,
    /// When the photo was taken.
    #[schema(format = DateTime)]
    captured_at: Option<String>,
    /// What says when it was taken: metadata, exif, filename or upload.
    capture_source: Option<String>,
    /// Why the camera's clock was not believed.
    capture_doubt: Option<String>,
    /// The station.
    station: Option<&'a str>,
    /// The camera.
    camera: Option<&'a str>,
    /// Degrees, from EXIF.
    latitude: Option<f64>,
    /// Degrees, from EXIF.
    longitude: Option<f64>,
    /// Columns of the upright photo.
    width: Option<u32>,
    /// Rows of the upright photo.
    height: Option<u32>,
    /// Length of the file.
    bytes: Option<u64>,
    /// SHA-256 of the file, hexadecimal.
    sha256: Option<String>,
    /// First 12 digits of the SHA-256 of the ONNX file.
    model_version: &'a str,
    /// When it was classified.
    #[schema(format = DateTime)]
    predicted_at: String,
    /// Bucket of the photo.
    bucket: &'a str,
    /// Object key of the photo.
    key: &'a str,
    /// Version id of the photo.
    version_id: Option<&'a str>,
    /// confirmed, relabelled or unknown; null without review.
    review_status: Option<String>,
    /// Name of the reviewer.
    reviewed_by: Option<&'a str>,
    /// Time of the review.
    #[schema(format = DateTime)]
    reviewed_at: Option<String>,
    /// Number of changes by people: the number in the `ETag`.
    revision: u64,
    /// Whether it waits for review.
    waits_for_review: bool,
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = |at: DateTime<Utc>| item::timestamp(at);
        let review = self.review.as_ref();
        let captured = self.captured.as_ref();
        let probabilities = self.probabilities.iter();
        RecordJson {
            id: self.id.to_string(),
            class_name: self.effective_class().as_str(),
            model_class_name: self.class.as_str(),
            predicted_class_name: self.predicted.as_str(),
            probability: decimal(self.probability),
            probabilities: probabilities
                .map(|(label, probability)| (label.as_str(), decimal(*probability)))
                .collect(),
            date: self.date.to_string(),
            count: self.count,
            uploaded_at: self.uploaded().format("%Y-%m-%dT%H:%M:%S").to_string(),
            night: captured.map(|captured| captured.night.to_string()),
            captured_at: captured.map(|captured| captured.at.to_rfc3339()),
            capture_source: captured.map(|captured| captured.source.to_string()),
            capture_doubt: captured.and_then(|captured| Some(captured.doubt?.to_string())),
            station: self.station.as_deref(),
            camera: self.camera.as_deref(),
            latitude: self.position.map(|position| position.latitude),
            longitude: self.position.map(|position| position.longitude),
            width: self.file.map(|file| file.width),
            height: self.file.map(|file| file.height),
            bytes: self.file.map(|file| file.bytes),
            sha256: self.file.map(|file| hex::encode(file.sha256)),
            model_version: &self.model_version,
            predicted_at: time(self.predicted_at),
            bucket: &self.object.bucket,
            key: &self.object.key,
            version_id: self.object.version.as_ref().map(VersionId::as_str),
            review_status: review.map(|review| review.status.to_string()),
            reviewed_by: review.map(|review| review.by.as_str()),
            reviewed_at: review.map(|review| time(review.at)),
            revision: self.revision,
            waits_for_review: self.waits_for_review,
        }
        .serialize(serializer)
    }
}
