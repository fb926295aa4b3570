//! Speed of the engine: each step of a model, some convolutions alone, and the whole model; as floating-point operations
//! per second, and as share of the core's peak, which is measured in the same rounds.
//!
//! `cargo bench --locked --bench layers`, or with `-- avx2` for one instruction set. MODEL_DIR has the model, SIDE its
//! rows and columns (default 224), ROUNDS the number of rounds (default 30). All rows take turns in each round, and the
//! tables have the minima.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use moth_engine::{
    activation::Activation,
    graph::{Convolution, Graph, Op, Padding, Shape},
    isa::Isa,
    kernels::multiply_and_add,
    passes,
    plan::plan,
    prepare,
    program::TensorLayout,
    runtime::{PackedWeights, Profile, Runnable},
    steps::Step,
};
use tract_onnx::prelude::*;

/// Rounds of one measurement of the core's peak.
const PEAK_ROUNDS: u64 = 200_000;

fn main() {
    // Options that cargo adds begin with a hyphen.
    let arguments = env::args().skip(1).filter(|word| !word.starts_with('-'));
    let wanted: Vec<Isa> = arguments
        .map(|word| word.parse().expect("an instruction set"))
        .collect();
    let rounds =
        env::var("ROUNDS").map_or(30, |rounds| rounds.parse().expect("ROUNDS is a number"));
    for isa in Isa::ALL {
        let is_wanted = wanted.is_empty() && isa != Isa::Portable || wanted.contains(&isa);
        if isa.is_here() && is_wanted {
            measure(isa, rounds);
        }
    }
}

fn measure(isa: Isa, rounds: usize) {
    let model = model();
    let whole = prepare(&model, isa).expect("a model that the engine knows");
    let alone: Vec<(&str, Runnable)> = ALONE
        .iter()
        .map(|kind| (kind.0, alone(kind, isa)))
        .collect();
    let cpus = thread::available_parallelism().map_or(1, usize::from);

    let mut peak = 0f64;
    let mut steps = Profile::default();
    let mut single: Vec<Profile> = vec![Profile::default(); alone.len()];
    let mut runs = BTreeMap::from([(1, Duration::MAX), (cpus, Duration::MAX)]);
    let mut batches = [Duration::MAX; 2];
    for _ in 0..rounds {
        let start = Instant::now();
        let operations = multiply_and_add(isa, PEAK_ROUNDS);
        peak = peak.max(operations as f64 / start.elapsed().as_secs_f64());
        profile(&whole, &mut steps);
        for ((_, runnable), profiled) in alone.iter().zip(&mut single) {
            profile(runnable, profiled);
        }
        for (threads, least) in &mut runs {
            *least = (*least).min(run(&whole, *threads));
        }
        for (least, concurrent) in batches.iter_mut().zip([1, cpus]) {
            *least = (*least).min(batch(&whole, cpus, concurrent));
        }
    }

    Measured {
        isa,
        rounds,
        peak,
        whole: &whole,
        steps,
        alone: alone
            .iter()
            .zip(single)
            .map(|((name, runnable), of)| (*name, runnable, of))
            .collect(),
        runs,
        batches,
        cpus,
    }
    .print();
}

/// What was measured with one instruction set: minima of all rounds.
struct Measured<'a> {
    isa: Isa,
    rounds: usize,
    /// Floating-point operations per second of a core.
    peak: f64,
    whole: &'a Runnable,
    steps: Profile,
    alone: Vec<(&'a str, &'a Runnable, Profile)>,
    /// By number of threads.
    runs: BTreeMap<usize, Duration>,
    /// With all threads on each image, and with a thread on each.
    batches: [Duration; 2],
    cpus: usize,
}

impl Measured<'_> {
    fn print(self) {
        let Self {
            isa,
            rounds,
            peak,
            whole,
            steps,
            alone,
            runs,
            batches,
            cpus,
        } = self;
        let gigas = |operations: u64, time: Duration| operations as f64 / time.as_secs_f64() / 1e9;
        println!(
            "\n{isa}, {rounds} rounds: peak {:.1} GFLOP/s a core",
            peak / 1e9
        );
        let row = |name: &str, operations: u64, time: Duration| {
            let (milliseconds, rate) = (time.as_secs_f64() * 1e3, gigas(operations, time));
            match operations {
                0 => println!("{name:58}{milliseconds:9.3}"),
                _ => println!(
                    "{name:58}{milliseconds:9.3}{rate:9.1}{:8.0}%",
                    rate * 1e11 / peak
                ),
            }
        };
        println!(
            "{:58}{:>9}{:>9}{:>9}",
            "in the model", "ms", "GFLOP/s", "of peak"
        );
        for (name, step) in sums(&whole.program().steps, &steps) {
            row(
                &format!("{} × {name}", step.count),
                step.operations,
                step.time,
            );
            if step.products > Duration::ZERO {
                row("    its products", step.operations, step.products);
            }
        }
        println!("alone, weights in the cache");
        for (name, runnable, profiled) in alone {
            let (step, time) = (&runnable.program().steps[1], profiled.steps[1]);
            row(name, step.operations(), time.whole);
        }
        println!("whole model");
        let operations = whole.program().steps.iter().map(Step::operations).sum();
        for (threads, time) in runs {
            row(&format!("threads: {threads}"), operations, time);
        }
        for (name, time) in ["all threads on each", "a thread on each"]
            .iter()
            .zip(batches)
        {
            let images = 2 * cpus as u64;
            row(
                &format!("batch of {images}, {name}"),
                operations * images,
                time,
            );
        }
    }
}

