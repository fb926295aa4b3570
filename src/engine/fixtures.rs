//! Small networks for the unit tests of this crate: 16 channels, square tensors.

use crate::{
    network::{Layer, Network, Padding, Shape, TensorId},
    program::{Clamp, TensorLayout},
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
pub(crate) fn input() -> Layer {
    Layer::Input {
        index: 0,
        layout: TensorLayout::Nchw,
    }
}

/// A 1×1 convolution.
pub(crate) fn convolution(input: TensorId, stride: usize) -> Layer {
    Layer::Convolution {
        input,
        weights: vec![0.5; 16 * 16].into(),
        bias: vec![0.25; 16].into(),
        kernel: [1, 1],
        stride: [stride; 2],
        padding: Padding::default(),
        residual: None,
        clamp: Clamp::NONE,
    }
}

/// A network of layers whose tensors all have `size` × `size` pixels; the last tensor is the output.
pub(crate) fn network<const N: usize>(layers: [Layer; N], size: usize) -> Network {
    let mut network = Network::default();
    for layer in layers {
        network.push(layer, shape(size));
    }
    network.outputs.push((N - 1, vec![1, 16, size, size]));
    network
}
