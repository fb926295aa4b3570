//! `classify --self-test`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use serde_json::json;

use crate::{
    classifier::{Classifier, SELF_TEST_TOLERANCE},
    config::ComputeConfig,
};

/// Exits with 0 if the model's answer is the one in the manifest, else with 1.
pub(super) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let config = ComputeConfig::read(|name| std::env::var_os(name))?;
    let classifier = Classifier::load(&config)?;
    let result = classifier
        .self_test()
        .with_context(|| format!("cannot test the model in {}", config.model_dir.display()))?;
    let passed = result.passed();
    let backend = classifier.model().backend();
    let mut stdout = io::stdout().lock();
    if json {
        let line = json!({
            "passed": passed,
            "className": result.label.as_str(),
            "probability": result.probability,
            "difference": result.difference,
            "tolerance": SELF_TEST_TOLERANCE,
            "backend": backend.to_string(),
        });
        writeln!(stdout, "{line}")?;
    } else {
        let verdict = if passed { "passed" } else { "failed" };
        writeln!(
            stdout,
            "self-test {verdict}: {} {:.3}, {:.4} from the manifest's value, {SELF_TEST_TOLERANCE} allowed ({backend})",
            result.label, result.probability, result.difference,
        )?;
    }
    Ok(match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
