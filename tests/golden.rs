//! Every good test image against the reference way: Pillow and TensorFlow, by `tests/golden.py`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/xmp.rs"]
mod xmp;

use std::{collections::BTreeMap, fs, path::Path, path::PathBuf};

use image::RgbImage;
use moth_classifier::{
    classifier::Classifier,
    config::Limits,
    error::Rejection,
    manifest::{Input, Layout, Resize},
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

fn decode(bytes: &[u8], input: &Input) -> Result<Picture, Rejection> {
    Encoded::open(bytes, LIMITS)?.decode(input)
}

fn input(width: u32, height: u32) -> Input {
    Input {
        name: "image".into(),
        layout: Layout::Nhwc,
        width,
        height,
    }
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
    let predictor = Predictor::new(classifier, LIMITS, 2);
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
        let pillows = image::open(&expected).unwrap().into_rgb8();
        let input = input(pillows.width(), pillows.height());
        let ours = resize(&decode(&bytes, &input).unwrap(), &input, Resize::Bicubic);
        assert_alike(name, &ours, &pillows, 0.3);
    }
}

/// Large photos are decoded no larger than they are needed. That is the same as decoding all of them: to a
/// model of a small input, every test image is large.
#[test]
fn a_photo_reduced_is_the_whole_photo() {
    let mut reduced = BTreeMap::new();
    for file in files("test_images/good") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&file).unwrap();
        for (width, height) in [(48, 36), (24, 18), (12, 9)] {
            let input = input(width, height);
            let picture = decode(&bytes, &input).unwrap();
            let (was, is) = (
                Encoded::open(&bytes, LIMITS).unwrap().pixels(),
                u64::from(picture.pixels.width()) * u64::from(picture.pixels.height()),
            );
            if is == was {
                continue;
            }
            let whole = Picture {
                pixels: image::load_from_memory(&bytes).unwrap().into_rgb8(),
                orientation: picture.orientation,
            };
            let [ours, whole] = [picture, whole].map(|p| resize(&p, &input, Resize::Bicubic));
            assert_alike(&format!("{name}, a {}th", was / is), &ours, &whole, 0.5);
            let factors: &mut Vec<u64> = reduced.entry(name.to_owned()).or_default();
            factors.push(was / is);
        }
    }
    // Every way that a camera samples color, restarts, each orientation; and each factor.
    let baseline = [
        "aaw.jpg",
        "aaw-gray.jpg",
        "aaw-restarts.jpg",
        "eclw-420.JPG",
        "faw-422.jpg",
        "faw-444.jpeg",
    ];
    let turned = (2..=8).map(|exif| format!("faw-orientation-{exif}.jpg"));
    for name in baseline.map(str::to_owned).into_iter().chain(turned) {
        assert_eq!(reduced[&name][..2], [4, 16], "{name}");
    }
    assert_eq!(reduced["faw-12-megapixels.jpg"], [64, 64, 64]);
    for whole in ["aaw-progressive.jpg", "faw-cmyk.jpg", "aaw.png"] {
        assert!(!reduced.contains_key(whole), "{whole}");
    }
}

/// Photos with their orientation in EXIF, and the same with it in XMP alone.
fn turned_by_xmp() -> Vec<(String, u8, Vec<u8>, Vec<u8>)> {
    let read = |name: &str| fs::read(root().join("test_images/good").join(name)).unwrap();
    let mut photos = Vec::new();
    for exif in 2..=8 {
        let name = format!("faw-orientation-{exif}.jpg");
        let photo = read(&name);
        let turned = xmp::jpeg(&photo, &xmp::packet(exif));
        photos.push((name, exif, photo, turned));
    }
    let photo = read("eclw-orientation-6.webp");
    let turned = xmp::webp(&photo, &xmp::packet(6));
    photos.push(("eclw-orientation-6.webp".into(), 6, photo, turned));
    let photo = read("aaw-orientation-6.png");
    for next in [b"IDAT", b"IEND"] {
        for compressed in [false, true] {
            let turned = xmp::png(&photo, &xmp::packet(6), next, compressed);
            let name = format!("PNG, XMP before {}, {compressed}", next.escape_ascii());
            photos.push((name, 6, photo.clone(), turned));
        }
    }
    photos
}

#[test]
fn xmp_turns_a_photo_that_exif_does_not() {
    let mut reduced = 0;
    for (name, exif, by_exif, by_xmp) in turned_by_xmp() {
        for input in [input(224, 224), input(48, 36)] {
            let [by_exif, by_xmp] = [&by_exif, &by_xmp].map(|bytes| decode(bytes, &input).unwrap());
            assert_eq!(by_xmp.orientation.to_exif(), exif, "{name}");
            assert_eq!(by_exif.orientation, by_xmp.orientation, "{name}");
            assert!(by_exif.pixels == by_xmp.pixels, "{name}");
            reduced += usize::from(by_xmp.pixels.width().max(by_xmp.pixels.height()) < 280);
            let [by_exif, by_xmp] = [by_exif, by_xmp].map(|p| resize(&p, &input, Resize::Bicubic));
            assert!(by_exif == by_xmp, "{name}");
        }
    }
    // Every JPEG is decoded at its full size, and at a part of it.
    assert_eq!(reduced, 7);
}

/// Within 2 levels of 256, and on average within `levels`.
fn assert_alike(name: &str, ours: &RgbImage, theirs: &RgbImage, levels: f64) {
    assert_eq!(ours.dimensions(), theirs.dimensions(), "{name}");
    let differences = ours.iter().zip(theirs.iter()).map(|(a, b)| a.abs_diff(*b));
    let largest = differences.clone().max().unwrap();
    let mean = differences.map(f64::from).sum::<f64>() / ours.len() as f64;
    println!("{name}: largest {largest}, mean {mean:.3}");
    assert!(
        largest <= 2 && mean <= levels,
        "{name}: {largest} levels, {mean}"
    );
}

#[test]
fn bad_images_are_refused_with_a_reason() {
    for file in files("test_images/bad") {
        let bytes = fs::read(&file).unwrap();
        let rejection: Rejection = decode(&bytes, &input(224, 224)).err().expect("it is bad");
        assert!(!rejection.to_string().is_empty());
        println!("{}: {rejection}", file.display());
    }
}
