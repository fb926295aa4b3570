//! `compile`

use std::process::ExitCode;

use super::config;
use crate::classifier::{self, Compiled};

/// Writes the compiled model beside the one it is made of.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    match classifier::compile(&config()?.model_dir)? {
        Compiled::Written(path, bytes) => {
            println!("{}: {:.1} MB", path.display(), bytes as f64 / 1e6);
        }
        Compiled::Unknown(unknown) => {
            println!(
                "not compiled, as the engine does not know {unknown}: stock tract runs the model"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
