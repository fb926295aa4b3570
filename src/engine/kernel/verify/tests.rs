//! One sound program, and a change for every fault.

use super::*;
use crate::program::{Halo, TensorLayout};

/// A feature map of 16 channels and 8 × 8 pixels, with a halo of 1; the maps have the numbers 0, 1, 2 and so on.
fn map(number: usize) -> FeatureMap {
    let map = FeatureMap {
        offset: 0,
        blocks: 1,
        lanes: BLOCK,
        height: 8,
        width: 8,
        halo: Halo {
            top: 1,
            left: 1,
            bottom: 1,
            right: 1,
        },
    };
    FeatureMap {
        offset: number * map.len(),
        ..map
    }
}

/// A feature map of 16 channels and one pixel, after the maps 0 to 3.
fn pixel(number: usize) -> FeatureMap {
    FeatureMap {
        offset: 4 * map(0).len() + number * BLOCK,
        blocks: 1,
        lanes: BLOCK,
        height: 1,
        width: 1,
        halo: Halo::default(),
    }
}

const WEIGHTS: usize = 9 * BLOCK * BLOCK;

/// Load, a direct 3×3 convolution with a residual, Winograd, pooling, sum, mean, softmax, store.
fn program() -> Program {
    let window = Window {
        kernel: [3, 3],
        stride: [1, 1],
        origin: [0, 0],
    };
    let clamp = Clamp::RELU;
    let operations = vec![
        Operation::Load {
            input: 0,
            layout: TensorLayout::Nchw,
            channels: 16,
            output: map(0),
        },
        Operation::Direct(DirectConvolution {
            input: map(0),
            output: map(1),
            window,
            weights_offset: 0,
            bias_offset: WEIGHTS,
            residual: Some(Residual {
                feature_map: map(0),
                stride: 1,
            }),
            clamp,
        }),
        Operation::Winograd(WinogradConvolution {
            output_tile: 2,
            input: map(1),
            output: map(2),
            origin: [0, 0],
            weights_offset: 0,
            bias_offset: 16 * BLOCK * BLOCK,
            clamp,
            max_tiles: 4,
        }),
        Operation::MaxPool {
            input: map(2),
            output: map(3),
            window,
            clamp,
        },
        Operation::Add {
            input: map(3),
            residual: Residual {
                feature_map: map(2),
                stride: 1,
            },
            output: map(1),
            clamp,
        },
        Operation::GlobalAveragePool {
            input: map(1),
            output: pixel(0),
        },
        Operation::Softmax {
            input: pixel(0),
            channels: 10,
            output: pixel(1),
        },
        Operation::Store {
            input: pixel(1),
            channels: 10,
            output: 0,
        },
    ];
    Program {
        inputs: vec![vec![1, 16, 8, 8]],
        outputs: vec![vec![1, 10]],
        operations,
        arena_len: 4 * map(0).len() + 2 * BLOCK,
        weights_len: 16 * BLOCK * BLOCK + BLOCK,
    }
}

fn refused(change: impl FnOnce(&mut Program)) -> ProgramError {
    let mut program = program();
    let weights_len = program.weights_len;
    verify(&program, weights_len).unwrap();
    change(&mut program);
    verify(&program, weights_len).unwrap_err()
}

/// The fault of one operation after a change of it.
fn fault(number: usize, change: impl FnOnce(&mut Operation)) -> Fault {
    match refused(|program| change(&mut program.operations[number])) {
        ProgramError::Operation {
            number: found,
            fault,
        } if found == number => fault,
        error => panic!("{error}"),
    }
}

fn direct_fault(change: impl FnOnce(&mut DirectConvolution)) -> Fault {
    fault(1, |operation| match operation {
        Operation::Direct(convolution) => change(convolution),
        _ => unreachable!("operation 1 is the direct convolution"),
    })
}

fn winograd_fault(change: impl FnOnce(&mut WinogradConvolution)) -> Fault {
    fault(2, |operation| match operation {
        Operation::Winograd(convolution) => change(convolution),
        _ => unreachable!("operation 2 is Winograd's"),
    })
}

#[test]
fn memory_has_the_size_that_the_program_needs() {
    let error = refused(|program| program.weights_len += 1);
    assert!(matches!(error, ProgramError::Weights { .. }));
    for arena_len in [usize::MAX, MAX_FLOATS, program().arena_len + BLOCK] {
        let error = refused(|program| program.arena_len = arena_len);
        assert_eq!(error, ProgramError::Memory(arena_len));
    }
    let shape = vec![1 << 40, 1 << 40];
    let error = refused(|program| program.outputs.push(shape.clone()));
    assert_eq!(error, ProgramError::Tensor(shape));
}

#[test]
fn every_input_is_loaded_and_every_output_stored_once() {
    // An output that no operation stores would be zeros.
    let error = refused(|program| program.outputs.push(vec![1, 10]));
    let expected = |what, index, times| ProgramError::Copies { what, index, times };
    assert_eq!(error, expected("output", 1, 0));
    let error = refused(|program| program.inputs.push(vec![1, 16, 8, 8]));
    assert_eq!(error, expected("input", 1, 0));
    let error = refused(|program| program.operations.push(program.operations[7].clone()));
    assert_eq!(error, expected("output", 0, 2));
}

