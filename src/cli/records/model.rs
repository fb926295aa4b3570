//! What the commands need of the model: its labels, scientific names and reference.

use std::{io, path::PathBuf};

use crate::model::{Manifest, ManifestError};

/// The manifest of the model in MODEL_DIR; `None` if there is no model.
///
/// # Errors
///
/// If there is a manifest that cannot be read.
pub(super) fn manifest() -> Result<Option<Manifest>, ManifestError> {
    let folder = std::env::var_os("MODEL_DIR").unwrap_or_else(|| "model".into());
    match Manifest::read(&PathBuf::from(folder)) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(ManifestError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
