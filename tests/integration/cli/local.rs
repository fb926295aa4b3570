//! The command `local`, which ends by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use serde_json::Value;

use super::test_images;
use crate::support::{
    command::{json_lines, member_names, run, stderr},
    exclusive,
    photo::moth,
};

#[test]
fn local_gives_every_file_its_outcome() {
    let output = run(&["local", "--json", "test_images"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = json_lines(&output);
    let text = |line: &Value, name: &str| line[name].as_str().unwrap().to_owned();
    let keys: BTreeSet<String> = lines.iter().map(|line| text(line, "key")).collect();
    assert_eq!(keys, test_images());
    assert_eq!(lines.len(), keys.len());
    let mut ordinals: BTreeMap<(String, String), BTreeSet<u64>> = BTreeMap::new();
    for line in &lines {
        let expected = [
            "key",
            "versionId",
            "outcome",
            "className",
            "probability",
            "count",
            "date",
            "reason",
        ];
        assert_eq!(member_names(line), BTreeSet::from(expected));
        assert!(line["versionId"].is_string());
        let is_good = text(line, "key").starts_with("good/");
        let outcome = if is_good { "recorded" } else { "rejected" };
        assert_eq!(line["outcome"], outcome, "{line}");
        assert_eq!(line["reason"].is_null(), is_good);
        if is_good {
            let day_and_class = (text(line, "date"), text(line, "className"));
            let ordinals = ordinals.entry(day_and_class).or_default();
            assert!(ordinals.insert(line["count"].as_u64().unwrap()), "{line}");
        }
    }
    for (day_and_class, ordinals) in ordinals {
        let expected: BTreeSet<u64> = (1..=ordinals.len() as u64).collect();
        assert_eq!(ordinals, expected, "{day_and_class:?}");
    }
}

#[test]
fn local_keeps_its_data_in_the_given_folder() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let arguments = [
        "local",
        "--json",
        "--data",
        data.to_str().unwrap(),
        "test_images/good/aaw.jpg",
    ];
    for count in 1..=2 {
        let output = run(&arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(json_lines(&output)[0]["count"], count);
    }
    let log = fs::read_to_string(data.join("function.log")).unwrap();
    let logged: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["message"] == "photo")
        .collect();
    assert_eq!(logged.len(), 2, "{log}");
    for field in [
        "fetch_ms",
        "decode_ms",
        "inference_ms",
        "commit_ms",
        "probability",
        "count",
    ] {
        assert!(logged[0][field].is_number(), "{field} in {}", logged[0]);
    }
    for field in ["key", "version", "class", "date", "outcome"] {
        assert!(logged[0][field].is_string(), "{field} in {}", logged[0]);
    }
}

#[test]
fn a_full_log_is_kept_and_a_new_one_begins() {
    let data = tempfile::tempdir().unwrap();
    let log = |name| data.path().join(name);
    let full = "a line of an earlier run\n".repeat(10 * 1024 * 1024 / 25);
    fs::write(log("function.log"), &full).unwrap();
    let folder = data.path().to_str().unwrap();
    let output = run(&["local", "--data", folder, "test_images/good/aaw.jpg"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let kept = fs::read_to_string(log("function.log.1")).unwrap();
    assert!(kept.starts_with(&full), "the full log is kept");
    let new = fs::read_to_string(log("function.log")).unwrap();
    assert!(new.contains("aaw.jpg") && new.len() < 10_000, "{new}");
}

#[test]
fn a_hundred_files_have_a_hundred_outcomes() {
    files_have_outcomes(100);
}

#[test]
#[ignore = "long: 1,000 files"]
fn a_thousand_files_have_a_thousand_outcomes() {
    files_have_outcomes(1000);
}

/// Runs `local` on `count` files of text and one photo. Text is rejected without inference, so that this tests the
/// way there and back.
fn files_have_outcomes(count: usize) {
    let _turn = exclusive::blocking_turn();
    let folder = tempfile::tempdir().unwrap();
    for n in 0..count {
        let file = folder.path().join(format!("{n:04}.jpg"));
        fs::write(file, format!("photo {n}")).unwrap();
    }
    fs::write(folder.path().join("moth.jpg"), moth()).unwrap();
    fs::write(folder.path().join(".hidden"), b"not for upload").unwrap();
    let output = run(&["local", "--json", folder.path().to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let lines = json_lines(&output);
    let keys: BTreeSet<&str> = lines
        .iter()
        .map(|line| line["key"].as_str().unwrap())
        .collect();
    assert_eq!((lines.len(), keys.len()), (count + 1, count + 1));
    let recorded: Vec<&Value> = lines
        .iter()
        .filter(|line| line["outcome"] == "recorded")
        .collect();
    assert_eq!(recorded.len(), 1);
    assert_eq!(recorded[0]["key"], "moth.jpg");
}
