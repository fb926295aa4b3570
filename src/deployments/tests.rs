use super::*;

const HEADER: &str = "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd,cameraID,timeZone,clockOffsetSeconds";

fn table(rows: &[&str]) -> String {
    format!("{HEADER}\n{}\n", rows.join("\n"))
}

fn parse(rows: &[&str]) -> Deployments {
    Deployments::parse(table(rows).as_bytes()).unwrap()
}

fn refused(csv: &str) -> String {
    Deployments::parse(csv.as_bytes()).unwrap_err().to_string()
}

fn at(text: &str) -> DateTime<FixedOffset> {
    DateTime::parse_from_rfc3339(text).unwrap()
}

#[test]
fn the_columns_have_their_indices() {
    use column::*;
    for (index, name) in [
        (ID, "deploymentID"),
        (STATION, "locationID"),
        (LATITUDE, "latitude"),
        (LONGITUDE, "longitude"),
        (START, "deploymentStart"),
        (END, "deploymentEnd"),
        (CAMERA, "cameraID"),
        (CAMTRAP_COLUMNS, "timeZone"),
        (TIME_ZONE, "timeZone"),
        (CLOCK_OFFSET, "clockOffsetSeconds"),
    ] {
        assert_eq!(COLUMNS[index].name, name);
    }
}

#[test]
fn a_row_becomes_a_deployment() {
    let table = parse(&[
        "d1, field-2 ,6.4500,-3.5,2026-05-01T18:00:00+0100,2026-06-01T06:00:00Z,cam-7,Africa/Lagos,-3600",
    ]);
    let row = &table.rows()[0];
    assert_eq!((row.id.as_str(), row.station.as_str()), ("d1", "field-2"));
    assert_eq!(row.camera.as_deref(), Some("cam-7"));
    assert_eq!(
        (row.position.latitude, row.position.longitude),
        (6.45, -3.5)
    );
    assert_eq!(row.start, at("2026-05-01T18:00:00+01:00"));
    assert_eq!(row.end, at("2026-06-01T06:00:00Z"));
    assert_eq!(row.time_zone, Some(Tz::Africa__Lagos));
    assert_eq!(row.clock_offset, TimeDelta::hours(-1));
    let cells: Vec<String> = row.camtrap_cells().collect();
    assert_eq!(cells.len(), camtrap_columns().count());
    assert_eq!(cells[3], "6.4500");
    assert_eq!(
        cells[6..8],
        ["2026-05-01T18:00:00+01:00", "2026-06-01T06:00:00Z"]
    );
}

#[test]
fn what_is_read_is_written_with_all_columns() {
    let csv = "\u{feff}longitude;latitude;locationID;deploymentID;deploymentStart;deploymentEnd;deploymentComments\r\n\
               1.50;-0;north;b;2026-05-01T18:00:00Z;2026-05-02T18:00:00Z;\"two\nlines, \"\"quoted\"\"\"\r\n\
               ;;;;;;\r\n\
               2;3;north;a;2026-04-01T18:00:00Z;2026-05-01T18:00:00Z;\r\n"
        .replace(';', ",");
    let table = Deployments::parse(csv.as_bytes()).unwrap();
    let ids: Vec<&str> = table.rows().iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids, ["b", "a"]);
    let written = table.to_csv();
    assert!(written.starts_with("deploymentID,locationID,locationName,latitude,longitude,"));
    assert!(written.contains("\r\nb,north,,-0,1.50,,2026-05-01T18:00:00Z,"));
    assert!(written.contains(",\"two\nlines, \"\"quoted\"\"\",,\r\n"));
    assert_eq!(Deployments::parse(written.as_bytes()).unwrap(), table);
}

