//! Lowering: a network becomes a program. Feature maps get a halo and an offset in the arena, weights are packed.

mod arena;

use crate::{
    network::{Layer, Network, Padding, ResidualInput, Shape, TensorId},
    pack::{self, Filter},
    program::{
        BLOCK, Clamp, DirectConvolution, FeatureMap, Halo, Operation, Program, Residual,
        TensorLayout, Window, WinogradConvolution,
    },
    validate::NetworkError,
};

/// Fewest tiles for Winograd's algorithm. With fewer, its larger weights cost more memory traffic than its products
/// save.
const MIN_WINOGRAD_TILES: usize = 40;
/// Most tiles in one work item of Winograd's algorithm. More tiles reuse the weights more often, but the workspace
/// has to stay in a core's L2 cache.
const MAX_WINOGRAD_TILES: usize = 98;

/// Lowers a network to its program and its packed weights.
///
/// # Errors
///
/// A [`NetworkError`] if the network is not valid.
pub fn lower(network: &Network) -> Result<(Program, Vec<f32>), NetworkError> {
    network.validate()?;
    Ok(Lowering::new(network).run())
}

struct Lowering<'a> {
    network: &'a Network,
    /// By tensor.
    feature_maps: Vec<FeatureMap>,
    weights: Vec<f32>,
}

impl<'a> Lowering<'a> {
    fn new(network: &'a Network) -> Self {
        let feature_maps = network.layers.iter().enumerate();
        let feature_maps = feature_maps.map(|(tensor, (layer, shape))| {
            // A channel block would be mostly empty. Only the direct convolution reads fewer lanes.
            let is_narrow = matches!(
                layer,
                Layer::Input {
                    layout: TensorLayout::Nhwc,
                    ..
                }
            ) && shape.channels <= BLOCK / 2
                && !network.is_output(tensor)
                && network
                    .layers
                    .iter()
                    .all(|(reader, _)| allows_few_lanes(reader, tensor));
            let lanes = if is_narrow { shape.channels } else { BLOCK };
            FeatureMap {
                offset: 0,
                blocks: shape.channels.div_ceil(lanes),
                lanes,
                height: shape.height,
                width: shape.width,
                halo: Halo::default(),
            }
        });
        Self {
            network,
            feature_maps: feature_maps.collect(),
            weights: Vec::new(),
        }
    }

    fn run(mut self) -> (Program, Vec<f32>) {
        self.assign_halos();
        let arena_len = arena::assign_offsets(self.network, &mut self.feature_maps);
        let mut operations = Vec::new();
        let mut inputs = Vec::new();
        for (tensor, (layer, shape)) in self.network.layers.iter().enumerate() {
            if let Layer::Input { index, layout } = layer {
                inputs.push((*index, input_shape(*shape, *layout)));
            }
            operations.push(self.operation(tensor, layer, *shape));
        }
        // Validation found the indices to be 0, 1, 2 and so on.
        inputs.sort();
        let mut outputs = Vec::new();
        for (output, (tensor, shape)) in self.network.outputs.iter().enumerate() {
            outputs.push(shape.clone());
            operations.push(Operation::Store {
                input: self.feature_maps[*tensor],
                channels: self.network.shape(*tensor).channels,
                output,
            });
        }
        let program = Program {
            inputs: inputs.into_iter().map(|(_, shape)| shape).collect(),
            outputs,
            operations,
            arena_len,
            weights_len: self.weights.len(),
        };
        (program, self.weights)
    }

    /// Gives each feature map a halo as wide as windows reach beyond it.
    fn assign_halos(&mut self) {
        for (tensor, (layer, shape)) in self.network.layers.iter().enumerate() {
            let (input, padding, kernel, stride) = match layer {
                Layer::Convolution {
                    input,
                    padding,
                    kernel,
                    stride,
                    ..
                }
                | Layer::MaxPool {
                    input,
                    padding,
                    kernel,
                    stride,
                } => (*input, padding, kernel, stride),
                _ => continue,
            };
            // Winograd's algorithm also reads the input of outputs that only fill up the last tile.
            let tile = self.winograd_tile(tensor).unwrap_or(1);
            let FeatureMap { height, width, .. } = self.feature_maps[input];
            let [below, right] = [(0, shape.height, height), (1, shape.width, width)].map(
                |(axis, outputs, inputs)| {
                    let outputs = outputs.next_multiple_of(tile);
                    let end = (outputs - 1) * stride[axis] + kernel[axis];
                    // 0 if the last window ends before the feature map does.
                    end.saturating_sub(padding.before[axis] + inputs)
                },
            );
            let halo = &mut self.feature_maps[input].halo;
            *halo = Halo {
                top: halo.top.max(padding.before[0]),
                left: halo.left.max(padding.before[1]),
                bottom: halo.bottom.max(below),
                right: halo.right.max(right),
            };
        }
    }

    /// Rows and columns of an output tile, for a layer that is computed by Winograd's algorithm.
    fn winograd_tile(&self, tensor: TensorId) -> Option<usize> {
        let (layer, shape) = &self.network.layers[tensor];
        match layer {
            Layer::Convolution {
                input,
                kernel: [3, 3],
                stride: [1, 1],
                residual: None,
                ..
            } if self.feature_maps[*input].lanes == BLOCK => {
                let tiles = |tile| shape.height.div_ceil(tile) * shape.width.div_ceil(tile);
                [4, 2]
                    .into_iter()
                    .find(|&tile| tiles(tile) >= MIN_WINOGRAD_TILES)
            }
            _ => None,
        }
    }

