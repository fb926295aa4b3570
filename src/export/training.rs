//! Training data: the photos that a reviewer gave a label, as JSON Lines.

use std::io::{self, Write};

use serde::Serialize;

use super::Kind;
use crate::records::Record;

/// Writes one JSON object for each record whose reviewer named a class.
///
/// `uri` is [`ObjectVersion::uri`](crate::object::ObjectVersion::uri), `label` the reviewer's class, `predicted` the
/// model's most probable label and `probability` its probability. A photo without moth has the label
/// [`NOT_A_MOTH`](super::NOT_A_MOTH). A photo that the reviewer could not tell has no label, and is skipped.
#[derive(Debug)]
pub struct TrainingExport<W: Write> {
    out: W,
    counts: TrainingCounts,
}

/// What became of the records of a [`TrainingExport`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrainingCounts {
    /// Records that were written.
    pub written: u64,
    /// Records that were skipped because they have no review.
    pub not_reviewed: u64,
    /// Records that were skipped because the reviewer could not tell.
    pub unknown: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    uri: String,
    label: &'a str,
    predicted: &'a str,
    probability: f32,
    model_version: &'a str,
    station: Option<&'a str>,
    night: Option<String>,
}

impl<W: Write> TrainingExport<W> {
    /// Writes to `out`, a line in one call.
    pub fn new(out: W) -> Self {
        Self {
            out,
            counts: TrainingCounts::default(),
        }
    }

    /// Writes one record, or skips it.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        let Some(review) = &record.review else {
            self.counts.not_reviewed += 1;
            return Ok(());
        };
        if Kind::of(&review.class) == Kind::Unknown {
            self.counts.unknown += 1;
            return Ok(());
        }
        let line = Line {
            uri: record.object.uri(),
            label: review.class.as_str(),
            predicted: record.predicted.as_str(),
            probability: record.probability,
            model_version: &record.model_version,
            station: record.station.as_deref(),
            night: record.night().map(|night| night.to_string()),
        };
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.counts.written += 1;
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    ///
    /// If the output fails.
    pub fn finish(mut self) -> io::Result<TrainingCounts> {
        self.out.flush()?;
        Ok(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::export::fixtures::{record, reviewed};

    #[test]
    fn reviewed_photos_with_a_label_are_written() {
        let mut odd = reviewed(record(3), "NOT_A_MOTH", "Ada");
        odd.object.key = "field 2/a?b#c+d%.jpg".into();
        odd.station = None;
        odd.captured = None;
        let records = [
            record(1),
            reviewed(record(2), "AAW", "Ada"),
            odd,
            reviewed(record(4), "UNKNOWN", "Ada"),
        ];
        let mut out = Vec::new();
        let mut export = TrainingExport::new(&mut out);
        for record in &records {
            export.write(record).unwrap();
        }
        let expected = TrainingCounts {
            written: 2,
            not_reviewed: 1,
            unknown: 1,
        };
        assert_eq!(export.finish().unwrap(), expected);
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({
                    "uri": "s3://moths/field-2/cam-7/IMG_0001.jpg?versionId=v.1",
                    "label": "AAW", "predicted": "FAW", "probability": 0.97,
                    "modelVersion": "0123456789ab", "station": "field-2", "night": "2026-05-01",
                }),
                json!({
                    "uri": "s3://moths/field%202/a%3Fb%23c%2Bd%25.jpg?versionId=v.1",
                    "label": "NOT_A_MOTH", "predicted": "FAW", "probability": 0.97,
                    "modelVersion": "0123456789ab", "station": null, "night": null,
                }),
            ]
        );
    }
}
