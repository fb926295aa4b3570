//! Validation of a graph: planning and packing rely on it.

use super::{Convolution, Graph, Node, NodeId, Op, Padding, Pool, Shape};
use crate::{activation::Activation, program::BLOCK, steps::verify::MAX_SIZE};

/// Why a graph is not valid. None of these is worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A node reads its own tensor, a later one, or one that does not exist.
    #[error("node {node} reads tensor {tensor}, which no earlier node produces")]
    Order {
        /// Number of the node.
        node: NodeId,
        /// The tensor that it reads.
        tensor: NodeId,
    },
    /// A node with too few or too many inputs.
    #[error("the {op} of node {node} has {actual} inputs")]
    Arity {
        /// Number of the node.
        node: NodeId,
        /// Name of its operation.
        op: &'static str,
        /// Inputs that it has.
        actual: usize,
    },
    /// An output that does not exist.
    #[error("output {output} is tensor {tensor}, which no node produces")]
    UnknownOutput {
        /// Index of the output.
        output: usize,
        /// Its tensor.
        tensor: NodeId,
    },
    /// An output whose shape has another number of values than its tensor.
    #[error("output {output} has the shape {shape:?}, but its tensor has {len} values")]
    OutputShape {
        /// Index of the output.
        output: usize,
        /// Its shape.
        shape: Vec<usize>,
        /// Values of its tensor.
        len: usize,
    },
    /// Indices of inputs with a gap or a repetition.
    #[error("the inputs have the indices {0:?}: expected 0, 1, 2 and so on, each once")]
    Inputs(Vec<usize>),
    /// A tensor, a window or a padding larger than any model's.
    #[error("a size of node {node} is not below {MAX_SIZE}")]
    Large {
        /// Number of the node.
        node: NodeId,
    },
    /// A tensor without values.
    #[error("node {node} produces an empty tensor")]
    Empty {
        /// Number of the node.
        node: NodeId,
    },
    /// Too few or too many weights, biases or factors.
    #[error("the {op} of node {node} has {actual} {what}, but its shapes need {expected}")]
    Parameters {
        /// Number of the node.
        node: NodeId,
        /// Name of its operation.
        op: &'static str,
        /// `weights`, `biases`, `scales` or `shifts`.
        what: &'static str,
        /// Values that there are.
        actual: usize,
        /// Values that the shapes need.
        expected: usize,
    },
    /// A kernel size or a stride of 0, a window that reaches beyond the padded input, or one that has no value.
    #[error("the windows of node {node} do not fit its padded input")]
    Window {
        /// Number of the node.
        node: NodeId,
    },
    /// A node whose output shape does not follow from its input shapes.
    #[error("the output shape of the {op} of node {node} does not follow from its inputs")]
    Shape {
        /// Number of the node.
        node: NodeId,
        /// Name of its operation.
        op: &'static str,
    },
    /// A part of a concatenation that ends within a channel block.
    #[error(
        "the concat of node {node} has a part of {channels} channels, which is no multiple of {BLOCK}"
    )]
    Part {
        /// Number of the node.
        node: NodeId,
        /// Channels of the part.
        channels: usize,
    },
    /// Bounds that no value meets.
    #[error("the activation of node {node} has a lower bound above its upper bound, or NaN")]
    Activation {
        /// Number of the node.
        node: NodeId,
    },
}

