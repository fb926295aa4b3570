//! Networks of random layers.

use moth_engine::{
    network::{Layer, Network, Padding, Shape, TensorId},
    program::{Clamp, TensorLayout},
};
use proptest::prelude::*;

/// The random number generator splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Numbers between −1 and 1.
    pub(crate) fn floats(&mut self, length: usize) -> Vec<f32> {
        (0..length)
            .map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
            .collect()
    }
}

/// What to add to a network.
#[derive(Debug, Clone)]
enum Addition {
    Convolution {
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        relu: bool,
    },
    /// A residual block of a ResNet, with or without a stride, and with or without a convolution on its shortcut.
    Block {
        channels: usize,
        stride: usize,
        projects: bool,
    },
    /// Two convolutions and their sum, to which the second convolution is added again.
    Diamond,
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    Clamp {
        low: Option<i8>,
        high: Option<i8>,
    },
}

fn addition() -> impl Strategy<Value = Addition> {
    prop_oneof![
        4 => (1..40usize, [1..5usize, 1..5usize], 1..4usize, [0..3usize, 0..3usize], any::<bool>()).prop_map(
            |(channels, kernel, stride, padding, relu)| Addition::Convolution { channels, kernel, stride, padding, relu }
        ),
        // Lowering chooses Winograd's algorithm for these.
        3 => (1..40usize, any::<bool>()).prop_map(|(channels, relu)| Addition::Convolution {
            channels, kernel: [3, 3], stride: 1, padding: [1, 1], relu,
        }),
        3 => (1..24usize, 1..3usize, any::<bool>())
            .prop_map(|(channels, stride, projects)| Addition::Block { channels, stride, projects }),
        1 => Just(Addition::Diamond),
        1 => (1..4usize, 1..3usize, 0..2usize)
            .prop_map(|(kernel, stride, padding)| Addition::MaxPool { kernel, stride, padding }),
        1 => (prop::option::of(-1..1i8), prop::option::of(1..3i8))
            .prop_map(|(low, high)| Addition::Clamp { low, high }),
    ]
}

/// Builds a network.
pub(crate) struct Builder {
    pub(crate) network: Network,
    pub(crate) random: Random,
}

impl Builder {
    /// A network with one input.
    pub(crate) fn new(seed: u64, layout: TensorLayout, shape: Shape) -> Self {
        let mut network = Network::default();
        network.push(Layer::Input { index: 0, layout }, shape);
        let random = Random(seed);
        Self { network, random }
    }

    fn shape(&self, tensor: TensorId) -> Shape {
        self.network.shape(tensor)
    }

