//! Graph pass: moves strides to earlier layers, which then compute less.

use crate::network::{Layer, Network, Padding, TensorId};

impl Network {
    /// Moves the stride of 1×1 convolutions into the convolution that produces their input.
    ///
    /// If all readers of a tensor are 1×1 convolutions with stride s and without padding, they read only every s-th
    /// row and column. The convolution before them computes just these pixels if its own stride, and the stride of
    /// its residual, are multiplied by s; its windows there are the same, and so are the outputs, to the bit. The
    /// readers then have stride 1. Keras's ResNets have such a stride at the head of each stage, and would throw
    /// away three quarters of the previous stage's last tensor.
    pub fn pull_strides(&mut self) {
        // From the end: a stride may move on to the convolution before.
        for tensor in (0..self.layers.len()).rev() {
            let Some(stride) = self.common_stride(tensor) else {
                continue;
            };
            let (
                Layer::Convolution {
                    stride: own,
                    residual,
                    ..
                },
                shape,
            ) = &mut self.layers[tensor]
            else {
                continue;
            };
            *own = own.map(|own| own * stride);
            if let Some(residual) = residual {
                residual.stride *= stride;
            }
            shape.height = shape.height.div_ceil(stride);
            shape.width = shape.width.div_ceil(stride);
            for (layer, _) in &mut self.layers {
                if let Layer::Convolution { input, stride, .. } = layer
                    && *input == tensor
                {
                    *stride = [1, 1];
                }
            }
        }
    }

    /// The stride at which all readers of a tensor sample it, if it is above 1 and the same for all.
    fn common_stride(&self, tensor: TensorId) -> Option<usize> {
        if self.is_output(tensor) {
            return None;
        }
        let mut common = None;
        for (layer, _) in &self.layers {
            if layer.inputs().contains(&tensor) {
                let stride = layer.pointwise_stride(tensor)?;
                if *common.get_or_insert(stride) != stride {
                    return None;
                }
            }
        }
        common.filter(|&stride| stride > 1)
    }
}

impl Layer {
    /// The stride of a 1×1 convolution without padding that reads `tensor` as its input, and not as its residual.
    fn pointwise_stride(&self, tensor: TensorId) -> Option<usize> {
        match self {
            Self::Convolution {
                input,
                kernel: [1, 1],
                stride,
                padding,
                residual,
                ..
            } if *input == tensor
                && *padding == Padding::default()
                && stride[0] == stride[1]
                && residual.is_none_or(|residual| residual.tensor != tensor) =>
            {
                Some(stride[0])
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, input, network, shape},
        network::ResidualInput,
    };

    fn stride(network: &Network, tensor: TensorId) -> [usize; 2] {
        match network.layers[tensor].0 {
            Layer::Convolution { stride, .. } => stride,
            _ => panic!("tensor {tensor} is no convolution's"),
        }
    }

    /// A convolution with the input as its residual, and its readers.
    fn stage<const N: usize>(readers: [Layer; N]) -> Network {
        let mut network = network([input(), convolution(0, 1)], 7);
        let residual = ResidualInput {
            tensor: 0,
            stride: 1,
        };
        let Layer::Convolution { residual: none, .. } = &mut network.layers[1].0 else {
            unreachable!("the second layer is a convolution")
        };
        *none = Some(residual);
        network.outputs.clear();
        for layer in readers {
            let tensor = network.push(layer, shape(4));
            network.outputs.push((tensor, vec![1, 16, 4, 4]));
        }
        network
    }

    #[test]
    fn the_stride_of_all_readers_moves_into_the_convolution_and_its_residual() {
        let mut network = stage([convolution(1, 2), convolution(1, 2)]);
        network.pull_strides();
        assert_eq!(
            [1, 2, 3].map(|n| stride(&network, n)),
            [[2, 2], [1, 1], [1, 1]]
        );
        assert_eq!(network.shape(1), shape(4));
        let Layer::Convolution { residual, .. } = &network.layers[1].0 else {
            unreachable!("the second layer is a convolution")
        };
        assert_eq!(residual.map(|residual| residual.stride), Some(2));
    }

    #[test]
    fn a_reader_of_all_pixels_keeps_the_stride_where_it_is() {
        for readers in [
            [convolution(1, 2), convolution(1, 1)],
            [convolution(1, 2), convolution(1, 3)],
            [convolution(1, 2), Layer::GlobalAveragePool { input: 1 }],
        ] {
            let mut network = stage(readers);
            let before = network.clone();
            network.pull_strides();
            assert_eq!(network, before);
        }
    }

    #[test]
    fn an_output_of_the_network_keeps_all_its_pixels() {
        let mut network = stage([convolution(1, 2)]);
        network.outputs.push((1, vec![1, 16, 7, 7]));
        let before = network.clone();
        network.pull_strides();
        assert_eq!(network, before);
    }
}
