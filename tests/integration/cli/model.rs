//! The model of a command: its self-test, compiled and not.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{json_file, link_model};
use crate::support::{
    command::{command, json_lines, root, run_with_model, stderr, stdout},
    photo::COLOR_MODEL,
};

#[test]
fn the_self_test_compares_with_the_manifest() {
    let output = run_with_model(&root().join("model"), &["classify", "--self-test"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let mut manifest = json_file("model/model.json");
    let recorded = manifest["self_test"].as_object().unwrap().iter();
    let recorded = recorded.map(|(label, value)| (value.as_f64().unwrap(), label.clone()));
    let (probability, label) = recorded.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    let verdict = format!("self-test passed: {label} ");
    assert!(stdout(&output).starts_with(&verdict), "{}", stdout(&output));

    let model = tempfile::tempdir().unwrap();
    link_model(model.path(), &["model.onnx"]);
    let mut run_with_recorded = |answer: Value| {
        manifest["self_test"] = answer;
        fs::write(model.path().join("model.json"), manifest.to_string()).unwrap();
        run_with_model(model.path(), &["classify", "--self-test", "--json"])
    };
    let other = run_with_recorded(json!({label: probability - 0.03}));
    assert_eq!(other.status.code(), Some(1));
    assert_eq!(json_lines(&other)[0]["passed"], false);
    let none = run_with_recorded(json!({}));
    assert_eq!(none.status.code(), Some(1));
    assert!(stderr(&none).contains("run model/export.py again"));
}

/// The shipped model in a folder of its own, compiled.
fn compiled_model() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    link_model(folder.path(), &["model.json", "model.onnx"]);
    let output = run_with_model(folder.path(), &["compile"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("model.compiled: "));
    folder
}

#[test]
fn a_compiled_model_is_used_if_it_is_intact_and_of_this_model() {
    let folder = compiled_model();
    let way = |variables: &[(&str, &str)]| {
        let output = command(&["classify", "--self-test", "--json"])
            .env("MODEL_DIR", folder.path())
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        json_lines(&output)[0]["backend"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert!(way(&[]).starts_with("compiled, "));
    assert_eq!(way(&[("MAX_CPU_ISA", "portable")]), "compiled, portable");

    let compiled = folder.path().join("model.compiled");
    let mut bytes = fs::read(&compiled).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&compiled).unwrap();
    fs::write(&compiled, &bytes).unwrap();
    let damaged = way(&[]);
    assert!(
        damaged.contains("compiled from the ONNX file") && damaged.contains("it is damaged"),
        "{damaged}"
    );
    fs::remove_file(&compiled).unwrap();
    assert!(way(&[]).contains("model.compiled: there is none"));
}

#[test]
fn a_model_that_the_engine_does_not_know_runs_on_tract() {
    let run_with_color_model = |arguments: &[&str]| {
        let output = run_with_model(Path::new(COLOR_MODEL.1), arguments);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    let compiled = run_with_color_model(&["compile"]);
    assert!(
        compiled.starts_with("not compiled, because the engine does not support "),
        "{compiled}"
    );
    let classified =
        run_with_color_model(&["classify", "--json", "test_images/good/one-pixel.png"]);
    assert!(classified.contains("\"className\":\""), "{classified}");
}
