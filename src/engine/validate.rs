//! Validation of a network: lowering and packing rely on it.

use crate::{
    network::{Layer, Network, Padding, Shape, TensorId},
    program::Clamp,
};

/// Why a network is not valid. None of these is worth a retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// A layer reads its own tensor, a later one, or one that does not exist.
    #[error("layer {layer} reads tensor {tensor}, which no earlier layer produces")]
    Order {
        /// Number of the layer.
        layer: usize,
        /// The tensor that it reads.
        tensor: TensorId,
    },
    /// An output that does not exist.
    #[error("output {output} is tensor {tensor}, which no layer produces")]
    UnknownOutput {
        /// Index of the output.
        output: usize,
        /// Its tensor.
        tensor: TensorId,
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
    #[error("the inputs have the indices {0:?}: each from 0 on must be there once")]
    Inputs(Vec<usize>),
    /// A tensor without values.
    #[error("layer {layer} produces an empty tensor")]
    Empty {
        /// Number of the layer.
        layer: usize,
    },
    /// A convolution with too few or too many weights or biases.
    #[error("the convolution of layer {layer} has {actual} {what}, but its shapes need {expected}")]
    Parameters {
        /// Number of the layer.
        layer: usize,
        /// `weights` or `biases`.
        what: &'static str,
        /// Values that there are.
        actual: usize,
        /// Values that the shapes need.
        expected: usize,
    },
    /// A kernel size or a stride of 0, or a window that reaches beyond the padded input.
    #[error("the windows of layer {layer} do not fit its padded input")]
    Window {
        /// Number of the layer.
        layer: usize,
    },
    /// A layer whose output shape does not follow from its input shapes.
    #[error("the output shape of layer {layer} does not follow from its inputs")]
    Shape {
        /// Number of the layer.
        layer: usize,
    },
    /// Bounds that no value meets.
    #[error("the clamp of layer {layer} has a lower bound that is not below its upper bound")]
    Clamp {
        /// Number of the layer.
        layer: usize,
    },
}

impl Network {
    /// Checks that layers are in topological order, and that shapes, weights and outputs fit each other.
    ///
    /// # Errors
    ///
    /// A [`NetworkError`] that names the layer or the output.
    pub fn validate(&self) -> Result<(), NetworkError> {
        let mut indices = Vec::new();
        for (layer, (description, shape)) in self.layers.iter().enumerate() {
            for tensor in description.inputs() {
                if tensor >= layer {
                    return Err(NetworkError::Order { layer, tensor });
                }
            }
            if shape.channels == 0 || shape.pixels() == 0 {
                return Err(NetworkError::Empty { layer });
            }
            if let Layer::Input { index, .. } = description {
                indices.push(*index);
            }
            self.validate_layer(layer)?;
        }
        indices.sort_unstable();
        if !indices.iter().copied().eq(0..indices.len()) {
            return Err(NetworkError::Inputs(indices));
        }
        for (output, (tensor, shape)) in self.outputs.iter().enumerate() {
            let tensor = *tensor;
            let Some((_, from)) = self.layers.get(tensor) else {
                return Err(NetworkError::UnknownOutput { output, tensor });
            };
            let len = from.channels * from.pixels();
            if shape.iter().product::<usize>() != len {
                let shape = shape.clone();
                return Err(NetworkError::OutputShape { output, shape, len });
            }
        }
        Ok(())
    }

    /// Checks one layer, whose inputs exist.
    fn validate_layer(&self, layer: usize) -> Result<(), NetworkError> {
        let (description, output) = &self.layers[layer];
        let pixel = Shape {
            height: 1,
            width: 1,
            ..*output
        };
        let (is_shape_right, clamp) = match description {
            Layer::Input { .. } => (true, Clamp::NONE),
            Layer::Convolution {
                input,
                kernel,
                stride,
                padding,
                residual,
                clamp,
                ..
            } => {
                self.validate_parameters(layer)?;
                validate_window(
                    layer,
                    self.shape(*input),
                    *output,
                    [*kernel, *stride],
                    padding,
                )?;
                let is_residual_right = residual.is_none_or(|residual| {
                    let from = self.shape(residual.tensor);
                    residual.stride > 0
                        && from.channels == output.channels
                        && (output.height - 1) * residual.stride < from.height
                        && (output.width - 1) * residual.stride < from.width
                });
                (is_residual_right, *clamp)
            }
            Layer::MaxPool {
                input,
                kernel,
                stride,
                padding,
            } => {
                let input = self.shape(*input);
                validate_window(layer, input, *output, [*kernel, *stride], padding)?;
                (input.channels == output.channels, Clamp::NONE)
            }
            Layer::GlobalAveragePool { input } => {
                let input = self.shape(*input);
                let is_right = input.channels == output.channels && *output == pixel;
                (is_right, Clamp::NONE)
            }
            Layer::Add { inputs, clamp } => (
                inputs.map(|input| self.shape(input)) == [*output; 2],
                *clamp,
            ),
            Layer::Clamp { input, clamp } => (self.shape(*input) == *output, *clamp),
            Layer::Softmax { input } => {
                let is_right = self.shape(*input) == *output && *output == pixel;
                (is_right, Clamp::NONE)
            }
        };
        if !is_shape_right {
            return Err(NetworkError::Shape { layer });
        }
        let [low, high] = clamp.bounds();
        // A comparison with NaN is false.
        if low <= high {
            Ok(())
        } else {
            Err(NetworkError::Clamp { layer })
        }
    }

