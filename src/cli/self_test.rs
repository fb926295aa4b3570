//! `classify --self-test`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::json;

use super::config;
use crate::{classifier::Classifier, predictor::Predictor};

/// A drawn moth, 400×300, which `model/export.py` also shows TensorFlow.
const PICTURE: &[u8] = include_bytes!("../../test_images/good/aaw.jpg");
/// How far from TensorFlow a probability may be. Decoders of JPEG differ by a level or two of 255, which
/// moves the shipped model's by 0.001.
const TOLERANCE: f32 = 0.02;

/// Exits with 0 if the model says what the manifest recorded, with 1 if not.
pub(super) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let config = config()?;
    let predictor = Predictor::new(
        Classifier::load(&config.model_dir, config.isa)?,
        config.limits,
        config.cpus,
    );
    let recorded = &predictor.manifest().self_test;
    anyhow::ensure!(
        !recorded.is_empty(),
        "{} has no self_test: run model/export.py again",
        config.model_dir.join("model.json").display()
    );
    let predicted = predictor.predict(PICTURE)?.probabilities;
    let (label, probability) = predicted.top();
    // A class that the model does not have is as wrong as can be.
    let differences = recorded.iter().map(|(label, recorded)| {
        let predicted = predicted.iter().find(|(of, _)| *of == label);
        predicted.map_or(1.0, |(_, probability)| (recorded - probability).abs())
    });
    let difference = differences.fold(0.0, f32::max);
    let passed = difference <= TOLERANCE;
    let mut stdout = io::stdout().lock();
    if json {
        let line = json!({
            "passed": passed,
            "className": label.as_str(),
            "probability": probability,
            "difference": difference,
            "tolerance": TOLERANCE,
            "way": predictor.way().to_string(),
        });
        writeln!(stdout, "{line}")?;
    } else {
        let verdict = if passed { "passed" } else { "failed" };
        writeln!(
            stdout,
            "self-test {verdict}: {label} {probability:.3}, {difference:.4} from what was recorded, {TOLERANCE} allowed ({})",
            predictor.way()
        )?;
    }
    Ok(match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}
