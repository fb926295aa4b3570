//! When and where a photo was taken, from real JPEGs to the index of nights.

use std::{collections::HashMap, io::Cursor};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{Days, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::{Africa::Lagos, Europe::Berlin};
use exif::{Rational, Tag, Value};
use image::{ImageFormat, Rgb, RgbImage};
use moth_classifier::ledger::{BY_NIGHT, Index, TO_REVIEW};

use crate::support::{
    command::BINARY,
    event::{event, outcome},
    exif::{exif, field, text},
    item::{Item, number, string},
    photo::COLOR_MODEL,
    stack::{BUCKET, Options, Stack},
};

/// A blue JPEG of 60×40 pixels with this APP1 segment.
fn jpeg(exif: &[u8]) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(60, 40, Rgb([0, 0, 255]))
        .write_to(&mut bytes, ImageFormat::Jpeg)
        .unwrap();
    let bytes = bytes.into_inner();
    let content = [b"Exif\0\0", exif].concat();
    let length = u16::try_from(2 + content.len()).unwrap().to_be_bytes();
    [&bytes[..2], &[0xff, 0xe1], &length, &content, &bytes[2..]].concat()
}

/// A JPEG that was taken when the camera's clock showed `taken`.
fn taken(taken: NaiveDateTime, offset: Option<&str>) -> Vec<u8> {
    let time = taken.format("%Y:%m:%d %H:%M:%S").to_string();
    let offset = offset.map(|offset| text(Tag::OffsetTimeOriginal, offset));
    let mut fields = vec![text(Tag::DateTimeOriginal, &time)];
    fields.extend(offset);
    jpeg(&exif(&fields))
}

/// Uploads a photo, invokes the function, and returns the record.
async fn record(stack: &Stack, key: &str, bytes: Vec<u8>, metadata: &[(&str, &str)]) -> Item {
    let metadata = metadata
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    let put = stack.s3.put_object().bucket(BUCKET).key(key);
    let put = put.set_metadata(Some(metadata.collect::<HashMap<_, _>>()));
    let version = put
        .body(bytes.into())
        .send()
        .await
        .unwrap()
        .version_id
        .unwrap();
    let answer = stack.invoke(&event(&[(BUCKET, key, Some(&version))])).await;
    assert_eq!(outcome(&answer.unwrap())["outcome"], "recorded");
    let records = stack.records().await;
    let is_new = |record: &Item| string(record, "VersionId") == version;
    records.into_iter().find(is_new).unwrap()
}

fn optional(record: &Item, attribute: &str) -> Option<String> {
    record
        .contains_key(attribute)
        .then(|| string(record, attribute))
}

/// The day before yesterday in Lagos, where no time of that day is in the future.
fn some_day() -> NaiveDate {
    let today = Utc::now().with_timezone(&Lagos).date_naive();
    today - Days::new(2)
}

/// The records in an index with the partition key `value`, in the order of the index.
async fn query(stack: &Stack, index: Index, value: &str) -> Vec<Item> {
    let query = stack
        .dynamodb
        .query()
        .table_name("predictions")
        .index_name(index.name);
    let query = query
        .key_condition_expression(format!("{} = :value", index.partition_key))
        .expression_attribute_values(":value", AttributeValue::S(value.into()));
    query.send().await.unwrap().items.unwrap()
}