#[test]
fn an_operation_reads_what_an_earlier_one_wrote() {
    // The operation would read what an earlier run left in the arena.
    let swap = refused(|program| program.operations.swap(0, 1));
    let fault = Fault::NotLive;
    assert_eq!(swap, ProgramError::Operation { number: 0, fault });
    // The same floats with other rows and columns are another feature map.
    let shape = direct_fault(|step| {
        step.input.halo.bottom = 0;
        step.input.height += 1;
    });
    assert_eq!(shape, Fault::NotLive);
    // Overwritten: the sum reads feature map 2 after something else took its place.
    let overwritten = refused(|program| {
        let mut load = program.operations[0].clone();
        if let Operation::Load { output, .. } = &mut load {
            *output = map(2);
        }
        program.operations.insert(4, load);
        if let Operation::Load { output, .. } = &mut program.operations[4] {
            output.offset -= BLOCK;
        }
    });
    assert_eq!(overwritten, ProgramError::Operation { number: 5, fault });
}

#[test]
fn feature_maps_have_a_size_and_a_place() {
    assert_eq!(
        direct_fault(|step| step.output.blocks += 1000),
        Fault::OutsideArena
    );
    assert_eq!(
        direct_fault(|step| step.output.offset = usize::MAX),
        Fault::OutsideArena
    );
    assert_eq!(direct_fault(|step| step.input.lanes = 0), Fault::EmptyMap);
    assert_eq!(direct_fault(|step| step.input.lanes = 17), Fault::LargeMap);
    assert_eq!(
        direct_fault(|step| step.input.halo.left = usize::MAX),
        Fault::LargeMap
    );
    assert_eq!(
        direct_fault(|step| step.output.offset = BLOCK),
        Fault::Overlap
    );
    assert_eq!(direct_fault(|step| step.output.lanes = 8), Fault::Lanes);
}

#[test]
fn windows_and_residuals_are_inside_their_feature_maps() {
    assert_eq!(
        direct_fault(|step| step.window.kernel[0] += 1),
        Fault::WindowOutside
    );
    assert_eq!(
        direct_fault(|step| step.window.stride = [0, 0]),
        Fault::WindowRange
    );
    assert_eq!(
        direct_fault(|step| step.window.stride[1] = 1 << 20),
        Fault::WindowRange
    );
    let residual = |change: fn(&mut Residual)| {
        direct_fault(|step| {
            if let Some(residual) = &mut step.residual {
                change(residual);
            }
        })
    };
    assert_eq!(
        residual(|residual| residual.stride = 2),
        Fault::SmallResidual
    );
    assert_eq!(residual(|residual| residual.stride = 0), Fault::WindowRange);
    assert_eq!(
        residual(|residual| residual.feature_map = map(1)),
        Fault::Overlap
    );
}

#[test]
fn weights_and_biases_are_inside_the_weights() {
    assert_eq!(
        direct_fault(|step| step.weights_offset = usize::MAX),
        Fault::OutsideWeights
    );
    assert_eq!(
        direct_fault(|step| step.bias_offset = 16 * BLOCK * BLOCK + 1),
        Fault::OutsideWeights
    );
    assert_eq!(
        winograd_fault(|step| step.weights_offset = BLOCK + 1),
        Fault::OutsideWeights
    );
    assert_eq!(
        winograd_fault(|step| step.bias_offset += 1),
        Fault::OutsideWeights
    );
}

#[test]
fn tiles_of_winograds_algorithm_have_a_transform_and_whole_inputs() {
    for size in [0, 3, 6] {
        assert_eq!(
            winograd_fault(|step| step.output_tile = size),
            Fault::OutputTile
        );
    }
    assert_eq!(winograd_fault(|step| step.max_tiles = 0), Fault::NoTiles);
    assert_eq!(
        winograd_fault(|step| step.origin[0] += 1),
        Fault::WindowOutside
    );
}

#[test]
fn shapes_and_channels_match() {
    let found = fault(0, |operation| {
        if let Operation::Load { channels, .. } = operation {
            *channels = 17;
        }
    });
    assert_eq!(found, Fault::Channels);
    let found = fault(0, |operation| {
        if let Operation::Load { input, .. } = operation {
            *input = 1;
        }
    });
    assert_eq!(found, Fault::Tensor);
    let found = fault(5, |operation| {
        if let Operation::GlobalAveragePool { output, .. } = operation {
            *output = map(3);
        }
    });
    assert_eq!(found, Fault::Pixels);
    let found = fault(6, |operation| {
        if let Operation::Softmax { channels, .. } = operation {
            *channels = 17;
        }
    });
    assert_eq!(found, Fault::Channels);
    let found = fault(7, |operation| {
        if let Operation::Store { channels, .. } = operation {
            *channels = 9;
        }
    });
    assert_eq!(found, Fault::Tensor);
}

#[test]
fn bounds_are_in_order() {
    for (low, high) in [(1.0, 0.0), (f32::NAN, 0.0), (0.0, f32::NAN)] {
        let found = direct_fault(|step| {
            step.clamp = Clamp {
                low: Some(low),
                high: Some(high),
            };
        });
        assert_eq!(found, Fault::Clamp);
    }
}
