//! The state of reading a model, and the table of operators.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::{
    internal::AxisOp,
    ops::{binary::TypedBinOp, cast::Cast, element_wise::ElementWiseOp},
};

use super::{arithmetic, axes::Axes, error::ImportError, windows};
use crate::{
    activation::Curve,
    graph::{Graph, NodeId, Op, Padding, Shape},
    program::TensorLayout,
};

/// Reads a node. `None` if the engine does not know this form of the operator.
type Import = fn(&mut Reader, &TypedNode) -> Option<Recognised>;

/// One function per operator, by the name that tract gives the operator.
const OPERATORS: &[(&str, Import)] = &[
    ("Add", arithmetic::add),
    ("AddAxis", axis),
    ("Cast", cast),
    ("Concat", arithmetic::concat),
    ("Conv", windows::convolution),
    ("Div", arithmetic::divide),
    ("EinSum", arithmetic::dense),
    ("HardSwish", |reader, node| {
        arithmetic::curve(reader, node, Curve::HardSwish)
    }),
    ("Max", arithmetic::maximum),
    ("MaxPool", windows::max_pool),
    ("Min", arithmetic::minimum),
    ("MoveAxis", axis),
    ("Mul", arithmetic::multiply),
    ("Pad", windows::pad),
    ("Reduce<Max>", arithmetic::global_max_pool),
    ("Reduce<Sum>", arithmetic::global_average_pool),
    ("Reshape", axis),
    ("RmAxis", axis),
    ("Sigmoid", |reader, node| {
        arithmetic::curve(reader, node, Curve::Sigmoid)
    }),
    ("Silu", |reader, node| {
        arithmetic::curve(reader, node, Curve::Swish)
    }),
    ("Softmax", arithmetic::softmax),
    ("Sub", arithmetic::subtract),
    ("SumPool", windows::average_pool),
];

/// A tensor of the network as it is in tract's graph.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) node: NodeId,
    pub(super) axes: Axes,
    /// Zeros around it, which become the padding of the nodes that read it.
    pub(super) zeros: Padding,
}

/// What an outlet of tract's graph is.
#[derive(Debug, Clone)]
pub(super) enum Recognised {
    /// A tensor of the network.
    Tensor(Named),
    /// A constant.
    Constant(Arc<Tensor>),
}

