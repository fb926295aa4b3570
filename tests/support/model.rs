//! The shipped model, compiled once for all tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::command::{BINARY, root, stderr};

/// A folder with the shipped model, compiled: a process starts in a third of the time. MODEL_DIR names another model.
pub(crate) fn compiled() -> &'static Path {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let model = std::env::var_os("MODEL_DIR").map_or_else(|| root().join("model"), Into::into);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("model");
        fs::create_dir_all(&folder).unwrap();
        for file in ["model.json", "model.onnx"] {
            let link = folder.join(file);
            // The link of an earlier run may lead to another model.
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(model.join(file).canonicalize().unwrap(), link).unwrap();
        }
        let compile = Command::new(BINARY)
            .arg("compile")
            .env("MODEL_DIR", &folder)
            .output()
            .unwrap();
        assert!(compile.status.success(), "{}", stderr(&compile));
        folder
    })
}
