//! Tests of the items of the two tables.

use super::*;
use crate::{
    capture::CaptureSource,
    object::{ObjectCreated, VersionId},
};

fn created(key: &str) -> ObjectCreated {
    let object = ObjectVersion {
        bucket: "moths".into(),
        key: key.into(),
        version: VersionId::new("v1"),
    };
    ObjectCreated::new(object, "eu-west-1".into(), None)
}

fn prediction() -> Prediction {
    prediction_of(KEY)
}

const KEY: &str = "farm 1/é.jpg";

/// A prediction for the photo with this `key`.
pub(in crate::ledger) fn prediction_of(key: &str) -> Prediction {
    let labels = ["AAW", "ECLW", "FAW"].map(|label| Label::try_from(label.to_owned()).unwrap());
    let probabilities = crate::model::Probabilities::new(labels.into(), vec![0.125, 0.0, 0.875]);
    let uploaded = "2026-11-20T23:30:05Z".parse::<DateTime<Utc>>().unwrap();
    let class = probabilities.as_ref().unwrap().top().0.clone();
    Prediction {
        class,
        waits_for_review: true,
        capture: Capture {
            at: "2026-11-20T23:03:00+01:00".parse().unwrap(),
            source: CaptureSource::Exif,
            doubt: None,
            night: "2026-11-20".parse().unwrap(),
            station: Some("field-2".into()),
            camera: None,
            position: Some(Position {
                latitude: -6.4541,
                longitude: 3.5,
            }),
        },
        file: PhotoFile {
            width: 640,
            height: 480,
            bytes: 12_345,
            sha256: [0xab; 32],
        },
        id: created(key).id.unread(),
        created: created(key),
        probabilities: probabilities.unwrap(),
        model_version: "0123456789ab".into(),
        uploaded: uploaded.with_timezone(&chrono_tz::Tz::Africa__Lagos),
        predicted_at: uploaded,
    }
}

/// The item's attributes in order, as JSON.
fn json(item: &Item) -> serde_json::Value {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => serde_json::json!(text),
        AttributeValue::N(number) => serde_json::json!({"N": number}),
        AttributeValue::M(map) => {
            let numbers = map
                .iter()
                .map(|(name, n)| (name.clone(), n.as_n().unwrap().clone().into()));
            serde_json::Value::Object(numbers.collect())
        }
        other => panic!("{other:?}"),
    };
    item.iter()
        .map(|(name, attribute)| (name.clone(), value(attribute)))
        .collect()
}

#[test]
fn a_record_has_the_attributes_and_formats_that_the_app_reads() {
    // 23:30 UTC is half past midnight of the next day in Lagos.
    assert_eq!(
        json(&record(&prediction(), 17)),
        serde_json::json!({
            "PredictionDate": "2026-11-21",
            "ClassPredictionID": format!("FAW-{}", created(KEY).id.unread()),
            "ClassName": "FAW",
            "Count_ClassName": {"N": "17"},
            "CaptureTime": "00:30:05",
            "ImageURL_ClassName":
                "https://moths.s3.eu-west-1.amazonaws.com/farm%201/%C3%A9.jpg?versionId=v1",
            "ConfidenceScore": "88%",
            "Probability": {"N": "0.875"},
            "Probabilities": {"AAW": "0.125", "ECLW": "0", "FAW": "0.875"},
            "Bucket": "moths",
            "ObjectKey": "farm 1/é.jpg",
            "VersionId": "v1",
            "ModelVersion": "0123456789ab",
            "PredictedAt": "2026-11-20T23:30:05.000Z",
            "CapturedAt": "2026-11-20T23:03:00+01:00",
            "CaptureSource": "exif",
            "Night": "2026-11-20",
            "NightKey": format!("2026-11-20T22:03:00Z#{}", created(KEY).id.unread()),
            "Station": "field-2",
            "Latitude": {"N": "-6.454100"},
            "Longitude": {"N": "3.500000"},
            "Width": {"N": "640"},
            "Height": {"N": "480"},
            "Bytes": {"N": "12345"},
            "Sha256": "ab".repeat(32),
            "ReviewQueue": "FAW",
            "ReviewRank": format!("0.875000#{}", created(KEY).id.unread()),
        })
    );
}

/// DynamoDB's size of an item: names and values in bytes, a number as two digits a byte and one more.
fn size(item: &Item) -> usize {
    let value = |value: &AttributeValue| match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number.len().div_ceil(2) + 1,
        AttributeValue::M(map) => {
            3 + map
                .iter()
                .map(|(name, n)| name.len() + 1 + n.as_n().unwrap().len().div_ceil(2) + 1)
                .sum::<usize>()
        }
        other => panic!("{other:?}"),
    };
    item.iter()
        .map(|(name, attribute)| name.len() + value(attribute))
        .sum()
}

#[test]
fn a_record_with_usual_names_is_one_write_unit() {
    let mut prediction = prediction_of("field-2/cam-7/IMG_20260501_235800.jpg");
    prediction.created.object.bucket = "moth-classifier-photos-123456789012".into();
    let version = "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY";
    prediction.created.object.version = VersionId::new(version);
    prediction.capture.camera = Some("Wingscapes WCB-00116".into());
    let size = size(&record(&prediction, 1234));
    assert!((800..=1024).contains(&size), "{size} bytes");
}

#[test]
fn items_are_read_as_they_are_written() {
    let (ours, other) = (CommitId::draw(), CommitId::draw());
    let item = counted(&prediction(), 17, ours);
    assert_eq!(
        entry(&item).unwrap(),
        Entry::Counted {
            class: prediction().class().clone(),
            date: prediction().date(),
            count: 17,
        }
    );
    assert!(is_ours(&item, ours) && !is_ours(&item, other));

    let item = rejected(
        &created(KEY).object,
        created(KEY).id.unread(),
        None,
        &Rejection::Gone,
        ours,
    );
    let reason = Rejection::Gone.to_string();
    assert_eq!(entry(&item).unwrap(), Entry::Rejected { reason });
}

#[test]
fn a_damaged_item_is_named_with_its_attribute() {
    let item = counted(&prediction(), 17, CommitId::draw());
    let text = |text: &str| Some(AttributeValue::S(text.into()));
    for (attribute, value) in [
        ("Status", text("LOST")),
        ("Status", None),
        ("ClassName", text("")),
        ("ClassName", None),
        (PREDICTION_DATE, text("yesterday")),
        ("Count_ClassName", text("17")),
        ("Count_ClassName", Some(number("-1"))),
    ] {
        let mut item = item.clone();
        match value {
            Some(value) => item.insert(attribute.into(), value),
            None => item.remove(attribute),
        };
        let error = entry(&item).unwrap_err().to_string();
        let key = object_key(prediction().id);
        assert_eq!(error, format!("ledger item {key} has no valid {attribute}"));
    }
    let counter = Item::from([("Issued".into(), number("-1"))]);
    assert!(issued("count/…", Some(&counter)).is_err());
    // A review may count in a class before the model does.
    let counter = Item::from([("Live".into(), number(1))]);
    assert_eq!(issued("count/…", Some(&counter)).unwrap(), 0);
    assert_eq!(issued("count/…", None).unwrap(), 0);
}
