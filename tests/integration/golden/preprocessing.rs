//! Decoding, orientation and resizing.

use std::{collections::BTreeMap, fs};

use image::RgbImage;
use moth_classifier::{
    model::Resize,
    photo::{Encoded, Image, resize},
};

use super::{LIMITS, SMALL, decode, files, good_images, input};
use crate::support::{command::root, xmp};

#[test]
fn resizing_is_pillows() {
    for expected in files("tests/resized") {
        // `name.jpg.png` is Pillow's resize of `name.jpg`.
        let name = expected.file_stem().unwrap().to_str().unwrap();
        let bytes = fs::read(root().join("test_images/good").join(name)).unwrap();
        let pillows = image::open(&expected).unwrap().into_rgb8();
        let input = input(pillows.width(), pillows.height());
        let ours = resize(&decode(&bytes, &input).unwrap(), &input, Resize::Bicubic);
        assert_alike(name, &ours, &pillows, 0.3);
    }
}

/// Every way that a camera samples colour, and restarts, in baseline JPEG.
const BASELINE: [&str; 6] = [
    "aaw.jpg",
    "aaw-gray.jpg",
    "aaw-restarts.jpg",
    "eclw-420.JPG",
    "faw-422.jpg",
    "faw-444.jpeg",
];

#[test]
fn a_small_photo_decoded_at_a_part_of_its_size_is_the_whole_photo() {
    let factors = decoded_at_a_part_of_their_size(SMALL);
    let turned = (2..=8).map(|exif| format!("faw-orientation-{exif}.jpg"));
    for name in BASELINE.map(str::to_owned).into_iter().chain(turned) {
        assert_eq!(factors[&name][..2], [4, 16], "{name}");
    }
    for whole in ["aaw-progressive.jpg", "faw-cmyk.jpg", "aaw.png"] {
        assert!(!factors.contains_key(whole), "{whole}");
    }
}

#[test]
#[ignore = "long: large photos too"]
fn every_photo_decoded_at_a_part_of_its_size_is_the_whole_photo() {
    let factors = decoded_at_a_part_of_their_size(u64::MAX);
    assert_eq!(factors["faw-12-megapixels.jpg"], [64, 64, 64]);
}

/// Photos are decoded no larger than the model's input needs. Compares each with the whole photo, for small inputs, to
/// which every test image is large. Returns the reductions of each photo: its pixels by decoded pixels.
fn decoded_at_a_part_of_their_size(max_length: u64) -> BTreeMap<String, Vec<u64>> {
    let mut factors: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (name, bytes) in good_images(max_length) {
        for (width, height) in [(48, 36), (24, 18), (12, 9)] {
            let input = input(width, height);
            let reduced = decode(&bytes, &input).unwrap();
            let encoded = Encoded::open(&bytes, LIMITS).unwrap().pixels();
            let (width, height) = reduced.pixels.dimensions();
            let factor = encoded / (u64::from(width) * u64::from(height));
            if factor == 1 {
                continue;
            }
            let whole = Image {
                pixels: image::load_from_memory(&bytes).unwrap().into_rgb8(),
                orientation: reduced.orientation,
            };
            let [ours, whole] = [reduced, whole].map(|p| resize(&p, &input, Resize::Bicubic));
            assert_alike(&format!("{name}, a {factor}th"), &ours, &whole, 0.5);
            factors.entry(name.clone()).or_default().push(factor);
        }
    }
    factors
}

/// A photo with its orientation in EXIF, and the same photo with its orientation in XMP alone.
struct Turned {
    name: String,
    exif: u8,
    by_exif: Vec<u8>,
    by_xmp: Vec<u8>,
}

fn turned() -> Vec<Turned> {
    let read = |name: &str| fs::read(root().join("test_images/good").join(name)).unwrap();
    let mut photos = Vec::new();
    for exif in 2..=8 {
        let name = format!("faw-orientation-{exif}.jpg");
        let by_exif = read(&name);
        photos.push(Turned {
            by_xmp: xmp::jpeg(&by_exif, &xmp::packet(exif)),
            name,
            exif,
            by_exif,
        });
    }
    let name = "eclw-orientation-6.webp";
    let by_exif = read(name);
    photos.push(Turned {
        by_xmp: xmp::webp(&by_exif, &xmp::packet(6)),
        name: name.into(),
        exif: 6,
        by_exif,
    });
    let by_exif = read("aaw-orientation-6.png");
    for next in [b"IDAT", b"IEND"] {
        for compressed in [false, true] {
            photos.push(Turned {
                by_xmp: xmp::png(&by_exif, &xmp::packet(6), next, compressed),
                name: format!("PNG, XMP before {}, {compressed}", next.escape_ascii()),
                exif: 6,
                by_exif: by_exif.clone(),
            });
        }
    }
    photos
}

#[test]
fn xmp_turns_a_photo_as_exif_does() {
    let mut reduced = 0;
    for Turned {
        name,
        exif,
        by_exif,
        by_xmp,
    } in turned()
    {
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
    assert_eq!(
        reduced, 7,
        "each JPEG is decoded whole once, and in part once"
    );
}

/// Checks that two images differ by at most 2 levels of 256, and by at most `levels` on average.
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
        let rejection = decode(&bytes, &input(224, 224)).err();
        let rejection = rejection.unwrap_or_else(|| panic!("{} is accepted", file.display()));
        assert!(!rejection.to_string().is_empty());
        println!("{}: {rejection}", file.display());
    }
}
