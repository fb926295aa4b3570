//! The shipped model: against stock tract, and as a compiled file that is whole, damaged or unsound.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path, path::PathBuf};

use moth_engine::{
    EngineError, compile,
    file::{self, FileError},
    isa::Isa,
    prepare,
    program::Program,
    runtime::{Fault, PackedWeights, ProgramError, Runnable},
    steps::{Direct, Step, Winograd},
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
fn outputs_agree_with_stock_tract() {
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
            let ours = run(&runnable, threads);
            assert_eq!(ours.len(), stock.len());
            for (ours, stock) in std::iter::zip(ours, &stock) {
                assert!(
                    (ours - stock).abs() < 1e-4,
                    "{isa}, {threads} threads: {ours} and {stock}"
                );
            }
        }
    }
}

#[test]
fn a_compiled_file_gives_the_same_outputs_and_a_damaged_one_is_refused() {
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
    // Each damaged file is another file: one that is mapped must not change.
    let refusal = |bytes: &[u8]| {
        let other = folder.path().join("other");
        fs::write(&other, bytes).unwrap();
        file::open(&other, "0123", isa).err().unwrap().to_string()
    };
    for end in [0, 7, 23, 24, 100, 5000, length / 2, length - 4, length - 1] {
        let message = refusal(&whole[..end]);
        assert!(
            message.contains("damaged") || message.contains("no compiled model"),
            "{end}: {message}"
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
        let message = refusal(&bytes);
        let is_refused = ["damaged", "no compiled model", "version"]
            .iter()
            .any(|word| message.contains(word));
        assert!(is_refused, "{at}: {message}");
    }
    let mut longer = whole;
    longer.extend([0; 64]);
    assert!(refusal(&longer).contains("cut off"));
}

#[test]
fn a_program_with_addresses_out_of_range_is_refused() {
    let (program, weights) = compile(&resnet()).unwrap();
    let refused = |change: &dyn Fn(&mut Program)| {
        let mut program = program.clone();
        change(&mut program);
        let weights = PackedWeights::owned(&weights);
        let runnable = Runnable::new(program, weights, Isa::detect());
        runnable.err().unwrap()
    };
    let fault = |change: &dyn Fn(&mut Program)| match refused(change) {
        ProgramError::Invalid { fault, .. } => fault,
        error => panic!("{error}"),
    };
    assert_eq!(
        fault(&|program| program.arena_len -= 16),
        Fault::OutsideArena
    );
    let more = refused(&|program| program.weights_len += 1);
    assert!(matches!(more, ProgramError::Weights { .. }));
    let more = refused(&|program| program.outputs.push(vec![1 << 40, 1 << 40]));
    assert!(matches!(more, ProgramError::Tensor(_)));

    type OfDirect = fn(&mut Direct);
    let changes: [(OfDirect, Fault); 7] = [
        (|step| step.window.kernel[0] += 1, Fault::WindowOutside),
        (|step| step.window.stride[1] = 1 << 20, Fault::WindowRange),
        (|step| step.window.stride = [0, 0], Fault::WindowRange),
        (
            |step| step.output.offset = step.input.offset,
            Fault::Overlap,
        ),
        (|step| step.weights = usize::MAX, Fault::OutsideWeights),
        (|step| step.output.blocks += 1000, Fault::OutsideArena),
        (|step| step.input.lanes = 0, Fault::EmptyMap),
    ];
    for (change, expected) in changes {
        let found = fault(&|program| match &mut program.steps[1] {
            Step::Direct(step) => change(step),
            _ => unreachable!("step 1 is the 7×7 convolution"),
        });
        assert_eq!(found, expected);
    }
    type OfWinograd = fn(&mut Winograd);
    let changes: [(OfWinograd, Fault); 4] = [
        (|step| step.output_tile = 0, Fault::OutputTile),
        (|step| step.output_tile = 3, Fault::OutputTile),
        (|step| step.origin[0] += 1, Fault::WindowOutside),
        (|step| step.weights += 1 << 40, Fault::OutsideWeights),
    ];
    for (change, expected) in changes {
        let found = fault(&|program| {
            let mut steps = program.steps.iter_mut();
            let step = steps.find_map(|step| match step {
                Step::Winograd(step) => Some(step),
                _ => None,
            });
            change(step.expect("the model has 3×3 convolutions"));
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn an_unknown_operator_is_named() {
    let unknown = prepare(
        &parse("tests/color_model/model.onnx", [1, 8, 8, 3]),
        Isa::detect(),
    );
    let unknown = unknown.err().unwrap();
    assert!(matches!(unknown, EngineError::Import(_)));
    assert_eq!(unknown.to_string(), "Reduce<Sum> (means.sum)");
}
