//! One sound program with a step of every kind, and a change for every fault.

/// The field and the fault of the first step of a kind, after a change of it.
macro_rules! fault {
    ($kind:ident, |$step:ident| $change:expr) => {{
        let mut number = usize::MAX;
        let error = refused(|program| {
            let is_kind = |step: &Step| matches!(step, Step::$kind(_));
            number = program.steps.iter().position(is_kind).unwrap();
            if let Step::$kind($step) = &mut program.steps[number] {
                $change;
            }
        });
        match error {
            ProgramError::Invalid {
                step, field, fault, ..
            } if step == number => (field, fault),
            error => panic!("{error}"),
        }
    }};
}

mod convolutions;
pub(crate) mod program;

use self::program::{RELU, map, pixel, program};
use super::*;
use crate::{
    program::TensorLayout,
    steps::{Affine, Load, Step, Store},
};

fn refused(change: impl FnOnce(&mut Program)) -> ProgramError {
    let mut program = program();
    let weights_len = program.weights_len;
    verify(&program, weights_len).unwrap();
    change(&mut program);
    verify(&program, weights_len).unwrap_err()
}

#[test]
fn feature_maps_are_inside_the_arena_and_of_a_sensible_size() {
    assert_eq!(
        fault!(Add, |step| step.output.offset = 3 * map(0).len() + 33),
        ("output", Fault::OutsideArena)
    );
    assert_eq!(
        fault!(Add, |step| step.output.offset = usize::MAX),
        ("output", Fault::OutsideArena)
    );
    assert_eq!(
        fault!(Add, |step| step.output.halo.left = MAX_SIZE),
        ("output", Fault::LargeMap)
    );
    assert_eq!(
        fault!(Add, |step| step.output.blocks = 0),
        ("output", Fault::EmptyMap)
    );
    assert_eq!(
        fault!(Load, |step| step.output.lanes = 17),
        ("output", Fault::LargeMap)
    );
}

