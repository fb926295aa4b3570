//! The Rust peers of `benches/peers.py`. Each does its work once for each line on standard input, and prints the
//! milliseconds that it took. Its first line is the answer of a first run.
//!
//! Arguments:
//!
//! - `engine` or `tract`, and the number of threads: inference with the model in MODEL_DIR;
//! - `photo` or `image`, and a file: from its bytes to a tensor, as the function does it, or with the whole photo
//!   decoded by the `image` crate.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{env, fs, io, path::Path, time::Instant};

use image::metadata::Orientation;
use moth_classifier::{
    model::{Color, Input, Layout, Preprocess, Resize},
    photo::{Encoded, Image, Limits, tensor},
};
use moth_engine::{file, isa::Isa, op, threads::with_threads};
use serde_json::Value;
use tract_onnx::prelude::*;

fn main() {
    // Options that cargo adds begin with a hyphen.
    let arguments: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let [peer, rest] = &arguments[..] else {
        return; // run by `cargo bench`, not by peers.py
    };
    match peer.as_str() {
        "photo" | "image" => photo(peer, Path::new(rest)),
        _ => model(peer, rest.parse().unwrap()),
    }
}

/// Prints an answer, and the milliseconds of each further run.
fn serve(run: impl Fn() -> (Vec<f32>, f64)) {
    println!("{:?}", run().0);
    for line in io::stdin().lines() {
        line.unwrap();
        println!("{}", run().1);
    }
}

fn model(peer: &str, threads: usize) {
    let folder = env::var("MODEL_DIR").unwrap_or_else(|_| "model".into());
    let folder = Path::new(&folder);
    let isa = env::var("MAX_CPU_ISA").map_or_else(
        |_| Isa::detect(),
        |isa| isa.parse().expect("MAX_CPU_ISA is an instruction set"),
    );
    let manifest = fs::read_to_string(folder.join("model.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    let input = &manifest["input"];
    let [height, width] =
        ["height", "width"].map(|side| usize::try_from(input[side].as_u64().unwrap()).unwrap());
    let shape = match input["layout"].as_str() {
        Some("NCHW") => [1, 3, height, width],
        _ => [1, height, width, 3],
    };
    let model = match peer {
        "engine" => {
            let hash = manifest["sha256"].as_str().unwrap();
            let file = file::open(&folder.join("model.compiled"), hash, isa);
            op::model(file.expect("run `moth-classifier compile` first")).unwrap()
        }
        _ => {
            let model = tract_onnx::onnx()
                .model_for_path(folder.join("model.onnx"))
                .unwrap();
            let model = model.with_input_fact(0, f32::fact(shape).into()).unwrap();
            model.into_optimized().unwrap()
        }
    };
    let plan = model.into_runnable().unwrap();
    let values: Vec<f32> = (0..3 * height * width)
        .map(|n| (n * 7919 % 256) as f32)
        .collect();
    let pool =
        (peer == "tract" && threads > 1).then(|| multithread::Executor::multithread(threads));
    let run = || {
        let input = Tensor::from_shape(&shape, &values).unwrap();
        let started = Instant::now();
        let run = || with_threads(threads, || plan.run(tvec!(input.into_tvalue())));
        let output = match &pool {
            Some(pool) => multithread::multithread_tract_scope(pool.clone(), run),
            None => run(),
        };
        let elapsed = started.elapsed().as_secs_f64() * 1e3;
        (
            output.unwrap()[0]
                .view()
                .as_slice::<f32>()
                .unwrap()
                .to_vec(),
            elapsed,
        )
    };
    serve(run);
}

/// Decodes and resizes a photo. The answer is the mean of each channel.
fn photo(peer: &str, file: &Path) {
    let bytes = fs::read(file).unwrap();
    let limits = Limits {
        bytes: u64::MAX,
        pixels: u64::MAX,
    };
    let input = Input {
        name: "image".into(),
        layout: Layout::Nchw,
        width: 224,
        height: 224,
    };
    let preprocess = Preprocess {
        resize: Resize::Bicubic,
        color: Color::Rgb,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    serve(|| {
        let started = Instant::now();
        let image = match peer {
            "photo" => Encoded::open(&bytes, limits)
                .unwrap()
                .decode(&input)
                .unwrap(),
            _ => Image {
                pixels: image::load_from_memory(&bytes).unwrap().into_rgb8(),
                orientation: Orientation::NoTransforms,
            },
        };
        let values = tensor(&image, &input, &preprocess).values;
        let elapsed = started.elapsed().as_secs_f64() * 1e3;
        let channels = values.chunks(224 * 224);
        (
            channels
                .map(|channel| channel.iter().sum::<f32>() / channel.len() as f32)
                .collect(),
            elapsed,
        )
    });
}
