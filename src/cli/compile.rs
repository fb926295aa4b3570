//! `compile`

use std::process::ExitCode;

use crate::{
    config::ComputeConfig,
    model::{self, Compilation},
};

/// Writes the compiled model beside `model.json`.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let config = ComputeConfig::read(|name| std::env::var_os(name))?;
    match model::compile(&config.model_dir)? {
        Compilation::Written { path, bytes } => {
            println!("{}: {:.1} MB", path.display(), bytes as f64 / 1e6);
        }
        Compilation::Unsupported(unsupported) => {
            println!(
                "not compiled, because the engine does not support {unsupported}: stock tract runs the model"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
