//! A sound program with a step of every kind.

use crate::{
    activation::Activation,
    graph::Reduction,
    program::{BLOCK, FeatureMap, Halo, Program, Residual, TensorLayout, Window},
    steps::{
        Add, Affine, Depthwise, Direct, ExpandedDepthwise, GlobalPool, Load, Multiply, Pool,
        Softmax, Step, Store, Winograd,
    },
};

/// A feature map of 16 channels and 8 × 8 pixels, with a halo of 1; the maps have the numbers 0, 1, 2 and so on.
pub(crate) fn map(number: usize) -> FeatureMap {
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
pub(crate) fn pixel(number: usize) -> FeatureMap {
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
pub(crate) const RELU: Activation = Activation::RELU;

fn window() -> Window {
    Window {
        kernel: [3, 3],
        stride: [1, 1],
        origin: [0, 0],
    }
}

/// A 1×1 convolution of map 2.
fn pointwise(output: FeatureMap, gate: Option<FeatureMap>) -> Direct {
    Direct {
        input: map(2),
        output,
        window: Window {
            kernel: [1, 1],
            stride: [1, 1],
            origin: [1, 1],
        },
        weights: 0,
        bias: WEIGHTS,
        residual: None,
        gate,
        activation: RELU,
    }
}

pub(crate) fn program() -> Program {
    let steps = vec![
        Step::Load(Load {
            input: 0,
            layout: TensorLayout::Nchw,
            channels: 16,
            affine: Some([0, 8 * BLOCK]),
            output: map(0),
        }),
        Step::Direct(Direct {
            input: map(0),
            output: map(1),
            window: window(),
            weights: 0,
            bias: WEIGHTS,
            residual: Some(Residual {
                feature_map: map(0),
                stride: 1,
            }),
            gate: None,
            activation: RELU,
        }),
        Step::Winograd(Winograd {
            output_tile: 2,
            input: map(1),
            output: map(2),
            origin: [0, 0],
            weights: 0,
            bias: 16 * BLOCK * BLOCK,
            activation: RELU,
        }),
        Step::Pool(Pool {
            reduction: Reduction::Max,
            input: map(2),
            zeros: [[1, 0], [1, 0]],
            output: map(3),
            kernel: [3, 3],
            stride: [1, 1],
            outside: [0, 1],
        }),
        Step::Add(Add {
            inputs: [map(3), map(2)],
            output: map(1),
            activation: RELU,
        }),
        Step::Depthwise(Depthwise {
            input: map(1),
            output: map(2),
            window: window(),
            weights: 0,
            bias: WEIGHTS,
            activation: RELU,
        }),
        Step::ExpandedDepthwise(ExpandedDepthwise {
            expansion: pointwise(map(0), None),
            depthwise: Depthwise {
                input: map(0),
                output: map(3),
                window: window(),
                weights: 0,
                bias: WEIGHTS,
                activation: RELU,
            },
        }),
        Step::GlobalPool(GlobalPool {
            reduction: Reduction::Mean,
            input: map(2),
            output: pixel(0),
        }),
        Step::Affine(Affine {
            input: pixel(0),
            output: pixel(1),
            scale: 0,
            shift: BLOCK,
            activation: RELU,
        }),
        Step::Direct(pointwise(map(1), Some(pixel(1)))),
        Step::Multiply(Multiply {
            input: map(2),
            factor: pixel(1),
            output: map(3),
        }),
        Step::GlobalPool(GlobalPool {
            reduction: Reduction::Max,
            input: map(3),
            output: pixel(0),
        }),
        Step::Softmax(Softmax {
            input: pixel(0),
            channels: 10,
            output: pixel(1),
        }),
        Step::Store(Store {
            input: pixel(1),
            channels: 10,
            output: 0,
        }),
    ];
    Program {
        inputs: vec![vec![1, 16, 8, 8]],
        outputs: vec![vec![1, 10]],
        steps,
        arena_len: 4 * map(0).len() + 2 * BLOCK,
        weights_len: 16 * BLOCK * BLOCK + BLOCK,
    }
}
