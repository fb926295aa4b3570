//! What a random graph is made of.

use moth_engine::{
    activation::{Activation, Curve},
    graph::Reduction,
};
use proptest::prelude::*;

/// What to add to a graph.
#[derive(Debug, Clone)]
pub(crate) enum Addition {
    Convolution {
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        activation: Activation,
    },
    Depthwise {
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        activation: Activation,
    },
    /// A residual block of a ResNet, with or without a stride, and with or without a convolution on its shortcut.
    Block {
        channels: usize,
        stride: usize,
        projects: bool,
    },
    /// An inverted residual block of an EfficientNet: expansion, depthwise, squeeze-and-excite, projection.
    Inverted {
        activation: Activation,
        gate: Curve,
    },
    /// A pre-activation block: affine and ReLU before the convolution.
    PreActivation,
    /// Branches of whole channel blocks that are concatenated, and the same with the input, as in a DenseNet.
    Concat {
        blocks: Vec<usize>,
        last: usize,
        dense: bool,
    },
    /// Two convolutions and their sum, to which the second convolution is added again.
    Diamond,
    Pool {
        reduction: Reduction,
        kernel: [usize; 2],
        stride: usize,
        zeros: usize,
        outside: usize,
    },
    Affine,
    Activate(Activation),
    /// Swish or hard-swish, as the nodes of an exported model.
    Written(Curve),
}

fn curve() -> impl Strategy<Value = Curve> {
    prop::sample::select(&Curve::ALL[..])
}

fn activation() -> impl Strategy<Value = Activation> {
    let clamp = (prop::option::of(-1..1i8), prop::option::of(1..3i8)).prop_map(|(low, high)| {
        let [low, high] = [low, high].map(|end| end.map(f32::from));
        Activation::Clamp { low, high }
    });
    prop_oneof![
        2 => Just(Activation::NONE),
        2 => Just(Activation::RELU),
        1 => clamp,
        2 => curve().prop_map(Activation::Curve),
    ]
}

pub(crate) fn addition() -> impl Strategy<Value = Addition> {
    let reduction = prop_oneof![Just(Reduction::Max), Just(Reduction::Mean)];
    prop_oneof![
        4 => (1..40usize, [1..8usize, 1..8usize], 1..4usize, [0..4usize, 0..4usize], activation()).prop_map(
            |(channels, kernel, stride, padding, activation)| Addition::Convolution {
                channels, kernel, stride, padding, activation,
            }
        ),
        // Planning chooses Winograd's algorithm for these.
        3 => (1..40usize, activation()).prop_map(|(channels, activation)| Addition::Convolution {
            channels, kernel: [3, 3], stride: 1, padding: [1, 1], activation,
        }),
        3 => ([1..6usize, 1..6usize], 1..4usize, [0..3usize, 0..3usize], activation()).prop_map(
            |(kernel, stride, padding, activation)| Addition::Depthwise { kernel, stride, padding, activation }
        ),
        2 => (prop_oneof![Just(3usize), Just(5)], 1..3usize, activation()).prop_map(
            |(size, stride, activation)| Addition::Depthwise {
                kernel: [size; 2], stride, padding: [size / 2; 2], activation,
            }
        ),
        2 => (1..24usize, 1..3usize, any::<bool>())
            .prop_map(|(channels, stride, projects)| Addition::Block { channels, stride, projects }),
        2 => (activation(), curve()).prop_map(|(activation, gate)| Addition::Inverted { activation, gate }),
        1 => Just(Addition::PreActivation),
        2 => (prop::collection::vec(1..3usize, 1..4), 1..40usize, any::<bool>())
            .prop_map(|(blocks, last, dense)| Addition::Concat { blocks, last, dense }),
        1 => Just(Addition::Diamond),
        3 => (reduction, [1..4usize, 1..4usize], 1..3usize, 0..2usize, 0..2usize).prop_map(
            |(reduction, kernel, stride, zeros, outside)| Addition::Pool { reduction, kernel, stride, zeros, outside }
        ),
        1 => Just(Addition::Affine),
        1 => activation().prop_map(Addition::Activate),
        1 => curve().prop_map(Addition::Written),
    ]
}
