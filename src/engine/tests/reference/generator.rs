//! Graphs of random nodes.

use moth_engine::{
    activation::{Activation, Curve},
    graph::{Affine, Convolution, Graph, NodeId, Op, Padding, Pool, Reduction, Shape},
    program::TensorLayout,
};
use proptest::prelude::*;

use crate::additions::{Addition, addition};

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

/// Builds a graph.
pub(crate) struct Builder {
    pub(crate) graph: Graph,
    pub(crate) random: Random,
}

impl Builder {
    /// A graph with one input.
    pub(crate) fn new(seed: u64, layout: TensorLayout, shape: Shape) -> Self {
        let mut graph = Graph::default();
        let op = Op::Input {
            index: 0,
            layout,
            affine: None,
        };
        graph.push(op, &[], shape);
        let random = Random(seed);
        Self { graph, random }
    }

    fn shape(&self, node: NodeId) -> Shape {
        self.graph.shape(node)
    }

    fn last(&self) -> NodeId {
        self.graph.nodes.len() - 1
    }

    /// Adds a node with the shape of its first input.
    fn same(&mut self, op: Op, inputs: &[NodeId]) -> NodeId {
        let shape = self.shape(inputs[0]);
        self.graph.push(op, inputs, shape)
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
        input: NodeId,
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<NodeId> {
        self.any_convolution(input, Some(channels), kernel, stride, padding)
    }

    /// Adds a convolution, a depthwise one without `channels`.
    pub(crate) fn any_convolution(
        &mut self,
        input: NodeId,
        channels: Option<usize>,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<NodeId> {
        let shape = self.shape(input);
        let [height, width] = Self::output_size(shape, kernel, stride, padding)?;
        let inputs = channels.map_or(1, |_| shape.channels) * kernel[0] * kernel[1];
        let is_depthwise = channels.is_none();
        let channels = channels.unwrap_or(shape.channels);
        // Keeps outputs about as large as inputs.
        let scale = 1.7 / (inputs as f32).sqrt();
        let weights = self.random.floats(channels * inputs);
        let op = Op::Convolution(Convolution {
            weights: weights.iter().map(|weight| weight * scale).collect(),
            bias: self.random.floats(channels).into(),
            is_depthwise,
            kernel,
            stride: [stride; 2],
            padding: Padding {
                before: padding,
                after: padding,
            },
            residual_stride: None,
            has_gate: false,
            activation: Activation::NONE,
        });
        let shape = Shape {
            channels,
            height,
            width,
        };
        Some(self.graph.push(op, &[input], shape))
    }

    pub(crate) fn activate(&mut self, input: NodeId, activation: Activation) -> NodeId {
        self.same(Op::Activate(activation), &[input])
    }

    fn affine(&mut self, input: NodeId) -> NodeId {
        let channels = self.shape(input).channels;
        let affine = Affine {
            scale: self.random.floats(channels).into(),
            shift: self.random.floats(channels).into(),
        };
        self.same(Op::Affine(affine, Activation::NONE), &[input])
    }

    /// Adds one affine function for all channels.
    fn scale_and_shift(&mut self, input: NodeId, scale: f32, shift: f32) -> NodeId {
        let channels = self.shape(input).channels;
        let affine = Affine {
            scale: vec![scale; channels].into(),
            shift: vec![shift; channels].into(),
        };
        self.same(Op::Affine(affine, Activation::NONE), &[input])
    }

    fn hard_sigmoid(&mut self, input: NodeId) -> NodeId {
        let shifted = self.scale_and_shift(input, 1.0, 3.0);
        let low = self.activate(shifted, Activation::RELU);
        let clamp = Activation::Clamp {
            low: None,
            high: Some(6.0),
        };
        let clamped = self.activate(low, clamp);
        self.scale_and_shift(clamped, 1.0 / 6.0, 0.0)
    }

    /// Adds nodes; `None`, and only some of the nodes, if windows do not fit.
    fn push(&mut self, addition: &Addition) -> Option<()> {
        let last = self.last();
        match addition {
            &Addition::Convolution {
                channels,
                kernel,
                stride,
                padding,
                activation,
            } => {
                let made = self.convolution(last, channels, kernel, stride, padding)?;
                self.activate(made, activation);
            }
            &Addition::Depthwise {
                kernel,
                stride,
                padding,
                activation,
            } => {
                let made = self.any_convolution(last, None, kernel, stride, padding)?;
                self.activate(made, activation);
            }
            &Addition::Block {
                channels,
                stride,
                projects,
            } => self.block(last, channels, stride, projects)?,
            &Addition::Inverted { activation, gate } => self.inverted(last, activation, gate)?,
            Addition::PreActivation => {
                let channels = self.shape(last).channels;
                let normalised = self.affine(last);
                let activated = self.activate(normalised, Activation::RELU);
                let convolved = self.convolution(activated, channels, [3, 3], 1, [1, 1])?;
                let scaled = self.affine(convolved);
                self.same(Op::Add(Activation::NONE), &[scaled, last]);
            }
            Addition::Concat {
                blocks,
                last: channels,
                dense,
            } => {
                self.concat(last, blocks, *channels, *dense)?;
            }
            Addition::Diamond => {
                let a = self.convolution(last, 9, [1, 1], 1, [0, 0])?;
                let b = self.convolution(last, 9, [1, 1], 1, [0, 0])?;
                let sum = self.same(Op::Add(Activation::NONE), &[a, b]);
                self.same(Op::Add(Activation::NONE), &[b, sum]);
            }
            &Addition::Pool {
                reduction,
                kernel,
                stride,
                zeros,
                outside,
            } => {
                let shape = self.shape(last);
                let [height, width] =
                    Self::output_size(shape, kernel, stride, [zeros + outside; 2])?;
                let around = |size: usize| Padding {
                    before: [size; 2],
                    after: [size; 2],
                };
                let op = Op::Pool(Pool {
                    reduction,
                    kernel,
                    stride: [stride; 2],
                    zeros: around(zeros),
                    outside: around(outside),
                });
                let shape = Shape {
                    height,
                    width,
                    ..shape
                };
                self.graph.push(op, &[last], shape);
            }
            Addition::Affine => {
                self.affine(last);
            }
            Addition::Activate(activation) => {
                self.activate(last, *activation);
            }
            Addition::Written(curve) => {
                self.written(last, *curve);
            }
        }
        Some(())
    }

    fn inverted(&mut self, last: NodeId, activation: Activation, gate: Curve) -> Option<()> {
        let channels = self.shape(last).channels;
        let expanded = self.convolution(last, 24, [1, 1], 1, [0, 0])?;
        let expanded = self.activate(expanded, activation);
        let filtered = self.any_convolution(expanded, None, [3, 3], 1, [1, 1])?;
        let filtered = self.affine(filtered);
        let filtered = self.activate(filtered, activation);
        let pixel = Shape {
            height: 1,
            width: 1,
            ..self.shape(filtered)
        };
        let mean = self
            .graph
            .push(Op::GlobalPool(Reduction::Mean), &[filtered], pixel);
        let squeezed = self.convolution(mean, 5, [1, 1], 1, [0, 0])?;
        let squeezed = self.activate(squeezed, activation);
        let excited = self.convolution(squeezed, 24, [1, 1], 1, [0, 0])?;
        let excited = self.activate(excited, Activation::Curve(gate));
        let gated = self.same(Op::Multiply, &[filtered, excited]);
        let projected = self.convolution(gated, channels, [1, 1], 1, [0, 0])?;
        self.same(Op::Add(Activation::NONE), &[last, projected]);
        Some(())
    }

    fn concat(
        &mut self,
        last: NodeId,
        blocks: &[usize],
        channels: usize,
        dense: bool,
    ) -> Option<()> {
        let mut parts = Vec::new();
        for blocks in blocks {
            let part = self.convolution(last, blocks * 16, [1, 1], 1, [0, 0])?;
            parts.push(self.activate(part, Activation::RELU));
        }
        parts.push(self.convolution(last, channels, [3, 3], 1, [1, 1])?);
        if dense && self.shape(last).channels.is_multiple_of(16) {
            parts.insert(0, last);
        }
        let shape = Shape {
            channels: parts.iter().map(|&part| self.shape(part).channels).sum(),
            ..self.shape(last)
        };
        self.graph.push(Op::Concat, &parts, shape);
        Some(())
    }

    fn written(&mut self, last: NodeId, curve: Curve) -> NodeId {
        match curve {
            Curve::HardSigmoid => self.hard_sigmoid(last),
            Curve::Swish => {
                let gate = self.activate(last, Activation::Curve(Curve::Sigmoid));
                self.same(Op::Multiply, &[last, gate])
            }
            Curve::HardSwish => {
                let gate = self.hard_sigmoid(last);
                self.same(Op::Multiply, &[gate, last])
            }
            curve => self.activate(last, Activation::Curve(curve)),
        }
    }

    fn block(
        &mut self,
        last: NodeId,
        channels: usize,
        stride: usize,
        projects: bool,
    ) -> Option<()> {
        let before = self.shape(last).channels;
        let projects = projects || stride > 1;
        let outputs = if projects { channels + 3 } else { before };
        let shortcut = match projects {
            true => self.convolution(last, outputs, [1, 1], stride, [0, 0])?,
            false => last,
        };
        let first = self.convolution(last, channels, [1, 1], stride, [0, 0])?;
        let first = self.activate(first, Activation::RELU);
        let second = self.convolution(first, channels, [3, 3], 1, [1, 1])?;
        let second = self.activate(second, Activation::RELU);
        let third = self.convolution(second, outputs, [1, 1], 1, [0, 0])?;
        let sum = self.same(Op::Add(Activation::NONE), &[shortcut, third]);
        self.activate(sum, Activation::RELU);
        Some(())
    }
}

prop_compose! {
    /// A graph of random nodes, and an input.
    pub(crate) fn graphs()(
        seed in any::<u64>(),
        channels in prop_oneof![Just(3usize), Just(16), Just(32), 1..40usize],
        height in 1..34usize,
        width in prop_oneof![Just(7usize), Just(14), Just(28), 1..34usize],
        is_nhwc in any::<bool>(),
        more in prop::collection::vec(addition(), 1..6),
        has_tail in any::<bool>(),
    ) -> (Graph, Vec<f32>) {
        let shape = Shape { channels, height, width };
        let layout = if is_nhwc { TensorLayout::Nhwc } else { TensorLayout::Nchw };
        let mut builder = Builder::new(seed, layout, shape);
        for addition in &more {
            builder.push(addition);
        }
        let mut last = builder.last();
        if has_tail {
            let shape = Shape { height: 1, width: 1, ..builder.shape(last) };
            last = builder.graph.push(Op::GlobalPool(Reduction::Mean), &[last], shape);
            last = builder.convolution(last, 5, [1, 1], 1, [0, 0]).unwrap();
            last = builder.same(Op::Softmax, &[last]);
        }
        let shape = builder.shape(last);
        builder.graph.outputs.push((last, vec![1, shape.channels, shape.height, shape.width]));
        let input = builder.random.floats(channels * height * width);
        (builder.graph, input)
    }
}