/// Steps of the same kind and size.
#[derive(Default)]
struct Sum {
    count: usize,
    operations: u64,
    time: Duration,
    products: Duration,
}

/// Adds up the steps of the same kind and size, in the order of the program.
fn sums(steps: &[Step], profile: &Profile) -> Vec<(String, Sum)> {
    let mut sums: Vec<(String, Sum)> = Vec::new();
    for (step, time) in steps.iter().zip(&profile.steps) {
        let name = format!("{} {}", step.name(), step.size());
        if !sums.iter().any(|(other, _)| *other == name) {
            sums.push((name.clone(), Sum::default()));
        }
        let (_, sum) = sums.iter_mut().find(|(other, _)| *other == name).unwrap();
        sum.count += 1;
        sum.operations += step.operations();
        sum.time += time.whole;
        sum.products += time.products;
    }
    sums
}

fn profile(runnable: &Runnable, profile: &mut Profile) {
    let (input, mut output) = buffers(runnable);
    runnable.profile(&[&input], &mut [&mut output], profile);
}

/// Time of one run.
fn run(runnable: &Runnable, threads: usize) -> Duration {
    let (input, mut output) = buffers(runnable);
    let start = Instant::now();
    runnable.run(&[&input], &mut [&mut output], threads);
    start.elapsed()
}

/// Time of a batch of two images per CPU, of which `concurrent` are computed at the same time.
fn batch(runnable: &Runnable, cpus: usize, concurrent: usize) -> Duration {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..concurrent {
            scope.spawn(|| {
                let (input, mut output) = buffers(runnable);
                for _ in 0..2 * cpus / concurrent {
                    runnable.run(&[&input], &mut [&mut output], cpus / concurrent);
                }
            });
        }
    });
    start.elapsed()
}

/// Name, input shape, output channels, kernel size, stride.
type Kind = (&'static str, Shape, usize, usize, usize);

/// One convolution of each kind in a ResNet-50, without residuals.
const ALONE: &[Kind] = &[
    ("7×7 ÷2, 3→64 at 112", shape(3, 224), 64, 7, 2),
    ("1×1, 64→256 at 56", shape(64, 56), 256, 1, 1),
    ("1×1, 256→64 at 56", shape(256, 56), 64, 1, 1),
    ("3×3, 64→64 at 56", shape(64, 56), 64, 3, 1),
    ("3×3 ÷2, 128→128 at 28", shape(128, 56), 128, 3, 2),
    ("1×1, 512→128 at 28", shape(512, 28), 128, 1, 1),
    ("3×3, 128→128 at 28", shape(128, 28), 128, 3, 1),
    ("1×1, 1024→256 at 14", shape(1024, 14), 256, 1, 1),
    ("3×3, 256→256 at 14", shape(256, 14), 256, 3, 1),
    ("1×1, 512→2048 at 7", shape(512, 7), 2048, 1, 1),
    ("3×3, 512→512 at 7", shape(512, 7), 512, 3, 1),
];

const fn shape(channels: usize, size: usize) -> Shape {
    Shape {
        channels,
        height: size,
        width: size,
    }
}

/// A network of an input and one convolution.
fn alone((_, from, channels, kernel, stride): &Kind, isa: Isa) -> Runnable {
    let mut graph = Graph::default();
    let op = Op::Input {
        index: 0,
        layout: TensorLayout::Nhwc,
        affine: None,
    };
    let input = graph.push(op, &[], *from);
    let weights = channels * from.channels * kernel * kernel;
    let size = from.height / stride;
    let padding = (kernel - 1) / 2;
    let op = Op::Convolution(Convolution {
        weights: (0..weights)
            .map(|n| (n * 7919 % 256) as f32 / 256.0 - 0.5)
            .collect(),
        bias: vec![0.5; *channels].into(),
        is_depthwise: false,
        kernel: [*kernel; 2],
        stride: [*stride; 2],
        padding: Padding {
            before: [padding; 2],
            after: [padding; 2],
        },
        residual_stride: None,
        has_gate: false,
        activation: Activation::RELU,
    });
    let output = graph.push(op, &[input], shape(*channels, size));
    graph.outputs.push((output, vec![1, *channels, size, size]));
    passes::run(&mut graph);
    let (program, weights) = plan(&graph).unwrap();
    Runnable::new(program, PackedWeights::owned(&weights), isa).unwrap()
}

/// The model in MODEL_DIR.
fn model() -> TypedModel {
    let folder = env::var("MODEL_DIR").map_or_else(|_| PathBuf::from("model"), PathBuf::from);
    let model = tract_onnx::onnx()
        .model_for_path(Path::new(&folder).join("model.onnx"))
        .unwrap();
    let side = env::var("SIDE").map_or(224, |side| side.parse().expect("SIDE is a number"));
    let shape = f32::fact([1, side, side, 3]);
    model
        .with_input_fact(0, shape.into())
        .unwrap()
        .into_typed()
        .unwrap()
}

fn buffers(runnable: &Runnable) -> (Vec<f32>, Vec<f32>) {
    let program = runnable.program();
    let length = |shape: &Vec<usize>| shape.iter().product();
    let input: usize = length(&program.inputs[0]);
    let input = (0..input).map(|n| (n * 7919 % 256) as f32).collect();
    (input, vec![0.0; length(&program.outputs[0])])
}
