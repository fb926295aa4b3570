//! Operators without windows: arithmetic, activations, pooling over all pixels, products with a matrix, softmax,
//! concatenation.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::{
    array::TypedConcat,
    binary::TypedBinOp,
    einsum::EinSum,
    nn::{Reduce, Softmax},
};

use super::{
    axes::{Axes, Axis},
    floats,
    reader::{Named, Reader, Recognised},
};
use crate::{
    activation::{Activation, Curve},
    graph::{Affine, Convolution, Op, Padding, Reduction},
    program::BLOCK,
};

/// A tensor and a constant that are the inputs of a node, in either order.
struct WithConstant {
    named: Named,
    /// One for each channel.
    constant: Vec<f32>,
    /// Whether the constant is the first input.
    is_constant_first: bool,
}

fn with_constant(reader: &Reader, node: &TypedNode) -> Option<WithConstant> {
    let (named, slot) = match reader.tensor(node, 0) {
        Some(named) => (named, 1),
        None => (reader.tensor(node, 1)?, 0),
    };
    let constant = reader.constant(node, slot)?;
    Some(WithConstant {
        constant: named.axes.per_channel(constant, reader.shape(&named))?,
        named,
        is_constant_first: slot == 0,
    })
}

/// Two tensors with the same axes that are the inputs of a node.
fn two_tensors(reader: &Reader, node: &TypedNode) -> Option<[Named; 2]> {
    let [a, b] = [reader.tensor(node, 0)?, reader.tensor(node, 1)?];
    (a.axes == b.axes).then_some([a, b])
}

fn push_affine(reader: &mut Reader, named: Named, scale: Vec<f32>, shift: Vec<f32>) -> Recognised {
    let affine = Affine {
        scale: scale.into(),
        shift: shift.into(),
    };
    let op = Op::Affine(affine, Activation::NONE);
    let shape = reader.shape(&named);
    reader.push(op, &[named.node], shape, named.axes)
}

fn push_activation(reader: &mut Reader, named: Named, activation: Activation) -> Recognised {
    let shape = reader.shape(&named);
    reader.push(Op::Activate(activation), &[named.node], shape, named.axes)
}

pub(super) fn add(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    if let Some(of) = with_constant(reader, node) {
        let scale = vec![1.0; of.constant.len()];
        return Some(push_affine(reader, of.named, scale, of.constant));
    }
    let [a, b] = two_tensors(reader, node)?;
    let shape = reader.shape(&a);
    let op = Op::Add(Activation::NONE);
    (reader.shape(&b) == shape).then(|| reader.push(op, &[a.node, b.node], shape, a.axes))
}

pub(super) fn subtract(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let of = with_constant(reader, node)?;
    let channels = of.constant.len();
    let (scale, shift) = match of.is_constant_first {
        true => (-1.0, of.constant),
        false => (1.0, of.constant.iter().map(|value| -value).collect()),
    };
    Some(push_affine(reader, of.named, vec![scale; channels], shift))
}

pub(super) fn multiply(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    if let Some(of) = with_constant(reader, node) {
        if is_end_of_mean(reader, node, &of.named) {
            return Some(Recognised::Tensor(of.named));
        }
        let shift = vec![0.0; of.constant.len()];
        return Some(push_affine(reader, of.named, of.constant, shift));
    }
    let [mut a, mut b] = two_tensors(reader, node)?;
    // The factor of one pixel is the second.
    if reader.shape(&a).pixels() < reader.shape(&b).pixels() {
        [a, b] = [b, a];
    }
    let shape = reader.shape(&a);
    let factor = reader.shape(&b);
    (factor == shape || factor == shape.pixel())
        .then(|| reader.push(Op::Multiply, &[a.node, b.node], shape, a.axes))
}

pub(super) fn divide(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let of = with_constant(reader, node)?;
    if of.is_constant_first {
        return None;
    }
    if is_end_of_mean(reader, node, &of.named) {
        return Some(Recognised::Tensor(of.named));
    }
    let shift = vec![0.0; of.constant.len()];
    let scale = of.constant.iter().map(|value| 1.0 / value).collect();
    Some(push_affine(reader, of.named, scale, shift))
}

pub(super) fn maximum(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    bound(reader, node, |low| Activation::Clamp {
        low: Some(low),
        high: None,
    })
}

pub(super) fn minimum(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    bound(reader, node, |high| Activation::Clamp {
        low: None,
        high: Some(high),
    })
}

/// The maximum or minimum with one number.
fn bound(
    reader: &mut Reader,
    node: &TypedNode,
    clamp: impl Fn(f32) -> Activation,
) -> Option<Recognised> {
    let of = with_constant(reader, node)?;
    let bound = *of.constant.first()?;
    let clamp = clamp(bound);
    let is_one_number = of.constant.iter().all(|&value| value == bound);
    (is_one_number && clamp.is_valid()).then(|| push_activation(reader, of.named, clamp))
}

