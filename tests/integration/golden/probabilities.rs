//! The whole way from a file to probabilities.

use std::{collections::BTreeMap, fs};

use moth_classifier::{
    classifier::{Classifier, Verdict},
    config::ComputeConfig,
};
use moth_engine::isa::Isa;
use serde::Deserialize;

use super::{LIMITS, SMALL, good_images};
use crate::support::{command::root, model};

/// The largest difference of a probability.
const TOLERANCE: f32 = 0.02;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Golden {
    model_sha256: String,
    images: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Expected {
    class_name: String,
    probabilities: BTreeMap<String, f32>,
}

#[test]
fn probabilities_of_small_photos_are_tensorflows() {
    probabilities_are_tensorflows(SMALL);
}

#[test]
#[ignore = "long: large photos too"]
fn all_probabilities_are_tensorflows() {
    probabilities_are_tensorflows(u64::MAX);
}

fn probabilities_are_tensorflows(max_length: u64) {
    let golden = fs::read_to_string(root().join("tests/golden.json")).unwrap();
    let golden: Golden = serde_json::from_str(&golden).unwrap();
    let classifier = Classifier::load(&ComputeConfig {
        model_dir: model::compiled().to_owned(),
        unknown_below: None,
        limits: LIMITS,
        isa: Isa::detect(),
        cpus: 2,
    });
    let classifier = classifier.unwrap();
    assert_eq!(
        classifier.model().manifest().sha256,
        golden.model_sha256,
        "golden.json is of another model: run tests/golden.py"
    );
    let mut largest = 0f32;
    let images = good_images(max_length);
    assert!(images.len() > 30, "{} images", images.len());
    for (name, bytes) in &images {
        let expected = golden
            .images
            .get(name)
            .unwrap_or_else(|| panic!("no golden for {name}"));
        let probabilities = match classifier.classify(bytes).unwrap() {
            Verdict::Classified(classified) => classified.probabilities,
            Verdict::Rejected(rejection) => panic!("{name}: {rejection}"),
        };
        for (label, probability) in probabilities.iter() {
            let difference = (probability - expected.probabilities[label.as_str()]).abs();
            assert!(
                difference <= TOLERANCE,
                "{name}: {label} differs by {difference}"
            );
            largest = largest.max(difference);
        }
        let class = probabilities.top().0.as_str();
        assert_eq!(class, expected.class_name, "{name}");
    }
    println!("{} images, largest difference {largest:.5}", images.len());
}
