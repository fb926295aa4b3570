//! A network becomes a program: planes get their halo and their place in the arena, weights their order.

use crate::{
    network::{Layer, Network, Padding, Shape, Value},
    pack,
    program::{
        BLOCK, Clamp, Convolution, Halo, Order, Plane, Program, Residual, Step, Window, Winograd,
    },
};

/// With fewer tiles Winograd's larger weights cost more to read than its products save.
const WINOGRAD_TILES: usize = 40;
/// Tiles that are worked on together: the more, the more often weights are used that were read once; and their
/// workspace is to stay in a core's cache.
const WINOGRAD_TOGETHER: usize = 98;

/// The program of a network and its weights.
pub fn lower(network: &Network) -> (Program, Vec<f32>) {
    Lowering::new(network).run()
}

struct Lowering<'a> {
    network: &'a Network,
    planes: Vec<Plane>,
    weights: Vec<f32>,
}

impl<'a> Lowering<'a> {
    fn new(network: &'a Network) -> Self {
        let mut planes: Vec<Plane> = network
            .layers
            .iter()
            .map(|(_, shape)| plane(*shape, BLOCK))
            .collect();
        // Pictures of few channels that only convolutions read stay as they are: a block would be mostly empty.
        for (value, (layer, shape)) in network.layers.iter().enumerate() {
            if let Layer::Input {
                order: Order::Nhwc, ..
            } = layer
                && shape.channels <= BLOCK / 2
                && network
                    .layers
                    .iter()
                    .all(|(reader, _)| reads_by_convolution(reader, value))
                && !network.is_output(value)
            {
                planes[value] = plane(*shape, shape.channels);
            }
        }
        Self {
            network,
            planes,
            weights: Vec::new(),
        }
    }

    fn run(mut self) -> (Program, Vec<f32>) {
        self.give_halos();
        let arena = self.give_places();
        let mut steps = Vec::new();
        let mut inputs = Vec::new();
        for (value, (layer, shape)) in self.network.layers.iter().enumerate() {
            if let Layer::Input { index, order } = layer {
                inputs.push((*index, input_shape(*shape, *order)));
            }
            let step = self.step(value, layer, *shape);
            steps.push(step);
        }
        inputs.sort();
        let mut outputs = Vec::new();
        for (output, (value, shape)) in self.network.outputs.iter().enumerate() {
            outputs.push(shape.clone());
            steps.push(Step::Store {
                input: self.planes[*value],
                channels: self.network.layers[*value].1.channels,
                output,
            });
        }
        let program = Program {
            inputs: inputs.into_iter().map(|(_, shape)| shape).collect(),
            outputs,
            steps,
            arena,
            weights: self.weights.len(),
        };
        (program, self.weights)
    }

    /// What windows reach beyond a picture becomes its halo.
    fn give_halos(&mut self) {
        for (value, (layer, shape)) in self.network.layers.iter().enumerate() {
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
            let tile = self.winograd_tile(value).unwrap_or(1);
            let Plane { height, width, .. } = self.planes[input];
            let [below, right] = [(0, shape.height, height), (1, shape.width, width)].map(
                |(axis, outputs, inputs)| {
                    let outputs = outputs.next_multiple_of(tile);
                    let last = (outputs - 1) * stride[axis] + kernel[axis];
                    last.saturating_sub(padding.before[axis] + inputs)
                },
            );
            let halo = &mut self.planes[input].halo;
            *halo = Halo {
                top: halo.top.max(padding.before[0]),
                left: halo.left.max(padding.before[1]),
                bottom: halo.bottom.max(below),
                right: halo.right.max(right),
            };
        }
    }

    /// Gives each plane the first place that is free from its layer to its last reader; tells how long the arena is.
    fn give_places(&mut self) -> usize {
        let layers = self.network.layers.len();
        let mut last = vec![0; layers];
        for (reader, (layer, _)) in self.network.layers.iter().enumerate() {
            last[reader] = last[reader].max(reader);
            for value in layer.clone().inputs() {
                last[*value] = reader;
            }
        }
        for (value, _) in &self.network.outputs {
            last[*value] = layers;
        }
        let mut taken: Vec<Value> = Vec::new();
        let mut arena = 0;
        for value in 0..layers {
            taken.retain(|&other| last[other] >= value);
            taken.sort_by_key(|&other| self.planes[other].offset);
            // Planes begin on a cache line.
            let length = self.planes[value].len().next_multiple_of(BLOCK);
            let mut offset = 0;
            for &other in &taken {
                let other = &self.planes[other];
                if offset + length <= other.offset {
                    break;
                }
                offset = other.offset + other.len().next_multiple_of(BLOCK);
            }
            self.planes[value].offset = offset;
            arena = arena.max(offset + length);
            taken.push(value);
        }
        arena
    }