#[test]
fn a_row_without_camera_is_for_all_cameras() {
    let table = parse(&[
        "all,north,1,1,2026-05-01T00:00:00Z,2026-07-01T00:00:00Z,,,",
        "c1-may,north,1,1,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,c1,,",
        "c1-june,north,1,1,2026-06-01T00:00:00Z,2026-06-10T00:00:00Z,c1,,",
    ]);
    for (station, camera, instant, expected) in [
        ("north", Some("c1"), "2026-05-01T00:00:00Z", Some("c1-may")),
        ("north", Some("c1"), "2026-05-31T23:59:59Z", Some("c1-may")),
        // At the boundary, the later one.
        (
            "north",
            Some("c1"),
            "2026-06-01T02:00:00+02:00",
            Some("c1-june"),
        ),
        // The last second belongs to it.
        (
            "north",
            Some("c1"),
            "2026-06-10T00:00:00.9Z",
            Some("c1-june"),
        ),
        ("north", Some("c1"), "2026-06-10T00:00:01Z", Some("all")),
        ("north", Some("c2"), "2026-05-10T00:00:00Z", Some("all")),
        ("north", None, "2026-05-10T00:00:00Z", Some("all")),
        ("north", None, "2026-04-30T23:59:59Z", None),
        ("south", Some("c1"), "2026-05-10T00:00:00Z", None),
    ] {
        let found = table.at(station, camera, at(instant));
        let id = found.map(|row| row.id.as_str());
        assert_eq!(id, expected, "{station} {camera:?} {instant}");
    }
    let any = table.find("north", Some("c1"), |row| row.id == "c1-may");
    assert_eq!(any.map(|row| row.id.as_str()), Some("c1-may"));
}

#[test]
fn all_faults_are_named_at_once() {
    let error = refused(&table(&[
        "d1,north,95,1,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,c1,Africa/Lagoon,1.5",
        "d2,,NaN,181,2026-05-01,,c1,,",
        "d3,north,1,1,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,c1,,",
        "d3,north,1,1,2026-05-31T23:00:00Z,2026-07-01T00:00:00Z,c1,,",
        "d4,north,1,1,2026-06-01T00:00:00Z,2026-05-01T00:00:00Z,c2,,",
        "d5,north,1,1",
    ]));
    let expected = [
        "line 2, latitude: \"95\" is not a number from -90 to 90",
        "line 2, timeZone: \"Africa/Lagoon\" is not the IANA name of a time zone such as Africa/Lagos",
        "line 2, clockOffsetSeconds: \"1.5\" is not an integer from -1000000000 to 1000000000",
        "line 3, locationID: it is empty, and must be a name of up to 100 bytes without control characters",
        "line 3, latitude: \"NaN\" is not a number from -90 to 90",
        "line 3, longitude: \"181\" is not a number from -180 to 180",
        "line 3, deploymentStart: \"2026-05-01\" is not a time with offset such as 2026-05-01T18:00:00+01:00 or \
         2026-05-01T17:00:00Z",
        "line 3, deploymentEnd: it is empty, and must be a time with offset such as 2026-05-01T18:00:00+01:00 or \
         2026-05-01T17:00:00Z",
        "line 5, deploymentID: \"d3\" is also in line 4: each id must be unique",
        "line 5, deploymentStart: 2026-05-31T23:00:00Z is before 2026-06-01T00:00:00Z, the end of \"d3\" in line 4: two \
         deployments of the same station and camera must not overlap",
        "line 6, deploymentEnd: 2026-05-01T00:00:00Z is before 2026-06-01T00:00:00Z, and must not be before \
         deploymentStart",
        "line 7: the row has 4 cells, and the header has 9",
    ];
    let lines: Vec<&str> = error.lines().map(str::trim).collect();
    assert_eq!(lines[0], "the deployments table is invalid:");
    assert_eq!(lines[1..], expected);
}

#[test]
fn an_error_is_bounded() {
    let rows = vec!["d,north,x,y,2026,2027,,,"; 1000];
    let error = refused(&table(&rows));
    assert_eq!(error.lines().count(), 22, "{error}");
    assert!(error.ends_with("\n  and 3980 more"), "{error}");
    let long = format!(
        "d,north,{},1,2026-05-01T00:00:00Z,2026-06-01T00:00:00Z,,,",
        "ä".repeat(1000)
    );
    assert!(refused(&table(&[&long])).len() < 300);
}