#[test]
fn a_step_reads_what_was_written_and_writes_elsewhere() {
    assert_eq!(
        fault!(Direct, |step| step.input = map(2)),
        ("input", Fault::NotLive)
    );
    assert_eq!(
        fault!(Direct, |step| step.input.halo.top = 0),
        ("input", Fault::NotLive)
    );
    assert_eq!(
        fault!(Direct, |step| step.output = map(0)),
        ("output", Fault::Overlap)
    );
    assert_eq!(
        fault!(Add, |step| step.output.offset = 2 * map(0).len() + 1),
        ("output", Fault::Overlap)
    );
    // The sum overwrites map 1, and the depthwise convolution cannot read it with another halo.
    let error = refused(|program| {
        let Step::Add(step) = &mut program.steps[4] else {
            unreachable!("step 4 is the sum")
        };
        step.output.halo.left = 2;
        step.output.halo.right = 0;
    });
    assert!(
        matches!(
            error,
            ProgramError::Invalid {
                step: 5,
                field: "input",
                fault: Fault::NotLive,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_feature_map_may_be_read_in_parts_and_written_in_parts() {
    let whole = FeatureMap {
        blocks: 2,
        ..map(0)
    };
    let copy = |input, output| {
        Step::Affine(Affine {
            input,
            output,
            scale: 0,
            shift: 0,
            activation: RELU,
        })
    };
    let program = |steps: Vec<Step>| Program {
        inputs: vec![vec![1, 32, 8, 8]],
        outputs: vec![vec![1, 32, 8, 8]],
        steps,
        arena_len: 4 * map(0).len(),
        weights_len: 2 * BLOCK,
    };
    let load = Step::Load(Load {
        input: 0,
        layout: TensorLayout::Nhwc,
        channels: 32,
        affine: None,
        output: whole,
    });
    let store = Step::Store(Store {
        input: FeatureMap {
            offset: 2 * map(0).len(),
            ..whole
        },
        channels: 32,
        output: 0,
    });
    let halves = [copy(map(0), map(2)), copy(map(1), map(3))];
    let [first, second] = halves;
    let sound = vec![load.clone(), first.clone(), second, store.clone()];
    verify(&program(sound), 2 * BLOCK).unwrap();
    let unsound = verify(&program(vec![load, first, store]), 2 * BLOCK).unwrap_err();
    assert!(
        matches!(
            unsound,
            ProgramError::Invalid {
                step: 2,
                fault: Fault::NotLive,
                ..
            }
        ),
        "{unsound}"
    );
}

#[test]
fn windows_are_inside_their_feature_map() {
    assert_eq!(
        fault!(Direct, |step| step.window.kernel[1] = 4),
        ("window", Fault::WindowOutside)
    );
    assert_eq!(
        fault!(Direct, |step| step.window.origin[0] = 1),
        ("window", Fault::WindowOutside)
    );
    assert_eq!(
        fault!(Direct, |step| step.window.stride[0] = 0),
        ("window", Fault::WindowRange)
    );
    assert_eq!(
        fault!(Depthwise, |step| step.window.kernel[0] = MAX_SIZE),
        ("window", Fault::WindowRange)
    );
    assert_eq!(
        fault!(Depthwise, |step| step.window.stride[1] = 2),
        ("window", Fault::WindowOutside)
    );
    // Tiles of 4×4 read a row more than the halo has.
    assert_eq!(
        fault!(Winograd, |step| step.origin[1] = 1),
        ("window", Fault::WindowOutside)
    );
    assert_eq!(
        fault!(Winograd, |step| step.output_tile = 3),
        ("output_tile", Fault::OutputTile)
    );
}

#[test]
fn windows_of_a_pooling_have_values_and_end_with_the_zeros() {
    assert_eq!(
        fault!(Pool, |step| step.zeros[0][0] = 2),
        ("zeros", Fault::WindowOutside)
    );
    assert_eq!(
        fault!(Pool, |step| step.outside[1] = 3),
        ("outside", Fault::WindowOutside)
    );
    assert_eq!(
        fault!(Pool, |step| step.stride[0] = 2),
        ("outside", Fault::WindowOutside)
    );
    assert_eq!(
        fault!(Pool, |step| step.kernel[0] = 0),
        ("kernel", Fault::WindowRange)
    );
}

#[test]
fn weights_are_inside_the_weights_of_the_program() {
    assert_eq!(
        fault!(Direct, |step| step.weights = usize::MAX),
        ("weights", Fault::OutsideWeights)
    );
    assert_eq!(
        fault!(Direct, |step| step.bias += 16 * BLOCK * BLOCK),
        ("bias", Fault::OutsideWeights)
    );
    assert_eq!(
        fault!(Winograd, |step| step.weights = BLOCK + 1),
        ("weights", Fault::OutsideWeights)
    );
    assert_eq!(
        fault!(Depthwise, |step| step.weights = usize::MAX - 8),
        ("weights", Fault::OutsideWeights)
    );
    assert_eq!(
        fault!(Affine, |step| step.shift = 16 * BLOCK * BLOCK + 1),
        ("shift", Fault::OutsideWeights)
    );
    assert_eq!(
        fault!(Load, |step| step.affine = Some([0, 1 << 40])),
        ("affine", Fault::OutsideWeights)
    );
}

#[test]
fn sizes_match() {
    let wide = FeatureMap {
        blocks: 2,
        ..map(2)
    };
    assert_eq!(
        fault!(Depthwise, |step| step.output = wide),
        ("input", Fault::Blocks)
    );
    let low = FeatureMap {
        height: 4,
        ..map(1)
    };
    assert_eq!(
        fault!(Add, |step| step.output = low),
        ("inputs", Fault::Pixels)
    );
    assert_eq!(
        fault!(GlobalPool, |step| step.output = map(1)),
        ("output", Fault::OnePixel)
    );
    assert_eq!(
        fault!(Multiply, |step| step.output = pixel(0)),
        ("input", Fault::Pixels)
    );
    assert_eq!(
        fault!(Softmax, |step| step.channels = 17),
        ("channels", Fault::Channels)
    );
    assert_eq!(
        fault!(Store, |step| step.channels = 9),
        ("tensor", Fault::Tensor)
    );
    assert_eq!(
        fault!(Load, |step| step.input = 1),
        ("tensor", Fault::Tensor)
    );
    let residual = |stride| Residual {
        feature_map: map(0),
        stride,
    };
    assert_eq!(
        fault!(Direct, |step| step.residual = Some(residual(2))),
        ("residual", Fault::SmallResidual)
    );
    assert_eq!(
        fault!(Direct, |step| step.residual = Some(residual(0))),
        ("residual", Fault::WindowRange)
    );
}

#[test]
fn bounds_are_in_order() {
    let clamp = Activation::Clamp {
        low: Some(1.0),
        high: Some(0.0),
    };
    assert_eq!(
        fault!(Add, |step| step.activation = clamp),
        ("activation", Fault::Activation)
    );
    assert_eq!(
        fault!(Direct, |step| step.activation = clamp),
        ("activation", Fault::Activation)
    );
    assert_eq!(
        fault!(Winograd, |step| step.activation = clamp),
        ("activation", Fault::Activation)
    );
    assert_eq!(
        fault!(Depthwise, |step| step.activation = clamp),
        ("activation", Fault::Activation)
    );
    assert_eq!(
        fault!(Affine, |step| step.activation = clamp),
        ("activation", Fault::Activation)
    );
}

#[test]
fn every_tensor_is_copied_once() {
    let error = refused(|program| program.outputs.push(vec![1, 10]));
    let expected = ProgramError::Copies {
        what: "output",
        index: 1,
        times: 0,
    };
    assert_eq!(error, expected);
    let error = refused(|program| {
        let load = program.steps[0].clone();
        program.steps.insert(0, load);
    });
    assert!(
        matches!(error, ProgramError::Copies { times: 2, .. }),
        "{error}"
    );
}

#[test]
fn memory_is_what_the_feature_maps_need() {
    let error = refused(|program| program.arena_len += BLOCK);
    assert!(matches!(error, ProgramError::Memory(_)), "{error}");
    let error = refused(|program| program.arena_len = MAX_FLOATS + 1);
    assert!(matches!(error, ProgramError::Memory(_)), "{error}");
    let error = refused(|program| program.outputs.push(vec![1 << 20; 4]));
    assert!(matches!(error, ProgramError::Tensor(_)), "{error}");
    let error = refused(|program| program.weights_len += 1);
    assert!(matches!(error, ProgramError::Weights { .. }), "{error}");
}
