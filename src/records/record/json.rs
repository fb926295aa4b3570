//! The JSON form of a record: in `--json` output and in answers.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};

use super::Record;
use crate::{ledger::item, object::VersionId};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json<'a> {
    id: String,
    class_name: &'a str,
    model_class_name: &'a str,
    predicted_class_name: &'a str,
    probability: f64,
    probabilities: BTreeMap<&'a str, f64>,
    date: String,
    count: u64,
    uploaded_at: String,
    night: Option<String>,
    captured_at: Option<String>,
    capture_source: Option<String>,
    capture_doubt: Option<String>,
    station: Option<&'a str>,
    camera: Option<&'a str>,
    latitude: Option<f64>,
    longitude: Option<f64>,
    width: Option<u32>,
    height: Option<u32>,
    bytes: Option<u64>,
    sha256: Option<String>,
    model_version: &'a str,
    predicted_at: String,
    bucket: &'a str,
    key: &'a str,
    version_id: Option<&'a str>,
    review_status: Option<String>,
    reviewed_by: Option<&'a str>,
    reviewed_at: Option<String>,
    revision: u64,
    waits_for_review: bool,
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = |at: DateTime<Utc>| item::timestamp(at);
        let review = self.review.as_ref();
        let captured = self.captured.as_ref();
        let probabilities = self.probabilities.iter();
        Json {
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

/// The number with the digits of `probability`, as in 0.97 for the f32 next to it.
fn decimal(probability: f32) -> f64 {
    let digits = probability.to_string();
    digits.parse().unwrap_or(f64::from(probability))
}
