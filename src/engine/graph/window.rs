//! Operators with windows: convolution, max pooling, and the padding before them.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::{
    array::{Pad, PadMode},
    cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec},
    nn::DataFormat,
};

use super::reader::{Reader, Recognised, floats, output_shape};
use crate::{
    network::{Layer, Padding, TensorId},
    program::Clamp,
};

impl Reader<'_> {
    pub(super) fn convolution(&mut self, node: &TypedNode, op: &Conv) -> Option<Recognised> {
        let (input, around) = self.padded(node, 0)?;
        if op.group != 1 || op.kernel_fmt != KernelFormat::OIHW || op.q_params.is_some() {
            return None;
        }
        let (padding, [kernel, stride]) = self.window(&op.pool_spec, input, around)?;
        let shape = output_shape(node)?;
        let weights = self.constant(node, 1)?;
        let inputs = self.shape(input).channels;
        if weights.shape() != [shape.channels, inputs, kernel[0], kernel[1]] {
            return None;
        }
        let bias = match floats(self.constant(node, 2)?)? {
            [bias] => vec![*bias; shape.channels],
            bias if bias.len() == shape.channels => bias.to_vec(),
            _ => return None,
        };
        let layer = Layer::Convolution {
            input,
            weights: floats(weights)?.into(),
            bias: bias.into(),
            kernel,
            stride,
            padding,
            residual: None,
            clamp: Clamp::NONE,
        };
        Some(self.push(layer, shape))
    }

    /// Padding, and kernel size and stride, of a window over a tensor with the zeros `around` it.
    fn window(
        &self,
        pool: &PoolSpec,
        input: TensorId,
        around: Padding,
    ) -> Option<(Padding, [[usize; 2]; 2])> {
        if let PaddingSpec::ExplicitOnnxPool(_, _, true) = pool.padding {
            return None; // The output size is rounded up: some windows reach beyond the padding.
        }
        let strides = pool.strides();
        let (&[rows, columns], &[row_stride, column_stride]) =
            (&pool.kernel_shape[..], &strides[..])
        else {
            return None; // One or three spatial axes.
        };
        let is_dilated = pool.dilations().iter().any(|&dilation| dilation != 1);
        if is_dilated || pool.data_format != DataFormat::NCHW {
            return None;
        }
        let shape = self.shape(input);
        let sizes = [shape.height, shape.width];
        let padded: [usize; 2] =
            std::array::from_fn(|axis| sizes[axis] + around.before[axis] + around.after[axis]);
        let computed = pool.computed_padding(&padded);
        let mut padding = around;
        for axis in [0, 1] {
            padding.before[axis] += computed[axis].pad_before;
            padding.after[axis] += computed[axis].pad_after;
        }
        Some((padding, [[rows, columns], [row_stride, column_stride]]))
    }

    pub(super) fn pad(&self, node: &TypedNode, op: &Pad) -> Option<Recognised> {
        let tensor = self.tensor(node, 0)?;
        let PadMode::Constant(with) = &op.mode else {
            return None;
        };
        let [(0, 0), (0, 0), rows, columns] = op.pads[..] else {
            return None;
        };
        let padding = Padding {
            before: [rows.0, columns.0],
            after: [rows.1, columns.1],
        };
        (floats(with)? == [0.0]).then_some(Recognised::Padded(tensor, padding))
    }

    pub(super) fn max_pool(&mut self, node: &TypedNode, op: &MaxPool) -> Option<Recognised> {
        let (input, around) = self.padded(node, 0)?;
        let (padding, [kernel, stride]) = self.window(&op.pool_spec, input, around)?;
        // ONNX pads a max pool with −∞, the engine with zeros. For inputs that are never negative it is the same.
        let has_own_padding = padding != around;
        if has_own_padding && !self.is_never_negative(input) {
            return None;
        }
        let layer = Layer::MaxPool {
            input,
            kernel,
            stride,
            padding,
        };
        let shape = output_shape(node)?;
        Some(self.push(layer, shape))
    }

    fn is_never_negative(&self, tensor: TensorId) -> bool {
        match self.network.layers[tensor].0 {
            Layer::Clamp { clamp, .. } => clamp.low.is_some_and(|low| low >= 0.0),
            _ => false,
        }
    }
}