#[tokio::test]
async fn two_dates_are_one_night() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let evening = some_day();
    let morning = evening + Days::new(1);
    let before = evening.and_hms_opt(23, 58, 0).unwrap();
    let after = morning.and_hms_opt(0, 3, 0).unwrap();
    // The second camera's clock is an hour behind, and says so.
    let utc = after - TimeDelta::hours(1);
    let second = record(&stack, "field-2/b.jpg", taken(utc, Some("+00:00")), &[]).await;
    let first = record(&stack, "field-2/a.jpg", taken(before, None), &[]).await;
    for record in [&first, &second] {
        assert_eq!(string(record, "Night"), evening.to_string());
        assert_eq!(string(record, "CaptureSource"), "exif");
        assert_eq!(optional(record, "CaptureDoubt"), None);
        assert_eq!(string(record, "Station"), "field-2");
    }
    let in_lagos = format!("{evening}T23:58:00+01:00");
    assert_eq!(string(&first, "CapturedAt"), in_lagos);
    let in_utc = format!("{}Z", utc.format("%Y-%m-%dT%H:%M:%S"));
    assert_eq!(string(&second, "CapturedAt"), in_utc);

    let night = query(&stack, BY_NIGHT, &evening.to_string()).await;
    assert_eq!(night, [first, second]);
    let nights = stack.ledger("night/").await;
    assert_eq!(nights.len(), 1);
    assert_eq!(
        string(&nights[0], "LedgerKey"),
        format!("night/{evening}/FAW")
    );
    assert_eq!(number(&nights[0], "Live"), 2.0);
    stack.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_a_doubt_and_never_a_rejection() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let at = |year, month, day| NaiveDate::from_ymd_opt(year, month, day).unwrap();
    let midnight = |date: NaiveDate| date.and_hms_opt(0, 0, 30).unwrap();
    let hostile = [b"II*\0\x08\0\0\0".to_vec(), vec![0xff; 60_000]].concat();
    for (name, photo, doubt) in [
        ("reset", taken(midnight(at(2000, 1, 1)), None), "ancient"),
        ("future", taken(midnight(at(2999, 6, 1)), None), "future"),
        (
            "old",
            taken(midnight(at(2015, 6, 1)), None),
            "far-from-upload",
        ),
        (
            "new year",
            taken(midnight(at(2024, 1, 1)), None),
            "reset-clock",
        ),
        ("broken", jpeg(b"MM\0*\0\0\0\x08\0\x09"), "unreadable"),
        ("hostile", jpeg(&hostile), "unreadable"),
        (
            "no time",
            jpeg(&exif(&[text(Tag::DateTimeOriginal, "yesterday, at noon")])),
            "unreadable",
        ),
    ] {
        let record = record(&stack, &format!("{name}.jpg"), photo, &[]).await;
        assert_eq!(
            optional(&record, "CaptureDoubt").as_deref(),
            Some(doubt),
            "{name}"
        );
        assert_eq!(string(&record, "CaptureSource"), "upload", "{name}");
        // The night is that of the upload.
        let uploaded = format!(
            "{}T{}+01:00",
            string(&record, "PredictionDate"),
            string(&record, "CaptureTime")
        );
        assert_eq!(string(&record, "CapturedAt"), uploaded, "{name}");
    }
    stack.stop().await;
}

#[tokio::test]
async fn metadata_come_before_exif_and_exif_before_the_file_name() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let day = some_day();
    let rational =
        |values: [u32; 3]| Value::Rational(values.map(|num| Rational { num, denom: 1 }).to_vec());
    let photo = jpeg(&exif(&[
        text(
            Tag::DateTimeOriginal,
            &day.format("%Y:%m:%d 22:00:00").to_string(),
        ),
        text(Tag::BodySerialNumber, "A 17"),
        text(Tag::GPSLatitudeRef, "S"),
        field(Tag::GPSLatitude, rational([6, 27, 0])),
        text(Tag::GPSLongitudeRef, "E"),
        field(Tag::GPSLongitude, rational([3, 30, 36])),
    ]));
    let key = day.format("field-2/IMG_%Y%m%d_210000.jpg").to_string();
    let captured_at = format!("{day}T20:00:00Z");
    let metadata = [
        ("captured-at", &captured_at[..]),
        ("station", "north"),
        ("camera", "c1"),
    ];
    let told = record(&stack, &key, photo.clone(), &metadata).await;
    assert_eq!(string(&told, "CapturedAt"), captured_at);
    assert_eq!(string(&told, "CaptureSource"), "metadata");
    assert_eq!(
        [string(&told, "Station"), string(&told, "Camera")],
        ["north", "c1"]
    );

    let read = record(&stack, &key, photo, &[]).await;
    assert_eq!(string(&read, "CapturedAt"), format!("{day}T22:00:00+01:00"));
    assert_eq!(
        [string(&read, "Station"), string(&read, "Camera")],
        ["field-2", "A 17"]
    );
    assert_eq!(
        [number(&read, "Latitude"), number(&read, "Longitude")],
        [-6.45, 3.51]
    );
    assert_eq!(
        [number(&read, "Width"), number(&read, "Height")],
        [60.0, 40.0]
    );

    let named = record(&stack, &key, jpeg(b""), &[]).await;
    assert_eq!(
        string(&named, "CapturedAt"),
        format!("{day}T21:00:00+01:00")
    );
    assert_eq!(string(&named, "CaptureSource"), "filename");
    assert_eq!(optional(&named, "Camera"), None);
    stack.stop().await;
}

