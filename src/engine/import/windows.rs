//! Operators with windows: convolution, pooling, and the padding before them.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::{
    array::{Pad, PadMode},
    cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec, SumPool},
    nn::DataFormat,
};

use super::{
    axes::{Axes, Axis},
    floats,
    reader::{Named, Reader, Recognised},
};
use crate::{
    activation::Activation,
    graph::{Convolution, Op, Padding, Pool, Reduction, Shape},
};

pub(super) fn convolution(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &Conv = node.op.downcast_ref()?;
    let named = reader.padded(node, 0)?;
    if op.kernel_fmt != KernelFormat::OIHW || op.q_params.is_some() {
        return None;
    }
    let window = window(reader, &op.pool_spec, &named)?;
    let shape = output_shape(node)?;
    let inputs = reader.shape(&named).channels;
    let is_depthwise = op.group == inputs && shape.channels == inputs && op.group > 1;
    if op.group != 1 && !is_depthwise {
        return None; // Groups of several channels.
    }
    let weights = reader.constant(node, 1)?;
    let [rows, columns] = window.kernel;
    if weights.shape() != [shape.channels, inputs / op.group, rows, columns] {
        return None;
    }
    let bias = match floats(reader.constant(node, 2)?)? {
        [bias] => vec![*bias; shape.channels],
        bias if bias.len() == shape.channels => bias.to_vec(),
        _ => return None,
    };
    let convolution = Convolution {
        weights: floats(weights)?.into(),
        bias: bias.into(),
        is_depthwise,
        kernel: window.kernel,
        stride: window.stride,
        padding: named.zeros.plus(window.padding),
        residual_stride: None,
        has_gate: false,
        activation: Activation::NONE,
    };
    Some(reader.push(
        Op::Convolution(convolution),
        &[named.node],
        shape,
        Axes::nchw(),
    ))
}

pub(super) fn max_pool(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &MaxPool = node.op.downcast_ref()?;
    pool(reader, node, &op.pool_spec, Reduction::Max, false)
}

pub(super) fn average_pool(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &SumPool = node.op.downcast_ref()?;
    if !op.normalize {
        return None;
    }
    pool(
        reader,
        node,
        &op.pool_spec,
        Reduction::Mean,
        op.count_include_pad,
    )
}

/// A pooling. `counts_padding` says whether the operator's own padding counts as zeros.
fn pool(
    reader: &mut Reader,
    node: &TypedNode,
    spec: &PoolSpec,
    reduction: Reduction,
    counts_padding: bool,
) -> Option<Recognised> {
    let named = reader.padded(node, 0)?;
    let window = window(reader, spec, &named)?;
    let (zeros, outside) = match counts_padding {
        true => (named.zeros.plus(window.padding), Padding::default()),
        false => (named.zeros, window.padding),
    };
    let pool = Pool {
        reduction,
        kernel: window.kernel,
        stride: window.stride,
        zeros,
        outside,
    };
    let shape = output_shape(node)?;
    Some(reader.push(Op::Pool(pool), &[named.node], shape, Axes::nchw()))
}

/// Zeros around a tensor.
pub(super) fn pad(reader: &mut Reader, node: &TypedNode) -> Option<Recognised> {
    let op: &Pad = node.op.downcast_ref()?;
    let named = reader.padded(node, 0)?;
    let PadMode::Constant(with) = &op.mode else {
        return None;
    };
    let along = |axis| match named.axes.position(axis) {
        Some(position) => op.pads[position],
        None => (0, 0),
    };
    if floats(with)? != [0.0] || along(Axis::Batch) != (0, 0) || along(Axis::Channel) != (0, 0) {
        return None;
    }
    let (rows, columns) = (along(Axis::Row), along(Axis::Column));
    let zeros = Padding {
        before: [rows.0, columns.0],
        after: [rows.1, columns.1],
    };
    Some(Recognised::Tensor(Named {
        zeros: named.zeros.plus(zeros),
        ..named
    }))
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    /// The operator's own padding, around the zeros of its input.
    padding: Padding,
}

/// The windows of an operator over a tensor.
fn window(reader: &Reader, spec: &PoolSpec, named: &Named) -> Option<Window> {
    if let PaddingSpec::ExplicitOnnxPool(_, _, true) = spec.padding {
        return None; // The output size is rounded up: some windows reach beyond the padding.
    }
    let strides = spec.strides();
    let (&[rows, columns], &[row_stride, column_stride]) = (&spec.kernel_shape[..], &strides[..])
    else {
        return None; // One or three spatial axes.
    };
    let is_dilated = spec.dilations().iter().any(|&dilation| dilation != 1);
    if is_dilated || spec.data_format != DataFormat::NCHW || named.axes != Axes::nchw() {
        return None;
    }
    let Shape { height, width, .. } = reader.shape(named);
    let Padding { before, after } = named.zeros;
    let padded = [before[0] + height + after[0], before[1] + width + after[1]];
    let computed = spec.computed_padding(&padded);
    Some(Window {
        kernel: [rows, columns],
        stride: [row_stride, column_stride],
        padding: Padding {
            before: [0, 1].map(|axis| computed[axis].pad_before),
            after: [0, 1].map(|axis| computed[axis].pad_after),
        },
    })
}

fn output_shape(node: &TypedNode) -> Option<Shape> {
    Axes::nchw().shape(node.outputs[0].fact.shape.as_concrete()?)
}
