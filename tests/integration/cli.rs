//! The command line, used by a person and by a program.

mod classify;
mod errors;
mod local;
mod model;
mod serve;

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

use crate::support::command::{root, test_image};

/// Every file of `test_images`, relative to it.
fn test_images() -> BTreeSet<String> {
    let files = ["good", "bad"].map(|folder| {
        let files = fs::read_dir(test_image(folder)).unwrap();
        files.map(move |file| {
            let name = file.unwrap().file_name().into_string().unwrap();
            format!("{folder}/{name}")
        })
    });
    files.into_iter().flatten().collect()
}

/// A JSON file of the repository.
fn json_file(path: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(root().join(path)).unwrap()).unwrap()
}

/// Links `files` of the shipped model into `folder`.
fn link_model(folder: &Path, files: &[&str]) {
    for file in files {
        let shipped = root().join("model").join(file);
        std::os::unix::fs::symlink(shipped, folder.join(file)).unwrap();
    }
}