    fn operation(&mut self, tensor: TensorId, layer: &Layer, shape: Shape) -> Operation {
        let output = self.feature_maps[tensor];
        match layer {
            Layer::Input { index, layout } => Operation::Load {
                input: *index,
                layout: *layout,
                channels: shape.channels,
                output,
            },
            Layer::Convolution { .. } => self.convolution(tensor, layer, shape),
            Layer::MaxPool {
                input,
                kernel,
                stride,
                padding,
            } => {
                let input = self.feature_maps[*input];
                Operation::MaxPool {
                    input,
                    output,
                    window: Window {
                        kernel: *kernel,
                        stride: *stride,
                        origin: origin(&input, padding),
                    },
                    clamp: Clamp::NONE,
                }
            }
            Layer::Clamp { input, clamp } => self.clamp(*input, output, *clamp),
            Layer::GlobalAveragePool { input } => Operation::GlobalAveragePool {
                input: self.feature_maps[*input],
                output,
            },
            Layer::Add { inputs, clamp } => Operation::Add {
                input: self.feature_maps[inputs[0]],
                residual: Residual {
                    feature_map: self.feature_maps[inputs[1]],
                    stride: 1,
                },
                output,
                clamp: *clamp,
            },
            Layer::Softmax { input } => Operation::Softmax {
                input: self.feature_maps[*input],
                channels: shape.channels,
                output,
            },
        }
    }

    /// Packs the weights of a convolution, and chooses its algorithm.
    ///
    /// # Panics
    ///
    /// If the layer is not a convolution.
    fn convolution(&mut self, tensor: TensorId, layer: &Layer, shape: Shape) -> Operation {
        let Layer::Convolution {
            input,
            weights,
            bias,
            kernel,
            stride,
            padding,
            residual,
            clamp,
        } = layer
        else {
            unreachable!("`operation` calls this for convolutions only");
        };
        let (input_map, output) = (self.feature_maps[*input], self.feature_maps[tensor]);
        let filter = Filter {
            weights,
            outputs: shape.channels,
            inputs: self.network.shape(*input).channels,
            kernel: *kernel,
        };
        let tile = self.winograd_tile(tensor);
        let weights_offset = self.align();
        match tile {
            Some(tile) => pack::winograd(&filter, tile, &mut self.weights),
            None => pack::direct(&filter, input_map.lanes, &mut self.weights),
        }
        let bias_offset = self.align();
        self.weights.extend_from_slice(bias);
        // One bias for each channel, as validated, and zeros for those that fill up the last block.
        self.weights
            .resize(bias_offset + output.blocks * BLOCK, 0.0);
        let origin = origin(&input_map, padding);
        match tile {
            Some(output_tile) => Operation::Winograd(WinogradConvolution {
                output_tile,
                input: input_map,
                output,
                origin,
                weights_offset,
                bias_offset,
                clamp: *clamp,
                max_tiles: MAX_WINOGRAD_TILES,
            }),
            None => Operation::Direct(DirectConvolution {
                input: input_map,
                output,
                window: Window {
                    kernel: *kernel,
                    stride: *stride,
                    origin,
                },
                weights_offset,
                bias_offset,
                residual: residual.map(|ResidualInput { tensor, stride }| Residual {
                    feature_map: self.feature_maps[tensor],
                    stride,
                }),
                clamp: *clamp,
            }),
        }
    }

    /// A clamp on its own is the maximum over windows of one pixel.
    fn clamp(&self, input: TensorId, output: FeatureMap, clamp: Clamp) -> Operation {
        let input = self.feature_maps[input];
        Operation::MaxPool {
            input,
            output,
            window: Window {
                kernel: [1, 1],
                stride: [1, 1],
                origin: origin(&input, &Padding::default()),
            },
            clamp,
        }
    }

    /// Fills the weights up to the next cache line, and returns the offset.
    fn align(&mut self) -> usize {
        let offset = self.weights.len().next_multiple_of(BLOCK);
        self.weights.resize(offset, 0.0);
        offset
    }
}

fn input_shape(shape: Shape, layout: TensorLayout) -> Vec<usize> {
    match layout {
        TensorLayout::Nhwc => vec![1, shape.height, shape.width, shape.channels],
        TensorLayout::Nchw => vec![1, shape.channels, shape.height, shape.width],
    }
}

/// Row and column at which the first window begins, in a feature map with its halo. The halo is at least as wide as
/// the padding.
fn origin(input: &FeatureMap, padding: &Padding) -> [usize; 2] {
    [
        input.halo.top - padding.before[0],
        input.halo.left - padding.before[1],
    ]
}

/// Whether `tensor` may have fewer lanes than [`BLOCK`] for this layer: the layer does not read it, or only as the
/// input of a convolution.
fn allows_few_lanes(layer: &Layer, tensor: TensorId) -> bool {
    match layer {
        Layer::Convolution { residual, .. } => {
            residual.is_none_or(|residual| residual.tensor != tensor)
        }
        layer => !layer.inputs().contains(&tensor),
    }
}

#[cfg(test)]
mod tests;
