//! Properties that each parser must keep for any bytes. `cargo fuzz` checks them, and
//! `tests/integration/hostile/parsers.rs`.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each fuzz target uses one function, and a panic is a finding"
)]

use std::collections::HashMap;

use chrono::{DateTime, NaiveTime, TimeDelta};
use moth_classifier::{
    capture::{Evidence, KeyPattern, Rules},
    deployments::Deployments,
    event,
    model::{Color, Input, Layout, Manifest, Preprocess, Resize},
    object::ObjectId,
    photo::{self, Encoded, Exif, Limits, Rejection},
    records::Cursor,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

/// Small limits, so that an input takes no time.
const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    pixels: 1 << 18,
};

/// Any JSON is an event or an error. A created object has a name, a harmless display and a plain URL.
pub fn event(bytes: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Value>(bytes) else {
        return;
    };
    for part in event::parse(&event, "eu-west-1").parts {
        for created in part.records {
            match created {
                Ok(created) => {
                    let object = &created.object;
                    assert!(!object.bucket.is_empty() && !object.key.is_empty());
                    assert!(!object.to_string().chars().any(char::is_control));
                    let path = object
                        .url("r")
                        .split_off("https://".len() + object.bucket.len());
                    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    }
}

/// A decoded key is the same after it is encoded and decoded again.
pub fn key(bytes: &[u8]) {
    let Ok(encoded) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(key) = event::decode_key(encoded) {
        let again = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string();
        assert_eq!(event::decode_key(&again), Ok(key));
    }
}

/// An accepted manifest has the members that the function relies on.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        assert!(!manifest.labels.is_empty());
        assert!(manifest.input.width > 0 && manifest.input.height > 0);
        assert!(manifest.model_version().len() <= 12);
        assert!(manifest.file.components().count() == 1);
    }
}

/// Any EXIF block, object metadata and key give a time about the upload's, and names that fit into a record.
pub fn capture(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let exif = Exif::read(Some(bytes));
    let metadata = HashMap::from([
        ("captured-at".to_owned(), text.clone()),
        ("station".to_owned(), text.clone()),
    ]);
    let uploaded = DateTime::from_timestamp(1_777_802_400, 0).unwrap();
    for metadata in [&metadata, &HashMap::new()] {
        let evidence = Evidence {
            metadata,
            exif: &exif,
            key: &text,
            last_modified: uploaded,
        };
        let capture = rules().read(evidence, None);
        let age = uploaded.signed_duration_since(capture.at);
        assert!(age >= TimeDelta::hours(-1) && age <= TimeDelta::days(400));
        let date = capture.at.with_timezone(&rules().time_zone).date_naive();
        assert!((0..=1).contains(&(date - capture.night).num_days()));
        for name in [capture.station, capture.camera].into_iter().flatten() {
            assert!((1..=100).contains(&name.len()) && !name.chars().any(char::is_control));
        }
        if let Some(position) = capture.position {
            assert!(position.latitude.abs() <= 90.0 && position.longitude.abs() <= 180.0);
        }
    }
}

fn rules() -> Rules {
    Rules {
        time_zone: "Europe/Berlin".parse().unwrap(),
        night_starts: NaiveTime::from_hms_opt(12, 0, 0).unwrap(),
        key_pattern: KeyPattern::default(),
    }
}

/// Any bytes are a photo or a rejection with a reason.
pub fn photo(bytes: &[u8]) {
    if let Err(rejection) = tensor(bytes) {
        assert!(!rejection.to_string().is_empty());
    }
}

/// Decodes `bytes`. The tensor has the shape of the input, and values from 0 to 1.
pub fn tensor(bytes: &[u8]) -> Result<(), Rejection> {
    let input = Input {
        name: "image".into(),
        layout: Layout::Nhwc,
        width: 13,
        height: 7,
    };
    let preprocess = Preprocess {
        resize: Resize::Bicubic,
        color: Color::Rgb,
        scale: 1.0 / 255.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    let encoded = Encoded::open(bytes, LIMITS)?;
    let pixels = encoded.pixels();
    assert!((1..=LIMITS.pixels).contains(&pixels));
    let photo = encoded.decode(&input)?;
    let (width, height) = photo.pixels.dimensions();
    let decoded = u64::from(width) * u64::from(height);
    assert!([1, 4, 16, 64].contains(&(pixels / decoded)) && pixels % decoded == 0);
    let tensor = photo::tensor(&photo, &input, &preprocess);
    assert_eq!(tensor.shape, [1, 7, 13, 3]);
    assert_eq!(tensor.values.len(), 7 * 13 * 3);
    assert!(
        tensor
            .values
            .iter()
            .all(|value| (0.0..=1.0).contains(value))
    );
    Ok(())
}

/// Any text is a deployments table, a cursor or an id, or an error; what was read is written, and read as the same.
pub fn records(bytes: &[u8]) {
    match Deployments::parse(bytes) {
        Ok(table) => {
            let again = Deployments::parse(table.to_csv().as_bytes());
            assert_eq!(again.as_ref().unwrap(), &table);
            let instant = DateTime::from_timestamp(1_777_802_400, 0).unwrap();
            table.at("field-2", Some("cam-7"), instant.fixed_offset());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}
