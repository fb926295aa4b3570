//! The model of this repository: against stock tract, and as a compiled file, whole and broken.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path, path::PathBuf};

use moth_engine::{
    compile,
    file::{self, FileError},
    isa::Isa,
    kernel::Runnable,
    prepare,
};
use tract_onnx::prelude::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn parse(path: &str, shape: [usize; 4]) -> TypedModel {
    let model = tract_onnx::onnx()
        .model_for_path(root().join(path))
        .unwrap();
    let model = model.with_input_fact(0, f32::fact(shape).into()).unwrap();
    model.into_typed().unwrap()
}

fn resnet() -> TypedModel {
    parse("model/model.onnx", [1, 224, 224, 3])
}

fn input() -> Vec<f32> {
    (0..224 * 224 * 3)
        .map(|n| (n * 7919 % 256) as f32)
        .collect()
}

fn run(runnable: &Runnable, threads: usize) -> Vec<f32> {
    let mut output = vec![0.0; runnable.program().outputs[0].iter().product()];
    runnable.run(&[&input()], &mut [&mut output], threads);
    output
}

#[test]
fn it_says_what_stock_tract_says() {
    let model = resnet();
    let stock = model
        .clone()
        .into_optimized()
        .unwrap()
        .into_runnable()
        .unwrap();
    let tensor = Tensor::from_shape(&[1, 224, 224, 3], &input()).unwrap();
    let stock = stock.run(tvec!(tensor.into_tvalue())).unwrap();
    let stock = stock[0].view().as_slice::<f32>().unwrap().to_vec();
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
        let runnable = prepare(&model, isa).unwrap();
        for threads in 1..4 {
            for (ours, stock) in std::iter::zip(run(&runnable, threads), &stock) {
                assert!(
                    (ours - stock).abs() < 1e-4,
                    "{isa}, {threads} threads: {ours} and {stock}"
                );
            }
        }
    }
}

#[test]
fn a_file_runs_as_what_it_was_written_from_and_broken_it_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.compiled");
    let isa = Isa::detect();
    let open = |model: &str| file::open(&path, model, isa);
    assert!(matches!(open("0123"), Err(FileError::Missing)));

    let model = resnet();
    let (program, weights) = compile(&model).unwrap();
    file::write(&path, "0123", &program, &weights).unwrap();
    let expected = run(&prepare(&model, isa).unwrap(), 1);
    assert_eq!(run(&open("0123").unwrap(), 1), expected);
    assert!(matches!(open("4567"), Err(FileError::Model(of)) if of == "0123"));

    let whole = fs::read(&path).unwrap();
    let length = whole.len();
    // Never written in place, as a file that is open must not change: each is another file.
    let broken = |bytes: &[u8]| {
        let other = folder.path().join("other");
        fs::write(&other, bytes).unwrap();
        file::open(&other, "0123", isa).err().unwrap().to_string()
    };
    for end in [0, 7, 23, 24, 100, 5000, length / 2, length - 4, length - 1] {
        let said = broken(&whole[..end]);
        assert!(
            said.contains("damaged") || said.contains("no compiled model"),
            "{end}: {said}"
        );
    }
    for at in [
        0,
        8,
        9,
        12,
        13,
        16,
        20,
        24,
        30,
        2000,
        length / 3,
        length - 1,
    ] {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        let said = broken(&bytes);
        let is_refused = ["damaged", "no compiled model", "version"]
            .iter()
            .any(|word| said.contains(word));
        assert!(is_refused, "{at}: {said}");
    }
    let mut longer = whole;
    longer.extend([0; 64]);
    assert!(broken(&longer).contains("cut off"));
}

#[test]
fn a_program_that_reaches_too_far_is_refused() {
    use moth_engine::{
        kernel::{Floats, Weights},
        program::Step,
    };
    let (program, weights) = compile(&resnet()).unwrap();
    let refused = |change: &dyn Fn(&mut moth_engine::program::Program)| {
        let mut program = program.clone();
        change(&mut program);
        let floats = Weights::Owned(Floats::zeroed(weights.len()));
        Runnable::new(program, floats, Isa::detect()).err().unwrap()
    };
    let convolution = |step: &mut Step| match step {
        Step::Convolution(step) => step.clone(),
        _ => unreachable!("the second step is the stem"),
    };
    assert!(refused(&|program| program.arena -= 16).contains("outside the arena"));
    assert!(refused(&|program| program.weights += 1).contains("not all there"));
    let more = refused(&|program| program.outputs.push(vec![1 << 40, 1 << 40]));
    assert!(more.contains("out of all proportion"));
    type Change = fn(&mut moth_engine::program::Convolution);
    let changes: [(Change, &str); 6] = [
        (|step| step.window.kernel[0] += 1, "beyond its plane"),
        (
            |step| step.window.stride[1] = 1 << 20,
            "out of all proportion",
        ),
        (
            |step| step.output.offset = step.input.offset,
            "where an input is",
        ),
        (
            |step| step.weights = usize::MAX,
            "weights that are not there",
        ),
        (|step| step.output.blocks += 1000, "outside the arena"),
        (|step| step.input.lanes = 0, "an empty plane"),
    ];
    let changes = changes.into_iter().chain([(
        (|step| step.window.stride = [0, 0]) as Change,
        "out of all proportion",
    )]);
    for (change, reason) in changes {
        let said = refused(&|program| {
            let mut step = convolution(&mut program.steps[1]);
            change(&mut step);
            program.steps[1] = Step::Convolution(step);
        });
        assert!(said.contains(reason), "{said}");
    }
    type Tiled = fn(&mut moth_engine::program::Winograd);
    let changes: [(Tiled, &str); 5] = [
        (|step| step.tile = 0, "tiles of another size"),
        (|step| step.tile = 3, "tiles of another size"),
        (|step| step.together = 0, "no tiles"),
        (|step| step.origin[0] += 1, "beyond its plane"),
        (|step| step.weights += 1 << 40, "weights that are not there"),
    ];
    for (change, reason) in changes {
        let said = refused(&|program| {
            let step = program.steps.iter_mut().find_map(|step| match step {
                Step::Winograd(step) => Some(step),
                _ => None,
            });
            change(step.expect("one of the model's layers"));
        });
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn what_it_does_not_know_has_a_name() {
    let unknown = prepare(
        &parse("tests/color_model/model.onnx", [1, 8, 8, 3]),
        Isa::detect(),
    );
    let unknown = unknown.err().unwrap();
    assert_eq!(unknown, "Reduce<Sum> (means.sum)");
}
