//! Small graphs for the unit tests of this crate: 16 channels, square tensors.

use crate::{
    activation::Activation,
    graph::{Affine, Convolution, Graph, NodeId, Op, Padding, Shape},
    program::TensorLayout,
};

/// Shape of a tensor of 16 channels and `size` × `size` pixels.
pub(crate) fn shape(size: usize) -> Shape {
    Shape {
        channels: 16,
        height: size,
        width: size,
    }
}

/// The only input.
pub(crate) fn input() -> Op {
    Op::Input {
        index: 0,
        layout: TensorLayout::Nchw,
        affine: None,
    }
}

/// A 1×1 convolution.
pub(crate) fn convolution(stride: usize) -> Op {
    Op::Convolution(Convolution {
        weights: vec![0.5; 16 * 16].into(),
        bias: vec![0.25; 16].into(),
        is_depthwise: false,
        kernel: [1, 1],
        stride: [stride; 2],
        padding: Padding::default(),
        residual_stride: None,
        has_gate: false,
        activation: Activation::NONE,
    })
}

/// The same function of all 16 channels.
pub(crate) fn affine(scale: f32, shift: f32) -> Affine {
    Affine {
        scale: vec![scale; 16].into(),
        shift: vec![shift; 16].into(),
    }
}

/// A graph of operations and their inputs. All tensors have `size` × `size` pixels; the last tensor is the output.
pub(crate) fn graph<const N: usize>(nodes: [(Op, &[NodeId]); N], size: usize) -> Graph {
    let mut graph = Graph::default();
    for (op, inputs) in nodes {
        graph.push(op, inputs, shape(size));
    }
    graph.outputs.push((N - 1, vec![1, 16, size, size]));
    graph
}