    /// Rows and columns of the output; `None` if the windows do not fit.
    fn output_size(
        shape: Shape,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<[usize; 2]> {
        let size = |size: usize, axis: usize| {
            let room = (size + 2 * padding[axis]).checked_sub(kernel[axis])?;
            (padding[axis] < kernel[axis]).then_some(room / stride + 1)
        };
        Some([size(shape.height, 0)?, size(shape.width, 1)?])
    }

    /// Adds a convolution with random weights; `None` if its windows do not fit.
    pub(crate) fn convolution(
        &mut self,
        input: TensorId,
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<TensorId> {
        let shape = self.shape(input);
        let [height, width] = Self::output_size(shape, kernel, stride, padding)?;
        let inputs = shape.channels * kernel[0] * kernel[1];
        // Keeps outputs about as large as inputs.
        let scale = 1.7 / (inputs as f32).sqrt();
        let weights = self.random.floats(channels * inputs);
        let layer = Layer::Convolution {
            input,
            weights: weights.iter().map(|weight| weight * scale).collect(),
            bias: self.random.floats(channels).into(),
            kernel,
            stride: [stride; 2],
            padding: Padding {
                before: padding,
                after: padding,
            },
            residual: None,
            clamp: Clamp::NONE,
        };
        let shape = Shape {
            channels,
            height,
            width,
        };
        Some(self.network.push(layer, shape))
    }

    fn clamp(&mut self, input: TensorId, clamp: Clamp) -> TensorId {
        let shape = self.shape(input);
        self.network.push(Layer::Clamp { input, clamp }, shape)
    }

    /// Adds layers; `None`, and only some of the layers, if windows do not fit.
    fn push(&mut self, addition: &Addition) -> Option<()> {
        let last = self.network.layers.len() - 1;
        match *addition {
            Addition::Convolution {
                channels,
                kernel,
                stride,
                padding,
                relu,
            } => {
                let made = self.convolution(last, channels, kernel, stride, padding)?;
                if relu {
                    self.clamp(made, Clamp::RELU);
                }
            }
            Addition::Block {
                channels,
                stride,
                projects,
            } => {
                let before = self.shape(last).channels;
                let projects = projects || stride > 1;
                let outputs = if projects { channels + 3 } else { before };
                let shortcut = match projects {
                    true => self.convolution(last, outputs, [1, 1], stride, [0, 0])?,
                    false => last,
                };
                let first = self.convolution(last, channels, [1, 1], stride, [0, 0])?;
                let first = self.clamp(first, Clamp::RELU);
                let second = self.convolution(first, channels, [3, 3], 1, [1, 1])?;
                let second = self.clamp(second, Clamp::RELU);
                let third = self.convolution(second, outputs, [1, 1], 1, [0, 0])?;
                let shape = self.shape(third);
                let inputs = [shortcut, third];
                let clamp = Clamp::NONE;
                let sum = self.network.push(Layer::Add { inputs, clamp }, shape);
                self.clamp(sum, Clamp::RELU);
            }
            Addition::Diamond => {
                let a = self.convolution(last, 9, [1, 1], 1, [0, 0])?;
                let b = self.convolution(last, 9, [1, 1], 1, [0, 0])?;
                let (shape, clamp) = (self.shape(b), Clamp::NONE);
                let inputs = [a, b];
                let sum = self.network.push(Layer::Add { inputs, clamp }, shape);
                let inputs = [b, sum];
                self.network.push(Layer::Add { inputs, clamp }, shape);
            }
            Addition::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let shape = self.shape(last);
                let [height, width] = Self::output_size(shape, [kernel; 2], stride, [padding; 2])?;
                let layer = Layer::MaxPool {
                    input: last,
                    kernel: [kernel; 2],
                    stride: [stride; 2],
                    padding: Padding {
                        before: [padding; 2],
                        after: [padding; 2],
                    },
                };
                self.network.push(
                    layer,
                    Shape {
                        height,
                        width,
                        ..shape
                    },
                );
            }
            Addition::Clamp { low, high } => {
                let [low, high] = [low, high].map(|end| end.map(f32::from));
                self.clamp(last, Clamp { low, high });
            }
        }
        Some(())
    }
}

prop_compose! {
    /// A network of random layers, and an input.
    pub(crate) fn networks()(
        seed in any::<u64>(),
        channels in prop_oneof![Just(3usize), 1..40usize],
        height in 1..34usize,
        width in prop_oneof![Just(7usize), Just(14), Just(28), 1..34usize],
        is_nhwc in any::<bool>(),
        more in prop::collection::vec(addition(), 1..6),
        has_tail in any::<bool>(),
    ) -> (Network, Vec<f32>) {
        let shape = Shape { channels, height, width };
        let layout = if is_nhwc { TensorLayout::Nhwc } else { TensorLayout::Nchw };
        let mut builder = Builder::new(seed, layout, shape);
        for addition in &more {
            builder.push(addition);
        }
        let mut last = builder.network.layers.len() - 1;
        if has_tail {
            let shape = Shape { height: 1, width: 1, ..builder.shape(last) };
            last = builder.network.push(Layer::GlobalAveragePool { input: last }, shape);
            last = builder.convolution(last, 5, [1, 1], 1, [0, 0]).unwrap();
            let shape = builder.shape(last);
            last = builder.network.push(Layer::Softmax { input: last }, shape);
        }
        let shape = builder.shape(last);
        builder.network.outputs.push((last, vec![1, shape.channels, shape.height, shape.width]));
        let input = builder.random.floats(channels * height * width);
        (builder.network, input)
    }
}
