//! The command `classify`.

use std::{collections::BTreeSet, fs, path::Path, process::Output};

use serde_json::{Value, json};

use super::{json_file, test_images};
use crate::support::{
    command::{command, json_lines, member_names, run, stderr, stdout, test_image},
    photo::{COLOR_MODEL, photo},
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
            "predictedClassName",
            "probability",
            "probabilities",
            "reason",
        ];
        assert_eq!(member_names(line), BTreeSet::from(expected));
        let path = line["path"].as_str().unwrap();
        let is_good = path.starts_with("test_images/good/");
        assert_eq!(line["reason"].is_null(), is_good, "{line}");
        assert_eq!(line["className"].is_string(), is_good, "{line}");
        assert!(line["predictedClassName"].is_null(), "{line}");
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

/// Classifies a red photo with the colour model, whose manifest gets these `thresholds`.
fn classify_red(thresholds: Value, arguments: &[&str], unknown_below: Option<&str>) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = json_file("tests/color_model/model.json");
    manifest["thresholds"] = thresholds;
    fs::write(folder.path().join("model.json"), manifest.to_string()).unwrap();
    let onnx = Path::new(COLOR_MODEL.1).join("model.onnx");
    fs::copy(onnx, folder.path().join("model.onnx")).unwrap();
    let file = folder.path().join("red.png");
    fs::write(&file, photo("AAW")).unwrap();
    let mut command = command(&["classify"]);
    command.args(arguments).arg(file);
    if let Some(threshold) = unknown_below {
        command.env("UNKNOWN_BELOW", threshold);
    }
    let output = command.env("MODEL_DIR", folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    output
}

#[test]
fn a_photo_under_the_thresholds_is_unknown_and_its_likeliest_label_is_shown() {
    // The probability of red is 0.965.
    for (thresholds, unknown_below, class, predicted) in [
        (json!({}), None, "AAW", None),
        (json!({}), Some("0.97"), "UNKNOWN", Some("AAW")),
        (json!({"AAW": 0.97}), None, "UNKNOWN", Some("AAW")),
        (json!({"AAW": 0.97}), Some("0.96"), "AAW", None),
        (json!({"FAW": 0.97}), None, "AAW", None),
    ] {
        let output = classify_red(thresholds.clone(), &["--json"], unknown_below);
        let line = &json_lines(&output)[0];
        assert_eq!(line["className"], class, "{thresholds} {unknown_below:?}");
        assert_eq!(line["predictedClassName"].as_str(), predicted);
        assert_eq!(line["probabilities"]["AAW"], line["probability"]);
        let table = stdout(&classify_red(thresholds, &[], unknown_below));
        let shown = match predicted {
            Some(label) => format!("red.png  UNKNOWN ({label})  "),
            None => format!("red.png  {class}"),
        };
        assert!(table.contains(&shown), "{table}");
    }
}
