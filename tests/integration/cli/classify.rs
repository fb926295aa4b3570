//! The command `classify`.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::{json_file, test_images};
use crate::support::{
    command::{json_lines, member_names, run, stderr, stdout, test_image},
    xmp,
};

#[test]
fn classify_prints_one_line_for_each_file() {
    let output = run(&["classify", "--json", "test_images"]);
    assert_eq!(output.status.code(), Some(1), "the bad images fail");
    let lines = json_lines(&output);
    let paths: Vec<&str> = lines
        .iter()
        .map(|line| line["path"].as_str().unwrap())
        .collect();
    assert!(paths.is_sorted());
    assert_eq!(paths.len(), test_images().len());
    for line in &lines {
        let expected = [
            "path",
            "className",
            "probability",
            "probabilities",
            "reason",
        ];
        assert_eq!(member_names(line), BTreeSet::from(expected));
        let path = line["path"].as_str().unwrap();
        let is_good = path.starts_with("test_images/good/");
        assert_eq!(line["reason"].is_null(), is_good, "{line}");
        assert_eq!(line["className"].is_string(), is_good, "{line}");
        if is_good {
            let class = line["className"].as_str().unwrap();
            assert_eq!(line["probabilities"][class], line["probability"]);
        }
    }
}

#[test]
fn a_photo_with_its_orientation_in_xmp_is_classified_upright() {
    let folder = tempfile::tempdir().unwrap();
    let photo = fs::read(test_image("good/faw-orientation-6.jpg")).unwrap();
    let by_xmp = xmp::jpeg(&photo, &xmp::packet(6));
    let not_turned = xmp::jpeg(&photo, &xmp::packet(1));
    for (name, bytes) in [("exif", &photo), ("none", &not_turned), ("xmp", &by_xmp)] {
        fs::write(folder.path().join(name).with_extension("jpg"), bytes).unwrap();
    }
    let output = run(&["classify", "--json", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let [exif, none, xmp]: [Value; 3] = json_lines(&output).try_into().unwrap();
    assert_eq!(xmp["probabilities"], exif["probabilities"]);
    assert_ne!(xmp["probabilities"], none["probabilities"]);
}

#[test]
fn classify_shows_a_table() {
    let output = run(&[
        "classify",
        "test_images/good/aaw.jpg",
        "test_images/bad/empty.jpg",
    ]);
    let table = stdout(&output);
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3);
    assert!(rows[0].starts_with("file") && rows[0].contains("probability"));
    let golden = json_file("tests/golden.json");
    let class = golden["images"]["aaw.jpg"]["className"].as_str().unwrap();
    assert!(rows[1].starts_with("test_images/good/aaw.jpg") && rows[1].contains(class));
    assert!(rows[2].contains("the file is empty"));
    let all_classified = run(&["classify", "test_images/good/aaw.jpg"]);
    assert_eq!(all_classified.status.code(), Some(0));
}
