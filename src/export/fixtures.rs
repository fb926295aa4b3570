//! Records for the tests of the exports.

use chrono::DateTime;

use super::Taxa;
use crate::{
    capture::{CaptureDoubt, CaptureSource},
    model::Label,
    object::{ObjectVersion, VersionId},
    photo::Position,
    prediction::PhotoFile,
    records::{Captured, Record, Review, ReviewStatus},
};

pub(super) fn label(name: &str) -> Label {
    Label::try_from(name.to_owned()).unwrap()
}

pub(super) fn taxa() -> Taxa {
    [
        (label("AAW"), "Spodoptera exempta".to_owned()),
        (label("FAW"), "Spodoptera frugiperda".to_owned()),
    ]
    .into()
}

/// A record of `field-2`, `cam-7`, at 23:58 of 1 May 2026.
pub(super) fn record(number: u32) -> Record {
    Record {
        id: format!("00000000-0000-0000-0000-{number:012}")
            .parse()
            .unwrap(),
        date: "2026-05-02".parse().unwrap(),
        time: "11:00:00".parse().unwrap(),
        class: label("FAW"),
        count: number.into(),
        predicted: label("FAW"),
        probability: 0.97,
        probabilities: vec![(label("FAW"), 0.97), (label("AAW"), 0.03)],
        model_version: "0123456789ab".into(),
        predicted_at: "2026-05-02T10:00:01.5Z".parse().unwrap(),
        object: ObjectVersion {
            bucket: "moths".into(),
            key: "field-2/cam-7/IMG_0001.jpg".into(),
            version: VersionId::new("v.1"),
        },
        captured: Some(Captured {
            at: DateTime::parse_from_rfc3339("2026-05-01T23:58:00+01:00").unwrap(),
            source: CaptureSource::Exif,
            doubt: None,
            night: "2026-05-01".parse().unwrap(),
        }),
        station: Some("field-2".into()),
        camera: Some("cam-7".into()),
        position: Some(Position {
            latitude: -6.4541,
            longitude: 3.5,
        }),
        file: Some(PhotoFile {
            width: 4000,
            height: 3000,
            bytes: 5_000_000,
            sha256: [0xab; 32],
        }),
        review: None,
        revision: 0,
        waits_for_review: false,
    }
}

/// `record` with a review of 3 May.
pub(super) fn reviewed(mut record: Record, class: &str, by: &str) -> Record {
    let class = label(class);
    record.review = Some(Review {
        status: ReviewStatus::of(&record.class, &class),
        class,
        by: by.into(),
        at: "2026-05-03T09:00:00Z".parse().unwrap(),
    });
    record.revision += 1;
    record
}

/// One record of every kind.
pub(super) fn records() -> Vec<Record> {
    let mut unknown = record(2);
    unknown.class = Label::unknown();
    unknown.probability = 0.4;
    let mut north = record(3);
    north.station = Some("north".into());
    let mut doubtful = reviewed(record(4), "NOT_A_MOTH", "=Ada");
    doubtful.captured = doubtful.captured.map(|captured| Captured {
        doubt: Some(CaptureDoubt::ResetClock),
        ..captured
    });
    doubtful.object.key = "field-2/-1..2".into();
    let mut blank = record(6);
    blank.class = label("NOT_A_MOTH");
    blank.predicted = blank.class.clone();
    vec![
        record(1),
        unknown.clone(),
        north,
        doubtful,
        reviewed(record(5), "a|b: 50%", "Ada"),
        blank,
        Record {
            id: record(7).id,
            ..reviewed(unknown, "AAW", "Ada")
        },
        reviewed(record(8), "UNKNOWN", "Ada"),
        reviewed(record(9), "FAW", "Ada"),
    ]
}
