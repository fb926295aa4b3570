//! Tests of the manifest.

use serde_json::{Value, json};

use super::*;

fn manifest() -> Value {
    json!({
        "file": "model.onnx",
        "sha256": "0123456789abcdef".repeat(4),
        "labels": ["AAW", "ECLW", "FAW"],
        "input": {"name": "image", "layout": "NHWC", "width": 224, "height": 224},
        "output": {"name": "probabilities", "kind": "probabilities"},
        "preprocess": {"resize": "bicubic", "color": "BGR", "scale": 1, "mean": [1, 2, 3], "std": [1, 1, 1]},
        "source": {}, "tools": {},
    })
}

fn reference(bins: &[u64], unknown: u64) -> Value {
    json!({"bins": bins, "unknown": unknown})
}

#[test]
fn a_valid_manifest_is_read() {
    let manifest: Manifest = serde_json::from_value(manifest()).unwrap();
    assert_eq!(manifest.model_version(), "0123456789ab");
    assert_eq!(manifest.preprocess.color, Color::Bgr);
    assert_eq!(manifest.labels.len(), 3);
}

#[test]
fn thresholds_names_and_reference_are_read() {
    let plain: Manifest = serde_json::from_value(manifest()).unwrap();
    assert_eq!(
        (plain.thresholds, plain.reference),
        (Thresholds::default(), None)
    );
    let mut full = manifest();
    full["thresholds"] = json!({"FAW": 0.875});
    full["taxa"] = json!({"FAW": "Spodoptera frugiperda"});
    full["reference"] =
        json!({"photos": 30, "bins": [0, 0, 0, 0, 1, 2, 3, 4, 5, 15], "unknown": 3});
    let full: Manifest = serde_json::from_value(full).unwrap();
    let faw = &full.labels[2];
    assert_eq!(full.thresholds.by_label[faw], 0.875);
    assert_eq!(full.taxa[faw], "Spodoptera frugiperda");
    let reference = Reference {
        bins: [0, 0, 0, 0, 1, 2, 3, 4, 5, 15],
        unknown: 3,
    };
    assert_eq!(full.reference, Some(reference));
}

#[test]
fn an_invalid_value_is_refused_by_name() {
    for (field, value, message) in [
        ("file", json!("../model.onnx"), "beside the manifest"),
        ("sha256", json!("abc"), "hexadecimal"),
        ("labels", json!([]), "empty"),
        ("labels", json!(["A", "A"]), "twice"),
        ("labels", json!(["A", ""]), "label"),
        (
            "input",
            json!({"name": "x", "layout": "NHWC", "width": 0, "height": 1}),
            "0×1",
        ),
        (
            "input",
            json!({"name": "x", "layout": "HWC", "width": 1, "height": 1}),
            "HWC",
        ),
        (
            "preprocess",
            json!({"resize": "bicubic", "color": "RGB", "scale": 1, "mean": [0, 0, 0], "std": [1, 0, 1]}),
            "zero",
        ),
        ("labels", json!(["A", "UNKNOWN"]), "label UNKNOWN"),
        ("threshold", json!(1.5), "1.5"),
        ("thresholds", json!({"AAW": -0.5}), "-0.5"),
        ("thresholds", json!({"B": 0.5}), "B has"),
        ("taxa", json!({"B": "Bombyx mori"}), "B has"),
        ("reference", reference(&[0; 10], 0), "above 0"),
        ("reference", reference(&[u64::MAX; 10], 0), "above 0"),
        ("reference", reference(&[1; 10], 11), "11 unknown"),
        ("reference", reference(&[1; 9], 0), "length 9"),
        ("reference", json!({"bins": vec![1; 10]}), "unknown"),
    ] {
        let mut wrong = manifest();
        wrong[field] = value;
        let error = serde_json::from_value::<Manifest>(wrong)
            .unwrap_err()
            .to_string();
        assert!(error.contains(message), "{field}: {error}");
    }
}

#[test]
fn a_missing_manifest_says_what_to_do() {
    let error = Manifest::read(Path::new("/no/such/folder"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("/no/such/folder/model.json") && error.contains("MODEL_DIR"));
}