#[tokio::test]
async fn a_photo_that_the_model_is_not_sure_of_is_unknown_everywhere() {
    let stack = Stack::with(Options {
        variables: &[
            COLOR_MODEL,
            ("UNKNOWN_BELOW", "1"),
            ("NIGHT_STARTS", "00:00"),
        ],
        ..Options::invoked_by_hand()
    })
    .await;
    let key = "moth.jpg";
    let version = stack.upload(key, jpeg(b"")).await;
    let answer = stack
        .invoke(&event(&[(BUCKET, key, Some(&version))]))
        .await
        .unwrap();
    assert_eq!(outcome(&answer)["className"], "UNKNOWN");
    let records = stack.records().await;
    let record = &records[0];
    assert_eq!(string(record, "ClassName"), "UNKNOWN");
    assert_eq!(string(record, "PredictedClass"), "FAW");
    assert!(string(record, "ClassPredictionID").starts_with("UNKNOWN-"));
    assert_eq!(string(record, "ReviewQueue"), "UNKNOWN");
    let date = string(record, "PredictionDate");
    assert_eq!(string(record, "Night"), date);
    for (prefix, key) in [
        ("count/", format!("count/{date}/UNKNOWN")),
        ("night/", format!("night/{date}/UNKNOWN")),
    ] {
        let counters = stack.ledger(prefix).await;
        assert_eq!(counters.len(), 1);
        assert_eq!(string(&counters[0], "LedgerKey"), key);
    }
    assert_eq!(query(&stack, TO_REVIEW, "UNKNOWN").await, records);
    let log = stack.stop_and_read_log().await;
    assert!(
        log.iter()
            .any(|line| line["message"] == "photo" && line["class"] == "UNKNOWN")
    );
    assert!(
        log.iter()
            .any(|line| line["Class"] == "UNKNOWN" && line["Recorded"] == 1)
    );
}

#[tokio::test]
async fn a_deployment_has_the_zone_and_the_error_of_a_cameras_clock() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let evening = some_day();
    let (start, end) = (evening - Days::new(100), evening + Days::new(100));
    let table = format!(
        "deploymentID,locationID,cameraID,latitude,longitude,deploymentStart,deploymentEnd,timeZone,clockOffsetSeconds\n\
         d1,field-2,,-1.3,36.8,{start}T00:00:00Z,{end}T00:00:00Z,Africa/Nairobi,\n\
         d2,field-2,cam-7,-1.3,36.8,{start}T00:00:00Z,{end}T00:00:00Z,Africa/Nairobi,86400\n"
    );
    let file = stack.folder().join("deployments.csv");
    std::fs::write(&file, &table).unwrap();
    let mut import = tokio::process::Command::new(BINARY);
    import.args(["deployments", "import"]).arg(&file);
    import.args(["--by", "Ada", "--data"]).arg(stack.folder());
    let output = import.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");

    let shown = evening.and_hms_opt(12, 30, 0).unwrap();
    // Half past twelve in Nairobi is half past ten in Lagos, where the night of the day before goes on.
    let at_station = record(&stack, "field-2/a.jpg", taken(shown, None), &[]).await;
    let expected = format!("{evening}T12:30:00+03:00");
    assert_eq!(string(&at_station, "CapturedAt"), expected);
    assert_eq!(string(&at_station, "Night"), evening.to_string());
    let elsewhere = record(&stack, "field-9/a.jpg", taken(shown, None), &[]).await;
    let expected = format!("{evening}T12:30:00+01:00");
    assert_eq!(string(&elsewhere, "CapturedAt"), expected);
    // The clock of this camera is a day ahead.
    let ahead = taken(shown + Days::new(1), None);
    let fast = record(&stack, "field-2/cam-7/a.jpg", ahead, &[]).await;
    assert_eq!(fast["CapturedAt"], at_station["CapturedAt"]);
    assert_eq!(fast["Night"], at_station["Night"]);
    stack.stop().await;
}

/// The latest day, at least two days ago, on which clocks in Berlin were set: forward in spring, back in autumn.
fn day_of_setting(forward: bool) -> NaiveDate {
    let offset = |day: NaiveDate, hour| {
        let local = day.and_hms_opt(hour, 0, 0).unwrap();
        let at = Berlin.from_local_datetime(&local).unwrap();
        at.offset().fix().local_minus_utc()
    };
    let is_set = |day: &NaiveDate| match forward {
        true => offset(*day, 12) > offset(*day, 0),
        false => offset(*day, 12) < offset(*day, 0),
    };
    let days = std::iter::successors(Some(some_day()), NaiveDate::pred_opt);
    days.take(366).find(is_set).unwrap()
}

#[tokio::test]
async fn a_clock_that_is_set_shows_some_times_twice_or_never() {
    let stack = Stack::with(Options {
        variables: &[COLOR_MODEL, ("TIME_ZONE", "Europe/Berlin")],
        ..Options::invoked_by_hand()
    })
    .await;
    for (forward, expected) in [
        // The hour from 2 to 3 is skipped: the camera was not set, and it was half past three.
        (true, "03:30:00+02:00"),
        // The hour from 2 to 3 comes twice: it was the first.
        (false, "02:30:00+02:00"),
    ] {
        let day = day_of_setting(forward);
        let shown = day.and_hms_opt(2, 30, 0).unwrap();
        let key = format!("{forward}.jpg");
        let record = record(&stack, &key, taken(shown, None), &[]).await;
        assert_eq!(string(&record, "CapturedAt"), format!("{day}T{expected}"));
        assert_eq!(string(&record, "CaptureSource"), "exif");
        let night = day.pred_opt().unwrap();
        assert_eq!(string(&record, "Night"), night.to_string());
    }
    stack.stop().await;
}
