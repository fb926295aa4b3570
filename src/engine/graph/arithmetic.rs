//! Arithmetic operators: sums, clamps, the mean of all pixels, products with a matrix, softmax.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::{
    internal::AxisOp,
    ops::{
        binary::TypedBinOp,
        einsum::EinSum,
        nn::{Reduce, Reducer, Softmax},
    },
};

use super::reader::{Reader, Recognised, floats, output_shape};
use crate::{
    network::{Layer, Padding, Shape, TensorId},
    program::Clamp,
};

impl Reader<'_> {
    /// A sum over all pixels whose only reader divides it by their number.
    pub(super) fn global_average_pool(
        &mut self,
        node: &TypedNode,
        op: &Reduce,
    ) -> Option<Recognised> {
        let input = self.tensor(node, 0)?;
        if op.axes[..] != [2, 3] || op.reducer != Reducer::Sum {
            return None;
        }
        let [reader] = node.outputs[0].successors[..] else {
            return None;
        };
        let reader = self.model.node(reader.node);
        let divisor = reader.inputs.get(1)?;
        let divisor = self.model.node(divisor.node).outputs.get(divisor.slot)?;
        let divisor = floats(divisor.fact.konst.as_ref()?)?;
        let shape = self.shape(input);
        let pixels = shape.pixels() as f32;
        let is_mean = match reader.op.downcast_ref::<TypedBinOp>()?.0.name() {
            "Div" => divisor == [pixels],
            "Mul" => divisor == [1.0 / pixels],
            _ => false,
        };
        let shape = Shape {
            height: 1,
            width: 1,
            ..shape
        };
        is_mean.then(|| self.push(Layer::GlobalAveragePool { input }, shape))
    }

    pub(super) fn binary(&mut self, node: &TypedNode, op: &TypedBinOp) -> Option<Recognised> {
        let name = op.0.name();
        let shape = output_shape(node)?;
        match (self.tensor(node, 0), self.tensor(node, 1)) {
            (Some(first), Some(second)) => {
                let is_sum =
                    name == "Add" && self.shape(first) == shape && self.shape(second) == shape;
                let layer = Layer::Add {
                    inputs: [first, second],
                    clamp: Clamp::NONE,
                };
                is_sum.then(|| self.push(layer, shape))
            }
            (Some(input), None) => self.binary_constant(node, name, input, [0, 1]),
            // The order matters to a division only.
            (None, Some(input)) if name != "Div" => self.binary_constant(node, name, input, [1, 0]),
            _ => None,
        }
    }

    /// An operator with a tensor at input slot `slots[0]` of the node and a constant at `slots[1]`.
    fn binary_constant(
        &mut self,
        node: &TypedNode,
        name: &str,
        input: TensorId,
        slots: [usize; 2],
    ) -> Option<Recognised> {
        let shape = output_shape(node)?;
        let constant = floats(self.constant(node, slots[1])?)?.to_vec();
        let producer = self.model.node(node.inputs[slots[0]].node);
        match (name, &constant[..]) {
            ("Max", &[bound]) if !bound.is_nan() => {
                let clamp = Clamp {
                    low: Some(bound),
                    high: None,
                };
                Some(self.push(Layer::Clamp { input, clamp }, shape))
            }
            ("Min", &[bound]) if !bound.is_nan() => {
                let clamp = Clamp {
                    low: None,
                    high: Some(bound),
                };
                Some(self.push(Layer::Clamp { input, clamp }, shape))
            }
            // The division that `global_average_pool` made part of its layer.
            ("Div" | "Mul", &[_]) => {
                let is_mean = matches!(
                    self.network.layers[input].0,
                    Layer::GlobalAveragePool { .. }
                );
                let is_of_sum = producer.op.is::<Reduce>();
                (is_mean && is_of_sum).then_some(Recognised::Tensor(input))
            }
            ("Add", more) if self.is_read_once(node.inputs[slots[0]]) => {
                self.add_bias(input, more, shape)
            }
            _ => None,
        }
    }

    /// Whether an outlet has one reader and is no output of the graph, and neither has the tensor other readers under
    /// another shape.
    fn is_read_once(&self, mut outlet: OutletId) -> bool {
        loop {
            let node = self.model.node(outlet.node);
            let is_output = self.model.outputs.contains(&outlet);
            if is_output || node.outputs[outlet.slot].successors.len() != 1 {
                return false;
            }
            match (&node.inputs[..], node.op.is::<AxisOp>()) {
                ([input], true) => outlet = *input,
                _ => return true,
            }
        }
    }

    /// A bias after a dense layer becomes the bias of its convolution, which nothing else reads.
    fn add_bias(&mut self, input: TensorId, more: &[f32], shape: Shape) -> Option<Recognised> {
        let is_last = input + 1 == self.network.layers.len();
        match &mut self.network.layers[input].0 {
            Layer::Convolution {
                bias,
                clamp: Clamp::NONE,
                residual: None,
                ..
            } if is_last && more.len() == shape.channels && bias.len() == shape.channels => {
                *bias = (0..shape.channels)
                    .map(|channel| bias[channel] + more[channel])
                    .collect();
                Some(Recognised::Tensor(input))
            }
            _ => None,
        }
    }

    /// A product with a matrix: a 1×1 convolution of one pixel.
    pub(super) fn dense(&mut self, node: &TypedNode, op: &EinSum) -> Option<Recognised> {
        let input = self.tensor(node, 0)?;
        let (shape, from) = (output_shape(node)?, self.shape(input));
        if from.pixels() != 1 || shape.pixels() != 1 || op.q_params.is_some() {
            return None;
        }
        let matrix = floats(self.constant(node, 1)?)?;
        let (inputs, outputs) = (from.channels, shape.channels);
        if matrix.len() != inputs * outputs {
            return None;
        }
        let weights: Vec<f32> = match op.axes.to_string().as_str() {
            "mk,kn->mn" => (0..outputs)
                .flat_map(|n| (0..inputs).map(move |k| matrix[k * outputs + n]))
                .collect(),
            "mk,nk->mn" => matrix.to_vec(),
            _ => return None,
        };
        let layer = Layer::Convolution {
            input,
            weights: weights.into(),
            bias: vec![0.0; outputs].into(),
            kernel: [1, 1],
            stride: [1, 1],
            padding: Padding::default(),
            residual: None,
            clamp: Clamp::NONE,
        };
        Some(self.push(layer, shape))
    }

    pub(super) fn softmax(&mut self, node: &TypedNode, op: &Softmax) -> Option<Recognised> {
        let input = self.tensor(node, 0)?;
        let shape = self.shape(input);
        let is_over_channels = op.axes[..] == [1] && shape.pixels() == 1;
        is_over_channels.then(|| self.push(Layer::Softmax { input }, shape))
    }
}