impl Graph {
    /// Checks that nodes are in topological order, and that shapes, weights and outputs fit each other.
    ///
    /// # Errors
    ///
    /// A [`GraphError`] that names the node or the output.
    pub fn validate(&self) -> Result<(), GraphError> {
        let mut indices = Vec::new();
        for (node, description) in self.nodes.iter().enumerate() {
            for &tensor in &description.inputs {
                if tensor >= node {
                    return Err(GraphError::Order { node, tensor });
                }
            }
            if !description.sizes().into_iter().all(|size| size < MAX_SIZE) {
                return Err(GraphError::Large { node });
            }
            if description.shape.channels == 0 || description.shape.pixels() == 0 {
                return Err(GraphError::Empty { node });
            }
            if let Op::Input { index, .. } = description.op {
                indices.push(index);
            }
            self.validate_node(node, description)?;
        }
        indices.sort_unstable();
        if !indices.iter().copied().eq(0..indices.len()) {
            return Err(GraphError::Inputs(indices));
        }
        for (output, (tensor, shape)) in self.outputs.iter().enumerate() {
            let tensor = *tensor;
            let Some(Node { shape: from, .. }) = self.nodes.get(tensor) else {
                return Err(GraphError::UnknownOutput { output, tensor });
            };
            let len = from.channels * from.pixels();
            let of_shape = shape
                .iter()
                .try_fold(1usize, |len, &axis| len.checked_mul(axis));
            if of_shape != Some(len) {
                let shape = shape.clone();
                return Err(GraphError::OutputShape { output, shape, len });
            }
        }
        Ok(())
    }

    /// Checks one node, whose inputs exist.
    fn validate_node(&self, node: NodeId, description: &Node) -> Result<(), GraphError> {
        let output = description.shape;
        let inputs: Vec<Shape> = description.inputs.iter().map(|&n| self.shape(n)).collect();
        let op = description.op.name();
        let arity = || GraphError::Arity {
            node,
            op,
            actual: inputs.len(),
        };
        let parameters = |what, actual: usize, expected: usize| match actual == expected {
            true => Ok(()),
            false => Err(GraphError::Parameters {
                node,
                op,
                what,
                actual,
                expected,
            }),
        };
        let (is_right, activation) = match (&description.op, &inputs[..]) {
            (Op::Input { affine, .. }, []) => {
                if let Some(affine) = affine {
                    parameters("scales", affine.scale.len(), output.channels)?;
                    parameters("shifts", affine.shift.len(), output.channels)?;
                }
                (true, Activation::NONE)
            }
            (Op::Convolution(convolution), [input, others @ ..]) => {
                let is_right = convolution.fits(node, *input, others, output)?;
                (is_right, convolution.activation)
            }
            (Op::Pool(pool), [input]) => {
                pool.fits(node, *input, output)?;
                (input.channels == output.channels, Activation::NONE)
            }
            (Op::GlobalPool(_), [input]) => (output == input.pixel(), Activation::NONE),
            (Op::Affine(affine, activation), [input]) => {
                parameters("scales", affine.scale.len(), output.channels)?;
                parameters("shifts", affine.shift.len(), output.channels)?;
                (*input == output, *activation)
            }
            (Op::Activate(activation), [input]) => (*input == output, *activation),
            (Op::Add(activation), [a, b]) => (*a == output && *b == output, *activation),
            (Op::Multiply, [a, b]) => {
                let is_right = *a == output && (*b == output || *b == output.pixel());
                (is_right, Activation::NONE)
            }
            (Op::Concat, [parts @ .., last]) => {
                if let Some(part) = parts
                    .iter()
                    .find(|part| !part.channels.is_multiple_of(BLOCK))
                {
                    let channels = part.channels;
                    return Err(GraphError::Part { node, channels });
                }
                let channels: usize = inputs.iter().map(|part| part.channels).sum();
                let is_whole = |part: &Shape| Shape { channels, ..*part } == output;
                let is_right = parts.iter().chain([last]).all(is_whole);
                (is_right, Activation::NONE)
            }
            (Op::Softmax, [input]) => {
                let is_right = *input == output && output == output.pixel();
                (is_right, Activation::NONE)
            }
            _ => return Err(arity()),
        };
        if !is_right {
            return Err(GraphError::Shape { node, op });
        }
        if !activation.is_valid() {
            return Err(GraphError::Activation { node });
        }
        Ok(())
    }
}

