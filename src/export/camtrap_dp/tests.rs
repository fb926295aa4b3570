use std::io::{Cursor, Read};

use serde_json::Value;
use zip::ZipArchive;

use super::*;
use crate::export::fixtures::{record, records, taxa};

const DEPLOYMENTS: &str = "\
    deploymentID,locationID,cameraID,latitude,longitude,deploymentStart,deploymentEnd,timeZone,deploymentComments\n\
    d1,field-2,,-6.45,3.5,2026-05-01T18:00:00+0100,2026-06-01T06:00:00Z,Africa/Lagos,\n\
    d0,field-2,cam-1,-6.5,3.5,2026-04-01T18:00:00Z,2026-05-01T06:00:00Z,,\"no photo, no moth\"\n\
    d2,north,cam-7,7,4,2026-05-01T18:00:00Z,2026-06-01T06:00:00Z,,\n\
    d3,south,,8,5,2026-05-01T18:00:00Z,2026-07-01T06:00:00Z,,\n";

fn metadata() -> Metadata {
    Metadata {
        title: "Armyworms".into(),
        contact: "Ada".into(),
        sampling_design: "targeted".parse().unwrap(),
        capture_method: CaptureMethod::TimeLapse,
        licences: Some(Licences {
            data: "CC0-1.0".parse().unwrap(),
            media: "CC-BY-4.0".parse().unwrap(),
        }),
        created: "2026-05-03T10:00:00.5Z".parse().unwrap(),
    }
}

fn export(records: &[Record]) -> Result<(CamtrapCounts, Vec<u8>), CamtrapError> {
    let deployments = Deployments::parse(DEPLOYMENTS.as_bytes()).unwrap();
    let (taxa, metadata) = (taxa(), metadata());
    let mut export = CamtrapDp::new(&deployments, &taxa, &metadata)?;
    for record in records {
        export.write(record)?;
    }
    let mut out = Vec::new();
    let counts = export.finish(&mut out)?;
    Ok((counts, out))
}

fn entry(zip: &[u8], name: &str) -> String {
    let mut archive = ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut text = String::new();
    archive
        .by_name(name)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    text
}

/// The cells of `columns` in each row.
fn table(zip: &[u8], name: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let text = entry(zip, name);
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    let index = |column| header.iter().position(|name| name == column).unwrap();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let cells = columns.iter().map(|column| row[index(*column)].to_owned());
        cells.collect()
    });
    rows.collect()
}

#[test]
fn a_package_has_four_files() {
    let (counts, zip) = export(&records()).unwrap();
    let expected = CamtrapCounts {
        deployments: 3,
        media: 9,
        observations: 14,
    };
    assert_eq!(counts, expected);
    let archive = ZipArchive::new(Cursor::new(&zip)).unwrap();
    let mut names: Vec<_> = archive.file_names().map(Result::unwrap).collect();
    names.sort_unstable();
    let expected = [
        "datapackage.json",
        "deployments.csv",
        "media.csv",
        "observations.csv",
    ];
    assert_eq!(names, expected);
}

#[test]
fn deployments_without_photo_are_exported_if_their_station_is() {
    let (_, zip) = export(&records()).unwrap();
    let rows = table(
        &zip,
        "deployments.csv",
        &["deploymentID", "deploymentStart"],
    );
    assert_eq!(
        rows,
        [
            ["d1", "2026-05-01T18:00:00+01:00"],
            ["d0", "2026-04-01T18:00:00Z"],
            ["d2", "2026-05-01T18:00:00Z"],
        ]
    );
    assert!(!entry(&zip, "deployments.csv").contains("timeZone"));
}

#[test]
fn a_photo_is_a_row_of_media() {
    let (_, zip) = export(&records()).unwrap();
    let columns = [
        "mediaID",
        "deploymentID",
        "captureMethod",
        "timestamp",
        "filePath",
        "filePublic",
    ];
    let rows = table(&zip, "media.csv", &columns);
    assert_eq!(
        rows[0],
        [
            "00000000-0000-0000-0000-000000000001",
            "d1",
            "timeLapse",
            "2026-05-01T23:58:00+01:00",
            "s3://moths/field-2/cam-7/IMG_0001.jpg?versionId=v.1",
            "false",
        ]
    );
    assert_eq!(rows[2][1], "d2");
    let columns = ["filePath", "fileName", "fileMediatype", "mediaComments"];
    assert_eq!(
        table(&zip, "media.csv", &columns)[3],
        [
            "s3://moths/field-2/-1.%2E2?versionId=v.1",
            "'-1..2",
            "image/*",
            "The camera's clock was not believed (reset-clock): the timestamp is that of the upload.",
        ]
    );
}

