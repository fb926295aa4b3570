//! Speed of the engine's layers and of the whole model: floating-point operations per second, and their share of the
//! core's peak.
//!
//! `cargo bench --locked --bench layers`. A filter such as `-- avx512` limits what is measured; the table then shows
//! the last measurement of the others. The time of a layer includes loading its input from NHWC and the mean of its
//! output.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{env, fs, io, path::Path, sync::Arc, thread};

use criterion::{Criterion, Throughput};
use moth_engine::{
    graph,
    isa::Isa,
    kernel::{PackedWeights, Runnable, multiply_and_add},
    lower::lower,
    network::{Layer, Network, Padding, ResidualInput, Shape},
    program::{Clamp, TensorLayout},
};
use serde_json::Value;
use tract_onnx::prelude::*;

/// Rounds of one measurement of the core's peak.
const ROUNDS: u64 = 1_000_000;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .configure_from_args();
    for isa in Isa::ALL {
        if isa.is_here() && isa != Isa::Portable {
            measure(&mut criterion, isa);
        }
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, isa: Isa) {
    let mut group = criterion.benchmark_group(isa.to_string());
    let mut rows = Vec::new();
    let operations = multiply_and_add(isa, ROUNDS);
    group.throughput(Throughput::Elements(operations));
    group.bench_function("peak", |bencher| {
        bencher.iter(|| multiply_and_add(isa, ROUNDS));
    });
    rows.push(("peak".to_owned(), operations));

    for (name, from, channels, kernel, stride, residual) in LAYERS {
        let (network, operations) = layer(*from, *channels, *kernel, *stride, *residual);
        let runnable = runnable(&network, isa);
        group.throughput(Throughput::Elements(operations));
        group.bench_function(*name, |bencher| {
            let (input, mut output) = buffers(&runnable);
            bencher.iter(|| runnable.run(&[&input], &mut [&mut output], 1));
        });
        rows.push(((*name).to_owned(), operations));
    }

    let (network, operations) = model();
    let runnable = runnable(&network, isa);
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    group.throughput(Throughput::Elements(operations));
    for threads in [1, cpus] {
        let name = format!("whole model, threads: {threads}");
        group.bench_function(&name, |bencher| {
            let (input, mut output) = buffers(&runnable);
            bencher.iter(|| runnable.run(&[&input], &mut [&mut output], threads));
        });
        rows.push((name, operations));
    }
    // A batch of two images per CPU: one image after the other on all threads, or one thread per image.
    let images = 2 * cpus;
    group.throughput(Throughput::Elements(operations * images as u64));
    for (name, concurrent) in [
        ("batch, all threads on each", 1),
        ("batch, a thread on each", cpus),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                thread::scope(|scope| {
                    for _ in 0..concurrent {
                        scope.spawn(|| {
                            let (input, mut output) = buffers(&runnable);
                            for _ in 0..images / concurrent {
                                runnable.run(&[&input], &mut [&mut output], cpus / concurrent);
                            }
                        });
                    }
                });
            });
        });
        rows.push((name.to_owned(), operations * images as u64));
    }
    group.finish();
    report(isa, &rows);
}

