//! The state of reading a graph, and which layer each operator is.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::{
    internal::AxisOp,
    ops::{
        array::Pad,
        binary::TypedBinOp,
        cast::Cast,
        cnn::{Conv, MaxPool},
        einsum::EinSum,
        nn::{Reduce, Softmax},
    },
};

use super::error::GraphError;
use crate::{
    network::{Layer, Network, Padding, Shape, TensorId},
    program::TensorLayout,
};

/// What an outlet of tract's graph is in the network.
#[derive(Debug, Clone)]
pub(super) enum Recognised {
    /// A tensor. Axes of size 1 after the channels may be missing in tract's graph.
    Tensor(TensorId),
    /// A tensor with zeros around it, which become the padding of the layers that read it.
    Padded(TensorId, Padding),
    /// An NHWC input of the network, before its axes are moved to NCHW.
    ChannelsLast,
    /// A constant.
    Constant(Arc<Tensor>),
}

/// Reads a graph node by node. Its methods return `None` for a node that the engine does not know.
pub(super) struct Reader<'a> {
    pub(super) model: &'a TypedModel,
    pub(super) network: Network,
    /// By node: every known node has one output.
    recognised: Vec<Option<Recognised>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(model: &'a TypedModel) -> Self {
        Self {
            model,
            network: Network::default(),
            recognised: vec![None; model.nodes.len()],
        }
    }

    /// Reads one node. The nodes before it in the order of evaluation were read.
    pub(super) fn read(&mut self, node: &TypedNode) -> Result<(), GraphError> {
        let recognised = self.recognise(node).ok_or_else(|| GraphError::Operator {
            operator: node.op.name().into_owned(),
            node: node.name.clone(),
        })?;
        self.recognised[node.id] = Some(recognised);
        Ok(())
    }

    /// What an outlet is, if its node was read.
    pub(super) fn recognised(&self, outlet: OutletId) -> Option<&Recognised> {
        match outlet.slot {
            0 => self.recognised[outlet.node].as_ref(),
            _ => None,
        }
    }

    /// An input of the graph that is no layer.
    pub(super) fn unread_input(&self) -> Option<OutletId> {
        let is_read = |wanted: usize| {
            self.network
                .layers
                .iter()
                .any(|(layer, _)| matches!(layer, Layer::Input { index, .. } if *index == wanted))
        };
        let mut inputs = self.model.inputs.iter().enumerate();
        inputs.find_map(|(index, input)| (!is_read(index)).then_some(*input))
    }

    pub(super) fn into_network(self) -> Network {
        self.network
    }

    fn input(&self, node: &TypedNode, slot: usize) -> Option<&Recognised> {
        self.recognised(*node.inputs.get(slot)?)
    }

    /// An input of a node that is a tensor.
    pub(super) fn tensor(&self, node: &TypedNode, slot: usize) -> Option<TensorId> {
        match self.input(node, slot)? {
            Recognised::Tensor(tensor) => Some(*tensor),
            _ => None,
        }
    }

    /// An input of a node that is a tensor, and the zeros around it.
    pub(super) fn padded(&self, node: &TypedNode, slot: usize) -> Option<(TensorId, Padding)> {
        match self.input(node, slot)? {
            Recognised::Tensor(tensor) => Some((*tensor, Padding::default())),
            Recognised::Padded(tensor, padding) => Some((*tensor, *padding)),
            _ => None,
        }
    }

    /// An input of a node that is a constant.
    pub(super) fn constant(&self, node: &TypedNode, slot: usize) -> Option<&Arc<Tensor>> {
        match self.input(node, slot)? {
            Recognised::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    pub(super) fn shape(&self, tensor: TensorId) -> Shape {
        self.network.shape(tensor)
    }

    pub(super) fn push(&mut self, layer: Layer, shape: Shape) -> Recognised {
        Recognised::Tensor(self.network.push(layer, shape))
    }

    fn recognise(&mut self, node: &TypedNode) -> Option<Recognised> {
        let [output] = &node.outputs[..] else {
            return None;
        };
        if let Some(tensor) = &output.fact.konst {
            return Some(Recognised::Constant(Arc::clone(tensor)));
        }
        if output.fact.datum_type != f32::datum_type() {
            return None;
        }
        if let Some(index) = self.input_index(node.id) {
            return self.network_input(node, index);
        }
        let op = &node.op;
        if op.is::<Cast>() {
            // The output is f32, so a cast of f32 changes nothing.
            let input = self.constant(node, 0)?;
            return (input.datum_type() == f32::datum_type())
                .then(|| Recognised::Constant(Arc::clone(input)));
        }
        if let Some(op) = op.downcast_ref::<AxisOp>() {
            return self.axes(node, op);
        }
        if let Some(op) = op.downcast_ref::<Conv>() {
            return self.convolution(node, op);
        }
        if let Some(op) = op.downcast_ref::<Pad>() {
            return self.pad(node, op);
        }
        if let Some(op) = op.downcast_ref::<MaxPool>() {
            return self.max_pool(node, op);
        }
        if let Some(op) = op.downcast_ref::<Reduce>() {
            return self.global_average_pool(node, op);
        }
        if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            return self.binary(node, op);
        }
        if let Some(op) = op.downcast_ref::<EinSum>() {
            return self.dense(node, op);
        }
        if let Some(op) = op.downcast_ref::<Softmax>() {
            return self.softmax(node, op);
        }
        None
    }

    fn input_index(&self, node: usize) -> Option<usize> {
        let mut inputs = self.model.inputs.iter();
        inputs.position(|input| input.node == node)
    }

    fn network_input(&mut self, node: &TypedNode, index: usize) -> Option<Recognised> {
        let [reader] = node.outputs[0].successors[..] else {
            return None;
        };
        let reader = self.model.node(reader.node);
        if let Some(AxisOp::Move(3, 1)) = reader.op.downcast_ref() {
            return Some(Recognised::ChannelsLast);
        }
        let shape = output_shape(node)?;
        let layout = TensorLayout::Nchw;
        Some(self.push(Layer::Input { index, layout }, shape))
    }

    fn axes(&mut self, node: &TypedNode, op: &AxisOp) -> Option<Recognised> {
        match (op, self.input(node, 0)?.clone()) {
            (AxisOp::Move(3, 1), Recognised::ChannelsLast) => {
                let index = self.input_index(node.inputs[0].node)?;
                let layout = TensorLayout::Nhwc;
                let shape = output_shape(node)?;
                Some(self.push(Layer::Input { index, layout }, shape))
            }
            // tract removes only axes of size 1, so the tensor stays the same.
            (AxisOp::Rm(2 | 3), Recognised::Tensor(tensor)) => Some(Recognised::Tensor(tensor)),
            _ => None,
        }
    }
}

/// Shape of the node's output, whose axes are the batch of size 1, channels, rows and columns, or only the first two.
pub(super) fn output_shape(node: &TypedNode) -> Option<Shape> {
    let shape = node.outputs[0].fact.shape.as_concrete()?;
    match *shape {
        [1, channels, height, width] => Some(Shape {
            channels,
            height,
            width,
        }),
        [1, channels] | [1, channels, 1] => Some(Shape {
            channels,
            height: 1,
            width: 1,
        }),
        _ => None,
    }
}

/// The values of a tensor of f32. `None` for other types, which the engine does not know.
#[expect(
    clippy::expect_used,
    reason = "the type was checked, and the view of a whole tensor is contiguous"
)]
pub(super) fn floats(tensor: &Tensor) -> Option<&[f32]> {
    if tensor.datum_type() != f32::datum_type() {
        return None;
    }
    Some(tensor.view().as_slice::<f32>().expect("a contiguous view"))
}