    /// The outputs of a tile, each way, of a layer that is computed by Winograd's algorithm.
    fn winograd_tile(&self, value: Value) -> Option<usize> {
        let (layer, shape) = &self.network.layers[value];
        match layer {
            Layer::Convolution {
                input,
                kernel: [3, 3],
                stride: [1, 1],
                residual: None,
                ..
            } => {
                let tiles = |tile| shape.height.div_ceil(tile) * shape.width.div_ceil(tile);
                let is_blocked = self.planes[*input].lanes == BLOCK;
                [4, 2]
                    .into_iter()
                    .find(|&tile| is_blocked && tiles(tile) >= WINOGRAD_TILES)
            }
            _ => None,
        }
    }

    fn step(&mut self, value: Value, layer: &Layer, shape: Shape) -> Step {
        let output = self.planes[value];
        match layer {
            Layer::Input { index, order } => Step::Load {
                input: *index,
                order: *order,
                channels: shape.channels,
                output,
            },
            Layer::Convolution {
                input,
                weights,
                bias,
                kernel,
                stride,
                padding,
                residual,
                clamp,
            } => {
                let plane = self.planes[*input];
                let given = pack::Weights {
                    values: weights,
                    outputs: shape.channels,
                    inputs: self.network.layers[*input].1.channels,
                    kernel: *kernel,
                };
                let tile = self.winograd_tile(value);
                let start = self.align();
                match tile {
                    Some(tile) => pack::winograd(&given, tile, &mut self.weights),
                    None => pack::direct(&given, plane.lanes, &mut self.weights),
                }
                let bias_start = self.align();
                self.weights.extend_from_slice(bias);
                self.weights.resize(bias_start + output.blocks * BLOCK, 0.0);
                let origin = origin(&plane, padding);
                if let Some(tile) = tile {
                    return Step::Winograd(Winograd {
                        tile,
                        input: plane,
                        output,
                        origin,
                        weights: start,
                        bias: bias_start,
                        clamp: *clamp,
                        together: WINOGRAD_TOGETHER,
                    });
                }
                Step::Convolution(Convolution {
                    input: plane,
                    output,
                    window: Window {
                        kernel: *kernel,
                        stride: *stride,
                        origin,
                    },
                    weights: start,
                    bias: bias_start,
                    residual: residual.map(|(value, stride)| Residual {
                        plane: self.planes[value],
                        stride,
                    }),
                    clamp: *clamp,
                })
            }
            Layer::MaxPool {
                input,
                kernel,
                stride,
                padding,
            } => {
                let input = self.planes[*input];
                Step::MaxPool {
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
            Layer::Clamp { input, clamp } => self.each(*input, output, *clamp),
            Layer::Mean { input } => Step::Mean {
                input: self.planes[*input],
                output,
            },
            Layer::Add { inputs, clamp } => Step::Add {
                input: self.planes[inputs[0]],
                residual: Residual {
                    plane: self.planes[inputs[1]],
                    stride: 1,
                },
                output,
                clamp: *clamp,
            },
            Layer::Softmax { input } => Step::Softmax {
                input: self.planes[*input],
                channels: shape.channels,
                output,
            },
        }
    }

    /// Every pixel on its own: the largest of one.
    fn each(&self, input: Value, output: Plane, clamp: Clamp) -> Step {
        let input = self.planes[input];
        Step::MaxPool {
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

    /// Where the next weights begin: on a cache line.
    fn align(&mut self) -> usize {
        let start = self.weights.len().next_multiple_of(BLOCK);
        self.weights.resize(start, 0.0);
        start
    }
}

fn plane(shape: Shape, lanes: usize) -> Plane {
    Plane {
        offset: 0,
        blocks: shape.channels.div_ceil(lanes),
        lanes,
        height: shape.height,
        width: shape.width,
        halo: Halo::default(),
    }
}

fn input_shape(shape: Shape, order: Order) -> Vec<usize> {
    match order {
        Order::Nhwc => vec![1, shape.height, shape.width, shape.channels],
        Order::Nchw => vec![1, shape.channels, shape.height, shape.width],
    }
}

/// Where the first window begins in a plane with its halo.
fn origin(plane: &Plane, padding: &Padding) -> [usize; 2] {
    [
        plane.halo.top - padding.before[0],
        plane.halo.left - padding.before[1],
    ]
}

/// Whether a layer does not read a value at all, or only as the input of a convolution.
fn reads_by_convolution(layer: &Layer, value: Value) -> bool {
    match layer {
        Layer::Convolution {
            input, residual, ..
        } => *input == value || residual.is_none_or(|(residual, _)| residual != value),
        layer => !layer
            .clone()
            .inputs()
            .into_iter()
            .any(|input| *input == value),
    }
}
