//! `classify --self-test`

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::json;

use crate::{
    classifier::{Classifier, Verdict},
    config::ComputeConfig,
    model::{MANIFEST, Probabilities},
};

/// A drawing of a moth, 400×300 pixels. `model/export.py` records TensorFlow's answer for it.
const PHOTO: &[u8] = include_bytes!("../../test_images/good/aaw.jpg");
/// Largest accepted difference to TensorFlow's probabilities. JPEG decoders differ by one or two levels of
/// 255, which changes the probabilities of the shipped model by 0.001.
const TOLERANCE: f32 = 0.02;

/// Exits with 0 if the model's answer is the one in the manifest, else with 1.
pub(super) fn run(json: bool) -> anyhow::Result<ExitCode> {
    let config = ComputeConfig::read(|name| std::env::var_os(name))?;
    let classifier = Classifier::load(&config)?;
    let recorded = &classifier.model().manifest().self_test;
    anyhow::ensure!(
        !recorded.is_empty(),
        "{} has no self_test: run model/export.py again",
        config.model_dir.join(MANIFEST).display()
    );
    let probabilities = match classifier.classify(PHOTO)? {
        Verdict::Classified(classified) => classified.probabilities,
        Verdict::Rejected(rejection) => {
            anyhow::bail!("the built-in photo is rejected: {rejection}")
        }
    };
    let (label, probability) = probabilities.top();
    let differences = recorded.iter().map(|(label, &recorded)| {
        match probability_of(&probabilities, label.as_str()) {
            Some(probability) => (recorded - probability).abs(),
            // A class that the model does not have is the largest difference.
            None => 1.0,
        }
    });
    let difference = differences.fold(0.0, f32::max);
    let passed = difference <= TOLERANCE;
    let backend = classifier.model().backend();
    let mut stdout = io::stdout().lock();
    if json {
        let line = json!({
            "passed": passed,
            "className": label.as_str(),
            "probability": probability,
            "difference": difference,
            "tolerance": TOLERANCE,
            "backend": backend.to_string(),
        });
        writeln!(stdout, "{line}")?;
    } else {
        let verdict = if passed { "passed" } else { "failed" };
        writeln!(
            stdout,
            "self-test {verdict}: {label} {probability:.3}, {difference:.4} from the manifest's value, {TOLERANCE} \
             allowed ({backend})"
        )?;
    }
    Ok(match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn probability_of(probabilities: &Probabilities, class: &str) -> Option<f32> {
    let mut all = probabilities.iter();
    let (_, probability) = all.find(|(label, _)| label.as_str() == class)?;
    Some(probability)
}