#[test]
fn a_long_deployment_is_compared_with_all_later_ones() {
    let error = refused(&table(&[
        "long,north,1,1,2026-05-01T00:00:00Z,2026-09-01T00:00:00Z,,,",
        "short,north,1,1,2026-05-02T00:00:00Z,2026-05-03T00:00:00Z,,,",
        "late,north,1,1,2026-08-01T00:00:00Z,2026-08-02T00:00:00Z,,,",
    ]));
    assert_eq!(
        error.matches("the end of \"long\" in line 2").count(),
        2,
        "{error}"
    );
}

#[test]
fn faults_of_the_header_are_named_with_those_of_the_cells() {
    let error = refused(
        "deploymentID,locationID,lattitude,longitude,longitude,deploymentStart\nd1,north,1,200,1,x\n",
    );
    for part in [
        "line 1: \"lattitude\" is no column of deployments.csv of Camtrap DP 1.0.2, nor timeZone or clockOffsetSeconds",
        "line 1: the column longitude occurs twice: remove one",
        "line 1: the column latitude is missing, and every deployment needs it",
        "line 1: the column deploymentEnd is missing",
        "line 2, longitude: \"200\" is not a number from -180 to 180",
        "line 2, deploymentStart: \"x\" is not a time",
    ] {
        assert!(error.contains(part), "{part} is not in {error}");
    }
}

#[test]
fn a_file_that_is_no_table_says_how_to_save_it() {
    assert!(refused("").contains("is empty"));
    assert!(refused("deploymentID;locationID\n").contains("separated by ';': save it with commas"));
    let latin1 = [table(&[]).as_bytes(), b"d1,f\xfcrth"].concat();
    let error = Deployments::parse(&latin1).unwrap_err();
    assert_eq!(error, DeploymentsError::NotUtf8 { line: 3 });
    let long = vec![b'x'; MAX_BYTES + 1];
    let error = Deployments::parse(&long).unwrap_err();
    assert_eq!(
        error,
        DeploymentsError::TooLarge {
            bytes: MAX_BYTES + 1
        }
    );
}

#[test]
fn every_kind_of_cell_is_checked() {
    for (column, valid, invalid) in [
        ("coordinateUncertainty", "1", "0"),
        ("cameraDelay", "0", "-1"),
        ("cameraHeight", "1.2", "-0.1"),
        ("cameraDepth", "0", "inf"),
        ("cameraTilt", "-90", "91"),
        ("cameraHeading", "360", "1.5"),
        ("detectionDistance", "9.5", "near"),
        ("timestampIssues", "TRUE", "yes"),
        ("baitUse", "0", "2"),
        ("featureType", "trailGame", "trail"),
        ("habitat", "maize, dry", ""),
        ("cameraID", "cam", "a\u{7}b"),
        (
            "deploymentStart",
            "2026-05-01T00:00:00+01:00",
            "2026-13-01T00:00:00Z",
        ),
        (
            "deploymentEnd",
            "9999-12-31T23:59:59Z",
            "12026-05-01T00:00:00Z",
        ),
    ] {
        let kind = column::COLUMNS
            .iter()
            .find(|known| known.name == column)
            .unwrap()
            .kind;
        assert!(kind.allows(valid), "{column}: {valid}");
        assert!(
            invalid.is_empty() || !kind.allows(invalid),
            "{column}: {invalid}"
        );
    }
}

#[test]
fn times_are_in_whole_seconds() {
    for (at, text) in [
        ("2026-05-01T23:58:00.999+01:00", "2026-05-01T23:58:00+01:00"),
        ("2026-12-31T23:59:60Z", "2026-12-31T23:59:59Z"),
    ] {
        assert_eq!(
            whole_seconds(DateTime::parse_from_rfc3339(at).unwrap()),
            text
        );
    }
}