    /// Checks the number of weights and biases of a convolution.
    fn validate_parameters(&self, layer: usize) -> Result<(), NetworkError> {
        let (
            Layer::Convolution {
                input,
                weights,
                bias,
                kernel,
                ..
            },
            output,
        ) = &self.layers[layer]
        else {
            return Ok(());
        };
        let inputs = self.shape(*input).channels;
        let expected = output.channels * inputs * kernel[0] * kernel[1];
        for (what, actual, expected) in [
            ("weights", weights.len(), expected),
            ("biases", bias.len(), output.channels),
        ] {
            if actual != expected {
                return Err(NetworkError::Parameters {
                    layer,
                    what,
                    actual,
                    expected,
                });
            }
        }
        Ok(())
    }
}

/// Checks that the last window of each axis ends within the padded input.
fn validate_window(
    layer: usize,
    input: Shape,
    output: Shape,
    [kernel, stride]: [[usize; 2]; 2],
    padding: &Padding,
) -> Result<(), NetworkError> {
    let inputs = [input.height, input.width];
    let outputs = [output.height, output.width];
    for axis in [0, 1] {
        let padded = padding.before[axis] + inputs[axis] + padding.after[axis];
        let end = (outputs[axis] - 1) * stride[axis] + kernel[axis];
        if kernel[axis] == 0 || stride[axis] == 0 || end > padded {
            return Err(NetworkError::Window { layer });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, input, network, shape},
        network::ResidualInput,
    };

    fn refused(change: impl FnOnce(&mut Network)) -> NetworkError {
        let mut network = network([input(), convolution(0, 1), convolution(1, 1)], 8);
        network.validate().unwrap();
        change(&mut network);
        network.validate().unwrap_err()
    }

    /// A convolution with one field changed.
    fn changed(change: impl FnOnce(&mut Layer)) -> impl FnOnce(&mut Network) {
        |network| change(&mut network.layers[1].0)
    }

    #[test]
    fn layers_read_earlier_tensors_only() {
        let error = refused(|network| network.layers[1].0 = convolution(2, 1));
        assert_eq!(
            error,
            NetworkError::Order {
                layer: 1,
                tensor: 2
            }
        );
        let error = refused(|network| network.outputs[0].0 = 3);
        let expected = NetworkError::UnknownOutput {
            output: 0,
            tensor: 3,
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn a_convolution_has_one_bias_for_each_channel_and_all_its_weights() {
        // Otherwise lowering would cut off biases that do not fit the last block, and fill up missing ones with zeros.
        for len in [15, 17, 32] {
            let error = refused(changed(|layer| {
                if let Layer::Convolution { bias, .. } = layer {
                    *bias = vec![1.0; len].into();
                }
            }));
            let expected = NetworkError::Parameters {
                layer: 1,
                what: "biases",
                actual: len,
                expected: 16,
            };
            assert_eq!(error, expected);
        }
        let error = refused(changed(|layer| {
            if let Layer::Convolution { weights, .. } = layer {
                *weights = vec![1.0; 257].into();
            }
        }));
        assert!(matches!(
            error,
            NetworkError::Parameters {
                what: "weights",
                ..
            }
        ));
    }

    #[test]
    fn windows_stay_within_the_padded_input() {
        let error = refused(changed(|layer| {
            if let Layer::Convolution { stride, .. } = layer {
                *stride = [1, 2];
            }
        }));
        assert_eq!(error, NetworkError::Window { layer: 1 });
        let error = refused(changed(|layer| {
            if let Layer::Convolution { stride, .. } = layer {
                *stride = [0, 1];
            }
        }));
        assert_eq!(error, NetworkError::Window { layer: 1 });
    }

    #[test]
    fn shapes_follow_from_the_inputs() {
        let error = refused(|network| network.layers[1].1.height = 0);
        assert_eq!(error, NetworkError::Empty { layer: 1 });
        let error = refused(|network| network.layers[2].0 = Layer::Softmax { input: 1 });
        assert_eq!(error, NetworkError::Shape { layer: 2 });
        let error = refused(changed(|layer| {
            if let Layer::Convolution { residual, .. } = layer {
                *residual = Some(ResidualInput {
                    tensor: 0,
                    stride: 2,
                });
            }
        }));
        assert_eq!(error, NetworkError::Shape { layer: 1 });
        let error = refused(|network| network.outputs[0].1 = vec![1, 16, 8]);
        assert!(matches!(error, NetworkError::OutputShape { len: 1024, .. }));
    }

    #[test]
    fn inputs_are_numbered_from_zero_without_a_gap() {
        // Otherwise the shape of input 2 would become the shape of input 1.
        let mut network = network([input()], 8);
        let second = Layer::Input {
            index: 2,
            layout: crate::program::TensorLayout::Nchw,
        };
        network.push(second, shape(8));
        let error = network.validate().unwrap_err();
        assert_eq!(error, NetworkError::Inputs(vec![0, 2]));
    }

    #[test]
    fn a_clamp_has_bounds_in_order() {
        for bounds in [(Some(1.0), Some(0.0)), (Some(f32::NAN), None)] {
            let clamp = Clamp {
                low: bounds.0,
                high: bounds.1,
            };
            let error = refused(|network| network.layers[2].0 = Layer::Clamp { input: 1, clamp });
            assert_eq!(error, NetworkError::Clamp { layer: 2 });
        }
    }
}