/// Reads a model node by node.
pub(super) struct Reader<'a> {
    pub(super) model: &'a TypedModel,
    pub(super) graph: Graph,
    /// By node: every known node has one output.
    recognised: Vec<Option<Recognised>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(model: &'a TypedModel) -> Self {
        Self {
            model,
            graph: Graph::default(),
            recognised: vec![None; model.nodes.len()],
        }
    }

    /// Reads one node. The nodes before it in the order of evaluation were read.
    pub(super) fn read(&mut self, node: &TypedNode) -> Result<(), ImportError> {
        let recognised = self
            .recognise(node)
            .ok_or_else(|| ImportError::Unsupported {
                op: node.op.name().into_owned(),
                node: node.name.clone(),
            })?;
        self.recognised[node.id] = Some(recognised);
        Ok(())
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
        if let Some(index) = self
            .model
            .inputs
            .iter()
            .position(|input| input.node == node.id)
        {
            return self.input(node, index);
        }
        let name = node.op.name();
        let (_, import) = OPERATORS.iter().find(|(known, _)| *known == name)?;
        import(self, node)
    }

    /// What an outlet is, if its node was read.
    pub(super) fn recognised(&self, outlet: OutletId) -> Option<&Recognised> {
        match outlet.slot {
            0 => self.recognised[outlet.node].as_ref(),
            _ => None,
        }
    }

    /// The first input of the model on which no output depends.
    pub(super) fn unread_input(&self) -> Option<OutletId> {
        let is_read = |wanted: usize| {
            self.graph
                .nodes
                .iter()
                .any(|node| matches!(node.op, Op::Input { index, .. } if index == wanted))
        };
        let mut inputs = self.model.inputs.iter().enumerate();
        inputs.find_map(|(index, input)| (!is_read(index)).then_some(*input))
    }

    /// An input of a node that is a tensor, with zeros around it or without.
    pub(super) fn padded(&self, node: &TypedNode, slot: usize) -> Option<Named> {
        match self.recognised(*node.inputs.get(slot)?)? {
            Recognised::Tensor(named) => Some(named.clone()),
            Recognised::Constant(_) => None,
        }
    }

    /// An input of a node that is a tensor.
    pub(super) fn tensor(&self, node: &TypedNode, slot: usize) -> Option<Named> {
        self.padded(node, slot)
            .filter(|named| named.zeros == Padding::default())
    }

    /// An input of a node that is a constant.
    pub(super) fn constant(&self, node: &TypedNode, slot: usize) -> Option<&Arc<Tensor>> {
        match self.recognised(*node.inputs.get(slot)?)? {
            Recognised::Constant(tensor) => Some(tensor),
            Recognised::Tensor(_) => None,
        }
    }

    pub(super) fn shape(&self, named: &Named) -> Shape {
        self.graph.shape(named.node)
    }

    /// Adds a node whose tensor has these axes in tract's graph.
    pub(super) fn push(
        &mut self,
        op: Op,
        inputs: &[NodeId],
        shape: Shape,
        axes: Axes,
    ) -> Recognised {
        Recognised::Tensor(Named {
            node: self.graph.push(op, inputs, shape),
            axes,
            zeros: Padding::default(),
        })
    }

    fn input(&mut self, node: &TypedNode, index: usize) -> Option<Recognised> {
        let (layout, axes) = match self.is_channels_last(node) {
            true => (TensorLayout::Nhwc, Axes::nhwc()),
            false => (TensorLayout::Nchw, Axes::nchw()),
        };
        let shape = axes.shape(node.outputs[0].fact.shape.as_concrete()?)?;
        let op = Op::Input {
            index,
            layout,
            affine: None,
        };
        Some(self.push(op, &[], shape, axes))
    }

    /// Whether the channels of an input are its last axis: it is moved to the front, perhaps after a normalisation.
    fn is_channels_last<'n>(&'n self, input: &'n TypedNode) -> bool {
        let mut node = input;
        loop {
            let [reader] = node.outputs[0].successors[..] else {
                return false;
            };
            node = self.model.node(reader.node);
            if let Some(AxisOp::Move(3, 1)) = node.op.downcast_ref() {
                return true;
            }
            if !(node.op.is::<TypedBinOp>() || node.op.is::<ElementWiseOp>()) {
                return false;
            }
        }
    }
}

/// An operator that moves, adds or removes axes.
fn axis(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &AxisOp = node.op.downcast_ref()?;
    if let Some(constant) = reader.constant(node, 0) {
        let mut changed = (**constant).clone();
        op.change_tensor(&mut changed, false).ok()?;
        return Some(Recognised::Constant(changed.into()));
    }
    let named = reader.tensor(node, 0).or_else(|| {
        // Zeros stay around rows and columns wherever these axes are.
        matches!(op, AxisOp::Move(..))
            .then(|| reader.padded(node, 0))
            .flatten()
    })?;
    let output = node.outputs[0].fact.shape.as_concrete()?;
    let axes = named.axes.after(op, reader.shape(&named), output)?;
    Some(Recognised::Tensor(Named { axes, ..named }))
}

/// A cast of f32 to f32. The output is f32 already.
fn cast(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    node.op.downcast_ref::<Cast>()?;
    let input = reader.recognised(*node.inputs.first()?)?;
    let is_f32 = match input {
        Recognised::Constant(tensor) => tensor.datum_type() == f32::datum_type(),
        Recognised::Tensor(_) => true,
    };
    is_f32.then(|| input.clone())
}
