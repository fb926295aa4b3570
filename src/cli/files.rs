//! The files among and below the paths of a command line.

use std::path::{Path, PathBuf};

use anyhow::Context;
use walkdir::{DirEntry, WalkDir};

/// A file.
pub(super) struct File {
    /// Path to read it.
    pub(super) path: PathBuf,
    /// Name relative to the argument under which it was found, with `/` between the parts: its object key.
    #[cfg_attr(
        not(feature = "local"),
        expect(dead_code, reason = "only `local` uploads")
    )]
    pub(super) key: String,
}

/// Every file among and below `paths`, sorted by name within each path. Below a folder, names that begin with
/// a dot are skipped.
///
/// # Errors
///
/// If a path does not exist, a folder cannot be read, or no file is found.
pub(super) fn find(paths: &[PathBuf]) -> anyhow::Result<Vec<File>> {
    let mut files = Vec::new();
    for root in paths {
        let entries = WalkDir::new(root)
            .follow_links(true)
            .sort_by_file_name()
            .into_iter();
        for entry in entries.filter_entry(|entry| entry.depth() == 0 || !is_hidden(entry)) {
            // walkdir's own message names the path a second time.
            let entry = entry.map_err(|error| match (error.path(), error.io_error()) {
                (Some(path), Some(source)) => {
                    anyhow::anyhow!("cannot read {}: {source}", path.display())
                }
                _ => error.into(),
            })?;
            if entry.file_type().is_dir() {
                continue;
            }
            let below = entry.path().strip_prefix(root).unwrap_or(Path::new(""));
            let relative = match below.as_os_str().is_empty() {
                true => entry.file_name().as_ref(),
                false => below,
            };
            let key =
                key(relative).with_context(|| format!("{:?} is not valid UTF-8", entry.path()))?;
            files.push(File {
                path: entry.into_path(),
                key,
            });
        }
    }
    anyhow::ensure!(!files.is_empty(), "no files in {}", display(paths));
    Ok(files)
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn key(relative: &Path) -> Option<String> {
    let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
    Some(parts?.join("/"))
}

fn display(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    paths.join(", ")
}
