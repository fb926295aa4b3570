//! Runs the command line of the real binary.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

use super::model;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_moth-classifier");

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file or folder of `test_images`.
pub(crate) fn test_image(name: &str) -> PathBuf {
    root().join("test_images").join(name)
}

/// The binary with the shipped model, to be run in the repository.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(root());
    command.env("MODEL_DIR", model::compiled());
    command
}

/// Runs the binary with the shipped model until it ends.
pub(crate) fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs the binary with the model in the folder `model` until it ends.
pub(crate) fn run_with_model(model: &Path, arguments: &[&str]) -> Output {
    let mut command = command(arguments);
    command.env("MODEL_DIR", model).output().unwrap()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The JSON objects on standard output, one a line.
pub(crate) fn json_lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect()
}

/// The names of an object's members.
pub(crate) fn member_names(object: &Value) -> BTreeSet<&str> {
    let members = object.as_object().unwrap();
    members.keys().map(String::as_str).collect()
}

/// Ends a process at once with SIGKILL.
pub(crate) fn kill(process: u32) {
    // A process that ended by itself is as good.
    let _ = Command::new("kill")
        .args(["-9", &process.to_string()])
        .stderr(Stdio::null())
        .status();
}
