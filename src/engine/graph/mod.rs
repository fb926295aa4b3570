//! A graph of layers over tensors, between tract's graph and a [`Program`](crate::program::Program).

mod validate;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::validate::GraphError;
use crate::{activation::Activation, program::TensorLayout};

/// Number of a node, and of the tensor that it produces.
pub type NodeId = usize;

/// Shape of a tensor of batch size 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Channels.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Shape {
    /// Number of pixels: rows × columns.
    pub(crate) fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The shape of one value for each channel.
    pub(crate) fn pixel(self) -> Self {
        Self {
            height: 1,
            width: 1,
            ..self
        }
    }
}

/// Rows and columns around the input of a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above, and columns to the left.
    pub before: [usize; 2],
    /// Rows below, and columns to the right.
    pub after: [usize; 2],
}

impl Padding {
    /// The sum of two paddings.
    pub(crate) fn plus(self, other: Self) -> Self {
        let sum = |a: [usize; 2], b: [usize; 2]| [a[0] + b[0], a[1] + b[1]];
        Self {
            before: sum(self.before, other.before),
            after: sum(self.after, other.after),
        }
    }
}

/// A function of each channel: scale × x + shift.
#[derive(Debug, Clone, PartialEq)]
pub struct Affine {
    /// Factor of each channel.
    pub scale: Arc<[f32]>,
    /// Summand of each channel.
    pub shift: Arc<[f32]>,
}

/// A convolution: activation(Σ weight × gate × input + bias + residual). Its inputs are the tensor that it reads, then the
/// residual and the gate if it has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Convolution {
    /// Output channels × input channels × rows × columns; of a depthwise convolution, channels × rows × columns.
    pub weights: Arc<[f32]>,
    /// One bias for each output channel.
    pub bias: Arc<[f32]>,
    /// Whether each output channel depends on the input channel of the same number alone.
    pub is_depthwise: bool,
    /// Kernel size: rows and columns.
    pub kernel: [usize; 2],
    /// Stride: rows and columns.
    pub stride: [usize; 2],
    /// Zeros around the input.
    pub padding: Padding,
    /// Stride at which the residual is sampled, for rows and columns alike. `None` if there is no residual.
    pub residual_stride: Option<usize>,
    /// Whether the last input is a gate, as in squeeze-and-excite: a tensor of one pixel with a factor for each input
    /// channel. Only for a 1×1 convolution.
    pub has_gate: bool,
    /// Activation.
    pub activation: Activation,
}

/// How the values of a window become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reduction {
    /// Their maximum.
    Max,
    /// Their mean.
    Mean,
}

/// A pooling over windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// How a window is reduced.
    pub reduction: Reduction,
    /// Kernel size: rows and columns.
    pub kernel: [usize; 2],
    /// Stride: rows and columns.
    pub stride: [usize; 2],
    /// Zeros around the input. They count as values.
    pub zeros: Padding,
    /// Rows and columns outside the zeros. They do not count: a window ends there.
    pub outside: Padding,
}

/// What a node computes from its inputs.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// An input of the network. No inputs.
    Input {
        /// Index among the inputs.
        index: usize,
        /// Memory layout of the input.
        layout: TensorLayout,
        /// What is done to each value on the way in, such as the normalisation of pixels.
        affine: Option<Affine>,
    },
    /// A convolution.
    Convolution(Convolution),
    /// A pooling over windows.
    Pool(Pool),
    /// A pooling over all pixels.
    GlobalPool(Reduction),
    /// An affine function of each channel, then an activation.
    Affine(Affine, Activation),
    /// An activation alone. With [`Activation::NONE`] it is a copy.
    Activate(Activation),
    /// Sum of two tensors of the same shape, then an activation.
    Add(Activation),
    /// Product of two tensors: of the same shape, or the second has one pixel, as in squeeze-and-excite.
    Multiply,
    /// The channels of the first input, then those of the next. All parts but the last have whole channel blocks.
    Concat,
    /// Softmax over the channels of one pixel.
    Softmax,
}

impl Op {
    /// Name of the operation, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Input { .. } => "input",
            Self::Convolution(_) => "convolution",
            Self::Pool(_) => "pool",
            Self::GlobalPool(_) => "global pool",
            Self::Affine(..) => "affine",
            Self::Activate(_) => "activate",
            Self::Add(_) => "add",
            Self::Multiply => "multiply",
            Self::Concat => "concat",
            Self::Softmax => "softmax",
        }
    }

    /// The activation of the node's epilogue, if it has room for one.
    pub(crate) fn activation_mut(&mut self) -> Option<&mut Activation> {
        match self {
            Self::Convolution(Convolution { activation, .. })
            | Self::Affine(_, activation)
            | Self::Activate(activation)
            | Self::Add(activation) => Some(activation),
            _ => None,
        }
    }
}

/// A node: an operation, the tensors that it reads, and the shape of the tensor that it produces.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it computes.
    pub op: Op,
    /// The tensors that it reads.
    pub inputs: Vec<NodeId>,
    /// Shape of the tensor that it produces.
    pub shape: Shape,
}

/// Nodes in topological order: each comes after the nodes whose tensors it reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// Output tensors, each with the shape that the caller expects: axes of size 1 may be missing.
    pub outputs: Vec<(NodeId, Vec<usize>)>,
}

impl Graph {
    /// Adds a node, and returns its number.
    pub fn push(&mut self, op: Op, inputs: &[NodeId], shape: Shape) -> NodeId {
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            shape,
        });
        self.nodes.len() - 1
    }

    /// Shape of a tensor.
    ///
    /// # Panics
    ///
    /// If the graph has no node of this number.
    pub fn shape(&self, node: NodeId) -> Shape {
        self.nodes[node].shape
    }

    /// Whether the tensor is an output of the network.
    pub(crate) fn is_output(&self, node: NodeId) -> bool {
        self.outputs.iter().any(|(output, _)| *output == node)
    }

    /// How often each tensor is read, by nodes and as an output.
    pub(crate) fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.nodes.len()];
        for node in &self.nodes {
            for &input in &node.inputs {
                readers[input] += 1;
            }
        }
        for (output, _) in &self.outputs {
            readers[*output] += 1;
        }
        readers
    }
}