impl Node {
    /// The sizes of its tensor and of its windows. Products of four of them have to fit in 64 bits.
    fn sizes(&self) -> Vec<usize> {
        let Shape {
            channels,
            height,
            width,
        } = self.shape;
        let mut sizes = vec![channels, height, width];
        let paddings = match &self.op {
            Op::Convolution(of) => {
                sizes.extend([of.kernel, of.stride].as_flattened());
                sizes.extend(of.residual_stride);
                vec![of.padding]
            }
            Op::Pool(of) => {
                sizes.extend([of.kernel, of.stride].as_flattened());
                vec![of.zeros, of.outside]
            }
            _ => Vec::new(),
        };
        for Padding { before, after } in paddings {
            sizes.extend([before, after].as_flattened());
        }
        sizes
    }
}

impl Convolution {
    /// Whether the windows are single pixels, and none is outside the input.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.padding == Padding::default() && !self.is_depthwise
    }

    /// Checks weights, biases and windows. Returns whether channels and residual fit too.
    fn fits(
        &self,
        node: NodeId,
        input: Shape,
        others: &[Shape],
        output: Shape,
    ) -> Result<bool, GraphError> {
        let op = "convolution";
        let inputs = match self.is_depthwise {
            true => 1,
            false => input.channels,
        };
        let weights = output.channels * inputs * self.kernel[0] * self.kernel[1];
        for (what, actual, expected) in [
            ("weights", self.weights.len(), weights),
            ("biases", self.bias.len(), output.channels),
        ] {
            if actual != expected {
                return Err(GraphError::Parameters {
                    node,
                    op,
                    what,
                    actual,
                    expected,
                });
            }
        }
        if !windows_fit(input, output, [self.kernel, self.stride], &self.padding) {
            return Err(GraphError::Window { node });
        }
        let (residual, gate) = match (others, self.residual_stride, self.has_gate) {
            ([], None, false) => (None, None),
            ([residual], Some(stride), false) => (Some((residual, stride)), None),
            ([gate], None, true) => (None, Some(gate)),
            ([residual, gate], Some(stride), true) => (Some((residual, stride)), Some(gate)),
            _ => {
                return Err(GraphError::Arity {
                    node,
                    op,
                    actual: 1 + others.len(),
                });
            }
        };
        let is_gate_right = gate.is_none_or(|gate| *gate == input.pixel() && self.is_pointwise());
        let is_residual_right = residual.is_none_or(|(from, stride)| {
            stride > 0
                && from.channels == output.channels
                && (output.height - 1) * stride < from.height
                && (output.width - 1) * stride < from.width
        });
        let is_depthwise_right = input.channels == output.channels && residual.is_none();
        let are_channels_right = !self.is_depthwise || is_depthwise_right;
        Ok(is_residual_right && is_gate_right && are_channels_right)
    }
}

impl Pool {
    /// Checks that windows stay within what surrounds the input, and that each has a value.
    fn fits(&self, node: NodeId, input: Shape, output: Shape) -> Result<(), GraphError> {
        let around = self.zeros.plus(self.outside);
        let has_values = [0, 1].into_iter().all(|axis| {
            let size = [input.height, input.width][axis];
            let last = ([output.height, output.width][axis] - 1) * self.stride[axis];
            // The first window ends after the first value, and the last begins before the last.
            self.outside.before[axis] < self.kernel[axis]
                && last
                    < self.outside.before[axis]
                        + self.zeros.before[axis]
                        + size
                        + self.zeros.after[axis]
        });
        if has_values && windows_fit(input, output, [self.kernel, self.stride], &around) {
            Ok(())
        } else {
            Err(GraphError::Window { node })
        }
    }
}

/// Whether the last window of each axis ends within the padded input.
fn windows_fit(
    input: Shape,
    output: Shape,
    [kernel, stride]: [[usize; 2]; 2],
    padding: &Padding,
) -> bool {
    let inputs = [input.height, input.width];
    let outputs = [output.height, output.width];
    [0, 1].into_iter().all(|axis| {
        let padded = padding.before[axis] + inputs[axis] + padding.after[axis];
        let end = (outputs[axis] - 1) * stride[axis] + kernel[axis];
        kernel[axis] > 0 && stride[axis] > 0 && end <= padded
    })
}

#[cfg(test)]
mod tests;