/// A function of one value.
pub(super) fn curve(reader: &mut Reader, node: &TypedNode, curve: Curve) -> Option<Recognised> {
    let named = reader.tensor(node, 0)?;
    Some(push_activation(reader, named, Activation::Curve(curve)))
}

/// A sum over all pixels that is no output and whose only reader divides it by their number.
pub(super) fn global_average_pool(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let named = reader.tensor(node, 0)?;
    let [successor] = node.outputs[0].successors[..] else {
        return None;
    };
    if reader
        .model
        .outputs
        .iter()
        .any(|output| output.node == node.id)
    {
        return None;
    }
    let quotient = reader.model.node(successor.node);
    let divisor = quotient.inputs.get(1)?;
    let divisor = reader.model.node(divisor.node).outputs.get(divisor.slot)?;
    let divisor = floats(divisor.fact.konst.as_ref()?)?;
    let pixels = reader.shape(&named).pixels() as f32;
    let is_mean = match quotient.op.downcast_ref::<TypedBinOp>()?.0.name() {
        "Div" => divisor == [pixels],
        "Mul" => divisor == [1.0 / pixels],
        _ => false,
    };
    if is_mean {
        global_pool(reader, node, Reduction::Mean)
    } else {
        None
    }
}

pub(super) fn global_max_pool(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    global_pool(reader, node, Reduction::Max)
}

fn global_pool(reader: &mut Reader, node: &TypedNode, reduction: Reduction) -> Option<Recognised> {
    let op: &Reduce = node.op.downcast_ref()?;
    let named = reader.tensor(node, 0)?;
    let [row, column] = [
        named.axes.position(Axis::Row)?,
        named.axes.position(Axis::Column)?,
    ];
    let is_over_pixels = op.axes.len() == 2 && op.axes.contains(&row) && op.axes.contains(&column);
    let shape = reader.shape(&named).pixel();
    is_over_pixels.then(|| reader.push(Op::GlobalPool(reduction), &[named.node], shape, named.axes))
}

/// Whether this is the division of a sum that [`global_average_pool`] made part of its node.
fn is_end_of_mean(reader: &Reader, node: &TypedNode, named: &Named) -> bool {
    let is_mean = matches!(
        reader.graph.nodes[named.node].op,
        Op::GlobalPool(Reduction::Mean)
    );
    let producer = reader.model.node(node.inputs[0].node);
    is_mean && producer.op.is::<Reduce>()
}

/// A product with a matrix: a 1×1 convolution of one pixel.
pub(super) fn dense(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &EinSum = node.op.downcast_ref()?;
    let named = reader.tensor(node, 0)?;
    let from = reader.shape(&named);
    let axes = Axes::nc();
    if named.axes != axes || from.pixels() != 1 || op.q_params.is_some() {
        return None;
    }
    let shape = axes.shape(node.outputs[0].fact.shape.as_concrete()?)?;
    let matrix = floats(reader.constant(node, 1)?)?;
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
    let convolution = Convolution {
        weights: weights.into(),
        bias: vec![0.0; outputs].into(),
        is_depthwise: false,
        kernel: [1, 1],
        stride: [1, 1],
        padding: Padding::default(),
        residual_stride: None,
        has_gate: false,
        activation: Activation::NONE,
    };
    Some(reader.push(Op::Convolution(convolution), &[named.node], shape, axes))
}

pub(super) fn softmax(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &Softmax = node.op.downcast_ref()?;
    let named = reader.tensor(node, 0)?;
    let shape = reader.shape(&named);
    let channel = named.axes.position(Axis::Channel)?;
    let is_over_channels = op.axes[..] == [channel] && shape.pixels() == 1;
    is_over_channels.then(|| reader.push(Op::Softmax, &[named.node], shape, named.axes))
}

/// A concatenation of channels. All parts but the last have whole channel blocks.
pub(super) fn concat(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &TypedConcat = node.op.downcast_ref()?;
    let parts: Option<Vec<Named>> = (0..node.inputs.len())
        .map(|slot| reader.tensor(node, slot))
        .collect();
    let parts = parts?;
    let axes = parts.first()?.axes.clone();
    if axes.position(Axis::Channel) != Some(op.axis) || parts.iter().any(|part| part.axes != axes) {
        return None;
    }
    let (_, before_last) = parts.split_last()?;
    if before_last
        .iter()
        .any(|part| !reader.shape(part).channels.is_multiple_of(BLOCK))
    {
        return None;
    }
    let shape = axes.shape(node.outputs[0].fact.shape.as_concrete()?)?;
    let inputs: Vec<_> = parts.iter().map(|part| part.node).collect();
    Some(reader.push(Op::Concat, &inputs, shape, axes))
}
