//! Errors name the object, say what is wrong, and what to do.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::{json_file, link_model};
use crate::support::command::{command, root, run, run_with_model, stderr, test_image};

/// The two commands that read photos and the model.
const COMMANDS: [&str; 2] = ["classify", "local"];

#[test]
fn a_path_without_files_is_named() {
    let empty = TempDir::new().unwrap();
    for (path, said) in [
        ("no/such/path", "no/such/path"),
        (empty.path().to_str().unwrap(), "no files in"),
    ] {
        for command in COMMANDS {
            let output = run(&[command, path]);
            assert_eq!(output.status.code(), Some(1));
            assert!(stderr(&output).contains(said), "{}", stderr(&output));
        }
    }
}

/// Standard error of `command` with the model in the folder `model`, which it cannot use.
fn error_with_model(command: &str, model: &Path) -> String {
    let photo = test_image("good/aaw.jpg");
    let output = run_with_model(model, &[command, photo.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    stderr(&output)
}

#[test]
fn a_missing_or_other_model_file_is_named() {
    let empty = TempDir::new().unwrap();
    let tampered = TempDir::new().unwrap();
    let onnx = tampered.path().join("model.onnx");
    fs::copy(
        root().join("model/model.json"),
        tampered.path().join("model.json"),
    )
    .unwrap();
    for command in COMMANDS {
        let missing = error_with_model(command, empty.path());
        assert!(
            missing.contains("model.json") && missing.contains("MODEL_DIR"),
            "{missing}"
        );
        fs::write(&onnx, b"another file").unwrap();
        let wrong = error_with_model(command, tampered.path());
        assert!(
            wrong.contains("model.onnx") && wrong.contains("SHA-256"),
            "{wrong}"
        );
        fs::remove_file(&onnx).unwrap();
        let gone = error_with_model(command, tampered.path());
        assert!(
            gone.contains("cannot read") && gone.contains("model.onnx"),
            "{gone}"
        );
    }
}

/// The command finds no fault with the files. The function does, when it loads the model.
#[test]
fn a_manifest_that_does_not_fit_the_model_is_an_error() {
    let model = TempDir::new().unwrap();
    let mut manifest = json_file("model/model.json");
    let labels = manifest["labels"].as_array_mut().unwrap();
    labels.push("one too many".into());
    let said = format!("the manifest has {} labels", labels.len());
    fs::write(model.path().join("model.json"), manifest.to_string()).unwrap();
    link_model(model.path(), &["model.onnx"]);
    for command in COMMANDS {
        let unfit = error_with_model(command, model.path());
        assert!(unfit.contains(&said), "{unfit}");
    }
}

#[test]
fn all_invalid_variables_are_named_at_once() {
    for (command_line, variables) in [
        (["classify", "."], ["MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS"]),
        (["local", "."], ["TIME_ZONE", "MAX_IMAGE_PIXELS"]),
    ] {
        let output = command(&command_line)
            .envs(variables.map(|variable| (variable, "many")))
            .output()
            .unwrap();
        let said = stderr(&output);
        assert!(
            variables.iter().all(|variable| said.contains(variable)),
            "{said}"
        );
    }
}
