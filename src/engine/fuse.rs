//! Graph pass: fuses a sum and a clamp into the convolution before them, as its residual and its clamp.

use std::mem;

use crate::{
    network::{Layer, Network, ResidualInput, TensorId},
    program::Clamp,
};

impl Network {
    /// Fuses sums and clamps into the layers before them. The outputs do not change, to the bit.
    ///
    /// A sum becomes the residual of a convolution if nothing else reads the convolution and the other summand is
    /// produced before it. A clamp becomes the clamp of a convolution or a sum if nothing else reads that.
    pub fn fuse(&mut self) {
        let mut readers = vec![0; self.layers.len()];
        for (layer, _) in &self.layers {
            layer
                .inputs()
                .into_iter()
                .for_each(|tensor| readers[tensor] += 1);
        }
        for (tensor, _) in &self.outputs {
            readers[*tensor] += 1;
        }
        // The layer that produces each tensor after fusing.
        let mut producer: Vec<TensorId> = (0..self.layers.len()).collect();
        for tensor in 0..self.layers.len() {
            self.layers[tensor].0.renumber(|input| producer[input]);
            if let Some(fused) = self.fuse_into_input(tensor, &readers) {
                producer[tensor] = fused;
                readers[fused] = readers[tensor];
            }
        }
        for (tensor, _) in &mut self.outputs {
            *tensor = producer[*tensor];
        }
        self.drop_unread();
    }

    /// Fuses one layer into a layer that it reads, and returns the latter's tensor.
    fn fuse_into_input(&mut self, tensor: TensorId, readers: &[usize]) -> Option<TensorId> {
        match self.layers[tensor].0 {
            Layer::Add { inputs, clamp } => {
                let [first, last] = [inputs[0].min(inputs[1]), inputs[0].max(inputs[1])];
                match &mut self.layers[last].0 {
                    Layer::Convolution {
                        residual: residual @ None,
                        clamp: unclamped @ Clamp::NONE,
                        ..
                    } if readers[last] == 1 => {
                        *residual = Some(ResidualInput {
                            tensor: first,
                            stride: 1,
                        });
                        *unclamped = clamp;
                        Some(last)
                    }
                    _ => None,
                }
            }
            Layer::Clamp { input, clamp } => match &mut self.layers[input].0 {
                Layer::Convolution {
                    clamp: unclamped @ Clamp::NONE,
                    ..
                }
                | Layer::Add {
                    clamp: unclamped @ Clamp::NONE,
                    ..
                } if readers[input] == 1 => {
                    *unclamped = clamp;
                    Some(input)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Drops layers whose tensor no layer and no output reads, and renumbers the tensors.
    fn drop_unread(&mut self) {
        let mut is_read = vec![false; self.layers.len()];
        for (tensor, _) in &self.outputs {
            is_read[*tensor] = true;
        }
        for tensor in (0..self.layers.len()).rev() {
            if is_read[tensor] {
                for input in self.layers[tensor].0.inputs() {
                    is_read[input] = true;
                }
            }
        }
        // Unread tensors keep a number that no layer has, so that a use of one cannot go unnoticed.
        let mut number = vec![TensorId::MAX; self.layers.len()];
        let mut kept = Vec::new();
        for (tensor, mut layer) in mem::take(&mut self.layers).into_iter().enumerate() {
            if is_read[tensor] {
                layer.0.renumber(|input| number[input]);
                number[tensor] = kept.len();
                kept.push(layer);
            }
        }
        self.layers = kept;
        for (tensor, _) in &mut self.outputs {
            *tensor = number[*tensor];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{convolution, input, network, shape};

    const RELU: Clamp = Clamp::RELU;

    #[test]
    fn a_sum_and_its_clamp_become_the_epilogue_of_the_convolution() {
        let add = Layer::Add {
            inputs: [1, 0],
            clamp: Clamp::NONE,
        };
        let clamp = Layer::Clamp {
            input: 2,
            clamp: RELU,
        };
        let mut network = network([input(), convolution(0, 1), add, clamp], 8);
        network.fuse();

        let [
            _,
            (
                Layer::Convolution {
                    residual, clamp, ..
                },
                _,
            ),
        ] = &network.layers[..]
        else {
            panic!("{network:?}");
        };
        let expected = ResidualInput {
            tensor: 0,
            stride: 1,
        };
        assert_eq!((*residual, *clamp), (Some(expected), RELU));
        assert_eq!(network.outputs[0].0, 1);
    }

    #[test]
    fn a_convolution_with_a_second_reader_is_left_alone() {
        let add = Layer::Add {
            inputs: [0, 1],
            clamp: Clamp::NONE,
        };
        let mut network = network([input(), convolution(0, 1), add], 8);
        network.outputs.push((1, vec![1, 16, 8, 8]));
        let before = network.clone();
        network.fuse();
        assert_eq!(network, before);
    }

    #[test]
    fn a_second_clamp_stays_a_layer() {
        let first = Layer::Clamp {
            input: 1,
            clamp: RELU,
        };
        let second = Layer::Clamp {
            input: 2,
            clamp: Clamp {
                low: None,
                high: Some(6.0),
            },
        };
        let mut network = network([input(), convolution(0, 1), first, second], 8);
        network.fuse();
        assert_eq!(network.layers.len(), 3);
        assert!(matches!(network.layers[2].0, Layer::Clamp { input: 1, .. }));
    }

    #[test]
    fn layers_that_nothing_reads_are_dropped() {
        let mut network = network([input(), convolution(0, 1), convolution(0, 1)], 8);
        network.fuse();
        assert_eq!(network.layers.len(), 2);
        assert_eq!(network.outputs, [(1, vec![1, 16, 8, 8])]);
        assert_eq!(network.shape(1), shape(8));
    }
}
