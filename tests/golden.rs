//! Every good test image against the reference way: Pillow and TensorFlow, by `tests/golden.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use moth_classifier::{
    classifier::Classifier,
    config::Limits,
    error::Rejection,
    manifest::Resize,
    predictor::Predictor,
    preprocess::{Encoded, Picture, resize},
};
use moth_engine::isa::Isa;
use serde::Deserialize;

const LIMITS: Limits = Limits {
    bytes: u64::MAX,
    pixels: 50_000_000,
};

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

fn decode(bytes: &[u8], limits: Limits) -> Result<Picture, Rejection> {
    Encoded::open(bytes, limits)?.decode()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn probabilities_are_tensorflows() {
    let golden: Golden =
        serde_json::from_str(&fs::read_to_string(root().join("tests/golden.json")).unwrap())
            .unwrap();
    let classifier = Classifier::load(&root().join("model"), Isa::detect()).unwrap();
    let predictor = Predictor::new(classifier, LIMITS);
    assert_eq!(
        predictor.manifest().sha256,
        golden.model_sha256,
        "golden.json is of another model: run tests/golden.py"
    );
    let mut largest = 0f32;
    for file in files("test_images/good") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let expected = golden
            .images
            .get(name)
            .unwrap_or_else(|| panic!("no golden for {name}"));
        let bytes = fs::read(&file).unwrap();
        let probabilities = predictor.predict(&bytes).unwrap().probabilities;
        for (label, probability) in probabilities.iter() {
            let difference = (probability - expected.probabilities[label.as_str()]).abs();
            assert!(
                difference <= 0.02,
                "{name}: {label} differs by {difference}"
            );
            largest = largest.max(difference);
        }
        assert_eq!(
            probabilities.top().0.as_str(),
            expected.class_name,
            "{name}"
        );
    }
    println!(
        "{} images, largest difference {largest:.5}",
        golden.images.len()
    );
}

#[test]
fn resizing_is_pillows() {
    for expected in files("tests/resized") {
        // The resized picture of `name.jpg` is `name.jpg.png`.
        let name = expected.file_stem().unwrap().to_str().unwrap();
        let bytes = fs::read(root().join("test_images/good").join(name)).unwrap();
        let picture = decode(&bytes, LIMITS).unwrap();
        let input = Classifier::load(&root().join("model"), Isa::detect())
            .unwrap()
            .manifest()
            .input
            .clone();
        let ours = resize(&picture, &input, Resize::Bicubic);
        let pillows = decode(&fs::read(&expected).unwrap(), LIMITS)
            .unwrap()
            .pixels;
        assert_eq!(ours.dimensions(), pillows.dimensions());
        let differences: Vec<u8> = ours
            .iter()
            .zip(pillows.iter())
            .map(|(a, b)| a.abs_diff(*b))
            .collect();
        let largest = differences.iter().max().unwrap();
        let mean =
            differences.iter().map(|&d| f64::from(d)).sum::<f64>() / differences.len() as f64;
        println!("{name}: largest {largest}, mean {mean:.3}");
        assert!(*largest <= 2, "{name}: {largest} levels");
    }
}

#[test]
fn bad_images_are_refused_with_a_reason() {
    for file in files("test_images/bad") {
        let bytes = fs::read(&file).unwrap();
        let rejection: Rejection = decode(&bytes, LIMITS).err().expect("it is bad");
        assert!(!rejection.to_string().is_empty());
        println!("{}: {rejection}", file.display());
    }
}
