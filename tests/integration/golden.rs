//! Every good test image against the reference: Pillow and TensorFlow, run by `tests/golden.py`.

mod preprocessing;
mod probabilities;

use std::{fs, path::PathBuf};

use moth_classifier::{
    model::{Input, Layout},
    photo::{Encoded, Image, Limits, Rejection},
};

use crate::support::command::root;

const LIMITS: Limits = Limits {
    bytes: u64::MAX,
    pixels: 50_000_000,
};

/// Length of a file that counts as a small photo, in bytes. The quick level leaves out larger ones.
const SMALL: u64 = 200_000;

fn decode(bytes: &[u8], input: &Input) -> Result<Image, Rejection> {
    Encoded::open(bytes, LIMITS)?.decode(input)
}

/// The input of a model of this size.
fn input(width: u32, height: u32) -> Input {
    Input {
        name: "image".into(),
        layout: Layout::Nhwc,
        width,
        height,
    }
}

/// The files of a folder of the repository, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The good test images of at most `max_length` bytes: name and content.
fn good_images(max_length: u64) -> Vec<(String, Vec<u8>)> {
    let mut files = files("test_images/good");
    files.retain(|file| file.metadata().unwrap().len() <= max_length);
    let read = |file: PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        (name.to_owned(), fs::read(&file).unwrap())
    };
    files.into_iter().map(read).collect()
}