/// Name, input shape, output channels, kernel size, stride, and whether there is a residual.
type Kind = (&'static str, Shape, usize, usize, usize, bool);

/// One convolution of each kind in a ResNet-50.
const LAYERS: &[Kind] = &[
    ("7×7 ÷2, 3→64 at 112", shape(3, 224), 64, 7, 2, false),
    ("1×1, 64→256 at 56, sum", shape(64, 56), 256, 1, 1, true),
    ("1×1, 256→64 at 56", shape(256, 56), 64, 1, 1, false),
    ("3×3, 64→64 at 56", shape(64, 56), 64, 3, 1, false),
    ("3×3 ÷2, 128→128 at 28", shape(128, 56), 128, 3, 2, false),
    ("1×1, 512→128 at 28", shape(512, 28), 128, 1, 1, false),
    ("3×3, 128→128 at 28", shape(128, 28), 128, 3, 1, false),
    ("1×1, 1024→256 at 14", shape(1024, 14), 256, 1, 1, false),
    ("3×3, 256→256 at 14", shape(256, 14), 256, 3, 1, false),
    ("1×1, 512→2048 at 7, sum", shape(512, 7), 2048, 1, 1, true),
    ("3×3, 512→512 at 7", shape(512, 7), 512, 3, 1, false),
];

const fn shape(channels: usize, size: usize) -> Shape {
    Shape {
        channels,
        height: size,
        width: size,
    }
}

/// A network of an input, a convolution and a mean, and its floating-point operations.
fn layer(
    from: Shape,
    channels: usize,
    kernel: usize,
    stride: usize,
    has_residual: bool,
) -> (Network, u64) {
    let mut network = Network::default();
    let layout = TensorLayout::Nhwc;
    let input = network.push(Layer::Input { index: 0, layout }, from);
    let convolution = |network: &mut Network, residual| {
        let padding = (kernel - 1) / 2;
        let to = shape(channels, from.height / stride);
        let layer = Layer::Convolution {
            input,
            weights: floats(channels * from.channels * kernel * kernel),
            bias: floats(channels),
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: Padding {
                before: [padding; 2],
                after: [padding; 2],
            },
            residual,
            clamp: Clamp::RELU,
        };
        network.push(layer, to)
    };
    let residual = has_residual.then(|| ResidualInput {
        tensor: convolution(&mut network, None),
        stride: 1,
    });
    let last = convolution(&mut network, residual);
    let mean = network.push(Layer::GlobalAveragePool { input: last }, shape(channels, 1));
    network.outputs.push((mean, vec![1, channels]));
    let operations = operations(&network);
    (network, operations)
}

fn floats(count: usize) -> Arc<[f32]> {
    (0..count)
        .map(|n| (n * 7919 % 256) as f32 / 256.0 - 0.5)
        .collect()
}

/// Multiplications and additions of all convolutions, as direct sums.
fn operations(network: &Network) -> u64 {
    let of = |(layer, shape): &(Layer, Shape)| match layer {
        Layer::Convolution { weights, .. } => 2 * weights.len() * shape.height * shape.width,
        _ => 0,
    };
    network.layers.iter().map(of).sum::<usize>() as u64
}

/// The model in MODEL_DIR, and its floating-point operations before the graph passes save some.
fn model() -> (Network, u64) {
    let folder = env::var("MODEL_DIR").unwrap_or_else(|_| "model".into());
    let model = tract_onnx::onnx()
        .model_for_path(Path::new(&folder).join("model.onnx"))
        .unwrap();
    let model = model
        .with_input_fact(0, f32::fact([1, 224, 224, 3]).into())
        .unwrap();
    let mut network =
        graph::read(&model.into_typed().unwrap()).expect("a model that the engine knows");
    let operations = operations(&network);
    network.fuse();
    network.pull_strides();
    (network, operations)
}

fn runnable(network: &Network, isa: Isa) -> Runnable {
    let (program, weights) = lower(network).unwrap();
    Runnable::new(program, PackedWeights::owned(&weights), isa).unwrap()
}

fn buffers(runnable: &Runnable) -> (Vec<f32>, Vec<f32>) {
    let program = runnable.program();
    let length = |shape: &Vec<usize>| shape.iter().product();
    let input: usize = length(&program.inputs[0]);
    let input = (0..input).map(|n| (n * 7919 % 256) as f32).collect();
    (input, vec![0.0; length(&program.outputs[0])])
}

/// Prints a table of criterion's medians. A row that was never measured is left out.
fn report(isa: Isa, rows: &[(String, u64)]) {
    let mut measured = Vec::new();
    for (name, operations) in rows {
        if let Some(nanoseconds) = median(isa, name) {
            measured.push((name, nanoseconds, *operations as f64 / nanoseconds));
        }
    }
    let peak = measured.iter().find(|(name, ..)| *name == "peak");
    let peak = peak.map(|(_, _, rate)| *rate);
    println!(
        "\n{:32}{:>10}{:>10}{:>9}",
        isa.to_string(),
        "ms",
        "GFLOP/s",
        "of peak"
    );
    for (name, nanoseconds, rate) in measured {
        let share = peak.map_or("–".into(), |peak| format!("{:.0}%", 100.0 * rate / peak));
        println!("{name:32}{:10.3}{rate:10.1}{share:>9}", nanoseconds / 1e6);
    }
    println!();
}

/// The last median that criterion measured, in nanoseconds. `None` if it measured none.
fn median(isa: Isa, name: &str) -> Option<f64> {
    let target = env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into());
    let folder = Path::new(&target).join("criterion").join(isa.to_string());
    let folder = folder.join(name.replace(['/', ':'], "_"));
    let estimates = match fs::read(folder.join("new/estimates.json")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        estimates => estimates.unwrap(),
    };
    let estimates: Value = serde_json::from_slice(&estimates).unwrap();
    Some(estimates["median"]["point_estimate"].as_f64().unwrap())
}