#[test]
fn model_and_reviewer_have_an_observation_each() {
    let (_, zip) = export(&records()).unwrap();
    let columns = [
        "observationID",
        "observationType",
        "scientificName",
        "classificationMethod",
        "classifiedBy",
        "classificationTimestamp",
        "classificationProbability",
        "observationTags",
    ];
    let rows = table(&zip, "observations.csv", &columns);
    let machine = "moth-classifier, model 0123456789ab";
    let expected = [
        [
            "1-machine",
            "animal",
            "Spodoptera frugiperda",
            machine,
            "0.97",
            "class:FAW",
        ],
        [
            "2-machine",
            "unknown",
            "",
            machine,
            "0.4",
            "class:UNKNOWN | predicted:FAW",
        ],
        [
            "3-machine",
            "animal",
            "Spodoptera frugiperda",
            machine,
            "0.97",
            "class:FAW",
        ],
        [
            "4-machine",
            "animal",
            "Spodoptera frugiperda",
            machine,
            "0.97",
            "class:FAW",
        ],
        ["4-human", "blank", "", "'=Ada", "", "class:NOT_A_MOTH"],
        [
            "5-machine",
            "animal",
            "Spodoptera frugiperda",
            machine,
            "0.97",
            "class:FAW",
        ],
        [
            "5-human",
            "animal",
            "a|b: 50%",
            "Ada",
            "",
            "class:a%7Cb%3A 50%25",
        ],
        [
            "6-machine",
            "blank",
            "",
            machine,
            "0.97",
            "class:NOT_A_MOTH",
        ],
        [
            "7-machine",
            "unknown",
            "",
            machine,
            "0.4",
            "class:UNKNOWN | predicted:FAW",
        ],
        [
            "7-human",
            "animal",
            "Spodoptera exempta",
            "Ada",
            "",
            "class:AAW",
        ],
        [
            "8-machine",
            "animal",
            "Spodoptera frugiperda",
            machine,
            "0.97",
            "class:FAW",
        ],
        ["8-human", "unknown", "", "Ada", "", "class:UNKNOWN"],
        [
            "9-machine",
            "animal",
            "Spodoptera frugiperda",
            machine,
            "0.97",
            "class:FAW",
        ],
        [
            "9-human",
            "animal",
            "Spodoptera frugiperda",
            "Ada",
            "",
            "class:FAW",
        ],
    ];
    assert_eq!(rows.len(), expected.len());
    for (row, [id, kind, name, by, probability, tags]) in rows.iter().zip(expected) {
        assert!(row[0].ends_with(&format!("0{id}")), "{row:?}");
        let method = id.split_once('-').unwrap().1;
        let at = match method {
            "machine" => "2026-05-02T10:00:01Z",
            _ => "2026-05-03T09:00:00Z",
        };
        assert_eq!(row[1..], [kind, name, method, by, at, probability, tags]);
    }
    let columns = [
        "deploymentID",
        "mediaID",
        "eventID",
        "eventStart",
        "eventEnd",
        "observationLevel",
    ];
    assert_eq!(
        table(&zip, "observations.csv", &columns)[2],
        [
            "d2",
            "00000000-0000-0000-0000-000000000003",
            "north/2026-05-01",
            "2026-05-01T23:58:00+01:00",
            "2026-05-01T23:58:00+01:00",
            "media",
        ]
    );
}

#[test]
fn the_package_describes_itself() {
    let (_, zip) = export(&records()).unwrap();
    let package: Value = serde_json::from_str(&entry(&zip, "datapackage.json")).unwrap();
    assert_eq!(package["created"], "2026-05-03T10:00:00Z");
    assert_eq!(package["temporal"]["start"], "2026-04-01");
    assert_eq!(package["temporal"]["end"], "2026-06-01");
    assert_eq!(package["spatial"]["type"], "Polygon");
    assert_eq!(
        package["spatial"]["bbox"],
        serde_json::json!([3.5, -6.5, 4.0, 7.0])
    );
    let names: Vec<&Value> = package["taxonomic"]
        .as_array()
        .unwrap()
        .iter()
        .map(|taxon| &taxon["scientificName"])
        .collect();
    assert_eq!(
        names,
        ["Spodoptera exempta", "Spodoptera frugiperda", "a|b: 50%"]
    );
    assert_eq!(package["licenses"][1]["name"], "CC-BY-4.0");
    assert_eq!(package["project"]["samplingDesign"], "targeted");
    assert_eq!(package["project"]["captureMethod"][0], "timeLapse");
    assert!("CC BY".parse::<LicenceName>().is_err());
}

#[test]
fn records_without_deployment_are_named_and_nothing_is_written() {
    let mut records = records();
    let mut early = record(10);
    early.captured = early.captured.map(|captured| Captured {
        at: captured.at - chrono::Days::new(2),
        night: captured.night - chrono::Days::new(2),
        ..captured
    });
    let mut other_camera = record(11);
    other_camera.station = Some("north".into());
    other_camera.camera = Some("cam-8".into());
    let mut nowhere = record(12);
    nowhere.station = None;
    let mut old = record(13);
    old.captured = None;
    records.extend([early.clone(), record(14), early, other_camera, nowhere, old]);
    records[10].station = Some("east".into());
    records[10].camera = None;
    let error = export(&records).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no package was written, because no deployment covers 1 record of station east, night 2026-05-01; \
         2 records of station field-2, camera cam-7, night 2026-04-29; \
         1 record of station north, camera cam-8, night 2026-05-01; 1 record without station, night 2026-05-01; \
         1 record without time of capture. Add deployments to the deployments table, or export other stations or nights"
    );
    assert!(matches!(export(&[]).unwrap_err(), CamtrapError::NoRecord));
}

#[test]
fn an_output_that_fails_gets_no_end_of_the_zip() {
    /// Fails once, after the first 100 bytes.
    struct Failing(Vec<u8>, bool);
    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.len() > 100 && !std::mem::replace(&mut self.1, true) {
                return Err(io::Error::other("full"));
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let deployments = Deployments::parse(DEPLOYMENTS.as_bytes()).unwrap();
    let (taxa, metadata) = (taxa(), metadata());
    let mut export = CamtrapDp::new(&deployments, &taxa, &metadata).unwrap();
    export.write(&record(1)).unwrap();
    let mut out = Failing(Vec::new(), false);
    let error = export.finish(&mut out).unwrap_err();
    assert!(matches!(error, CamtrapError::Write(_)));
    assert!(ZipArchive::new(Cursor::new(&out.0)).is_err());
}
