//! Networks of random shapes: what the passes make of them, and the kernels on every instruction set, against an
//! interpreter in double precision.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use moth_engine::{
    isa::Isa,
    kernel::{Floats, Runnable, Weights},
    lower::lower,
    network::{Layer, Network, Padding, Shape, Value},
    program::{Clamp, Order},
};
use proptest::prelude::*;

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Numbers between −1 and 1.
    fn floats(&mut self, length: usize) -> Vec<f32> {
        (0..length)
            .map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
            .collect()
    }
}

/// A picture in double precision: channels, rows, columns.
#[derive(Clone, Debug, PartialEq)]
struct Picture {
    shape: Shape,
    values: Vec<f64>,
}

impl Picture {
    fn of(shape: Shape, at: impl Fn(usize, usize, usize) -> f64) -> Self {
        let mut values = Vec::new();
        for c in 0..shape.channels {
            for y in 0..shape.height {
                for x in 0..shape.width {
                    values.push(at(c, y, x));
                }
            }
        }
        Self { shape, values }
    }

    /// 0 outside.
    fn at(&self, c: usize, y: isize, x: isize) -> f64 {
        let Shape { height, width, .. } = self.shape;
        let inside = |at: isize, size: usize| usize::try_from(at).ok().filter(|&at| at < size);
        match (inside(y, height), inside(x, width)) {
            (Some(y), Some(x)) => self.values[(c * height + y) * width + x],
            _ => 0.0,
        }
    }
}

fn clamped(value: f64, clamp: Clamp) -> f64 {
    let [low, high] = clamp.ends().map(f64::from);
    value.max(low).min(high)
}

/// What each layer makes.
fn interpret(network: &Network, input: &[f32]) -> Vec<Picture> {
    let mut made: Vec<Picture> = Vec::new();
    for (layer, shape) in &network.layers {
        let picture = match layer {
            Layer::Input { order, .. } => Picture::of(*shape, |c, y, x| {
                f64::from(match order {
                    Order::Nhwc => input[(y * shape.width + x) * shape.channels + c],
                    Order::Nchw => input[(c * shape.height + y) * shape.width + x],
                })
            }),
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
                let input = &made[*input];
                Picture::of(*shape, |c, y, x| {
                    let mut sum = f64::from(bias[c]);
                    for i in 0..input.shape.channels {
                        for ky in 0..kernel[0] {
                            for kx in 0..kernel[1] {
                                let at = ((c * input.shape.channels + i) * kernel[0] + ky)
                                    * kernel[1]
                                    + kx;
                                let row =
                                    (y * stride[0] + ky) as isize - padding.before[0] as isize;
                                let column =
                                    (x * stride[1] + kx) as isize - padding.before[1] as isize;
                                sum += f64::from(weights[at]) * input.at(i, row, column);
                            }
                        }
                    }
                    if let Some((value, stride)) = residual {
                        sum += made[*value].at(c, (y * stride) as isize, (x * stride) as isize);
                    }
                    clamped(sum, *clamp)
                })
            }
            Layer::MaxPool {
                input,
                kernel,
                stride,
                padding,
            } => {
                let input = &made[*input];
                Picture::of(*shape, |c, y, x| {
                    let places =
                        (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx)));
                    let values = places.map(|(ky, kx)| {
                        let row = (y * stride[0] + ky) as isize - padding.before[0] as isize;
                        let column = (x * stride[1] + kx) as isize - padding.before[1] as isize;
                        input.at(c, row, column)
                    });
                    values.fold(f64::NEG_INFINITY, f64::max)
                })
            }
            Layer::Mean { input } => {
                let input = &made[*input];
                let pixels = input.shape.height * input.shape.width;
                Picture::of(*shape, |c, _, _| {
                    input.values[c * pixels..][..pixels].iter().sum::<f64>() / pixels as f64
                })
            }
            Layer::Add { inputs, clamp } => Picture::of(*shape, |c, y, x| {
                let [a, b] = inputs.map(|value| made[value].at(c, y as isize, x as isize));
                clamped(a + b, *clamp)
            }),
            Layer::Clamp { input, clamp } => Picture::of(*shape, |c, y, x| {
                clamped(made[*input].at(c, y as isize, x as isize), *clamp)
            }),
            Layer::Softmax { input } => {
                let input = &made[*input];
                let exponentials: Vec<f64> = input.values.iter().map(|value| value.exp()).collect();
                let sum: f64 = exponentials.iter().sum();
                Picture::of(*shape, |c, _, _| exponentials[c] / sum)
            }
        };
        made.push(picture);
    }
    made
}

fn outputs(network: &Network, input: &[f32]) -> Vec<f64> {
    let made = interpret(network, input);
    let outputs = network.outputs.iter();
    outputs
        .flat_map(|(value, _)| made[*value].values.clone())
        .collect()
}

/// What to add next.
#[derive(Debug, Clone)]
enum Next {
    Convolution {
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
        relu: bool,
    },
    /// A block of a ResNet, with or without a stride at its head and a convolution on its shortcut.
    Block {
        channels: usize,
        stride: usize,
        projects: bool,
    },
    /// Two convolutions, of which the second is added to their sum once more.
    Diamond,
    MaxPool {
        kernel: usize,
        stride: usize,
        padding: usize,
    },
    Clamp {
        low: Option<i8>,
        high: Option<i8>,
    },
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        4 => (1..40usize, [1..5usize, 1..5usize], 1..4usize, [0..3usize, 0..3usize], any::<bool>()).prop_map(
            |(channels, kernel, stride, padding, relu)| Next::Convolution { channels, kernel, stride, padding, relu }
        ),
        // What Winograd's algorithm takes, and what strides are pulled out of.
        3 => (1..40usize, any::<bool>()).prop_map(|(channels, relu)| Next::Convolution {
            channels, kernel: [3, 3], stride: 1, padding: [1, 1], relu,
        }),
        3 => (1..24usize, 1..3usize, any::<bool>())
            .prop_map(|(channels, stride, projects)| Next::Block { channels, stride, projects }),
        1 => Just(Next::Diamond),
        1 => (1..4usize, 1..3usize, 0..2usize)
            .prop_map(|(kernel, stride, padding)| Next::MaxPool { kernel, stride, padding }),
        1 => (prop::option::of(-1..1i8), prop::option::of(1..3i8))
            .prop_map(|(low, high)| Next::Clamp { low, high }),
    ]
}

/// Grows a network; what does not fit any more is left out.
struct Builder {
    network: Network,
    random: Random,
}

impl Builder {
    fn shape(&self, value: Value) -> Shape {
        self.network.layers[value].1
    }

    /// Rows and columns of windows, if there are any.
    fn windows(
        shape: Shape,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<[usize; 2]> {
        let size = |size: usize, axis: usize| {
            let room = (size + 2 * padding[axis]).checked_sub(kernel[axis])?;
            (padding[axis] < kernel[axis]).then_some(room / stride + 1)
        };
        Some([size(shape.height, 0)?, size(shape.width, 1)?])
    }

    fn convolution(
        &mut self,
        input: Value,
        channels: usize,
        kernel: [usize; 2],
        stride: usize,
        padding: [usize; 2],
    ) -> Option<Value> {
        let shape = self.shape(input);
        let [height, width] = Self::windows(shape, kernel, stride, padding)?;
        let inputs = shape.channels * kernel[0] * kernel[1];
        // Sums stay about as large as what they are of.
        let scale = 1.7 / (inputs as f32).sqrt();
        let weights = self.random.floats(channels * inputs);
        let layer = Layer::Convolution {
            input,
            weights: weights.iter().map(|weight| weight * scale).collect(),
            bias: self.random.floats(channels).into(),
            kernel,
            stride: [stride; 2],
            padding: Padding {
                before: padding,
                after: padding,
            },
            residual: None,
            clamp: Clamp::NONE,
        };
        let shape = Shape {
            channels,
            height,
            width,
        };
        Some(self.network.push(layer, shape))
    }

    fn clamp(&mut self, input: Value, clamp: Clamp) -> Value {
        let shape = self.shape(input);
        self.network.push(Layer::Clamp { input, clamp }, shape)
    }

    fn push(&mut self, next: &Next) -> Option<()> {
        let last = self.network.layers.len() - 1;
        match *next {
            Next::Convolution {
                channels,
                kernel,
                stride,
                padding,
                relu,
            } => {
                let made = self.convolution(last, channels, kernel, stride, padding)?;
                if relu {
                    self.clamp(made, Clamp::RELU);
                }
            }
            Next::Block {
                channels,
                stride,
                projects,
            } => {
                let before = self.shape(last).channels;
                let projects = projects || stride > 1;
                let outputs = if projects { channels + 3 } else { before };
                let shortcut = match projects {
                    true => self.convolution(last, outputs, [1, 1], stride, [0, 0])?,
                    false => last,
                };
                let first = self.convolution(last, channels, [1, 1], stride, [0, 0])?;
                let first = self.clamp(first, Clamp::RELU);
                let second = self.convolution(first, channels, [3, 3], 1, [1, 1])?;
                let second = self.clamp(second, Clamp::RELU);
                let third = self.convolution(second, outputs, [1, 1], 1, [0, 0])?;
                let shape = self.shape(third);
                let inputs = [shortcut, third];
                let clamp = Clamp::NONE;
                let sum = self.network.push(Layer::Add { inputs, clamp }, shape);
                self.clamp(sum, Clamp::RELU);
            }
            Next::Diamond => {
                let a = self.convolution(last, 9, [1, 1], 1, [0, 0])?;
                let b = self.convolution(last, 9, [1, 1], 1, [0, 0])?;
                let (shape, clamp) = (self.shape(b), Clamp::NONE);
                let inputs = [a, b];
                let sum = self.network.push(Layer::Add { inputs, clamp }, shape);
                let inputs = [b, sum];
                self.network.push(Layer::Add { inputs, clamp }, shape);
            }
            Next::MaxPool {
                kernel,
                stride,
                padding,
            } => {
                let shape = self.shape(last);
                let [height, width] = Self::windows(shape, [kernel; 2], stride, [padding; 2])?;
                let layer = Layer::MaxPool {
                    input: last,
                    kernel: [kernel; 2],
                    stride: [stride; 2],
                    padding: Padding {
                        before: [padding; 2],
                        after: [padding; 2],
                    },
                };
                self.network.push(
                    layer,
                    Shape {
                        height,
                        width,
                        ..shape
                    },
                );
            }
            Next::Clamp { low, high } => {
                let [low, high] = [low, high].map(|end| end.map(f32::from));
                self.clamp(last, Clamp { low, high });
            }
        }
        Some(())
    }
}

prop_compose! {
    /// A network, and an input.
    fn networks()(
        seed in any::<u64>(),
        channels in prop_oneof![Just(3usize), 1..40usize],
        height in 1..34usize,
        width in prop_oneof![Just(7usize), Just(14), Just(28), 1..34usize],
        is_nhwc in any::<bool>(),
        more in prop::collection::vec(next(), 1..6),
        has_tail in any::<bool>(),
    ) -> (Network, Vec<f32>) {
        let shape = Shape { channels, height, width };
        let order = if is_nhwc { Order::Nhwc } else { Order::Nchw };
        let mut builder = Builder { network: Network::default(), random: Random(seed) };
        builder.network.push(Layer::Input { index: 0, order }, shape);
        for next in &more {
            builder.push(next);
        }
        let mut last = builder.network.layers.len() - 1;
        if has_tail {
            let shape = Shape { height: 1, width: 1, ..builder.shape(last) };
            last = builder.network.push(Layer::Mean { input: last }, shape);
            last = builder.convolution(last, 5, [1, 1], 1, [0, 0]).unwrap();
            let shape = builder.shape(last);
            last = builder.network.push(Layer::Softmax { input: last }, shape);
        }
        let shape = builder.shape(last);
        builder.network.outputs.push((last, vec![1, shape.channels, shape.height, shape.width]));
        let input = builder.random.floats(channels * height * width);
        (builder.network, input)
    }
}

fn run(network: &Network, input: &[f32], isa: Isa, threads: usize) -> Vec<f32> {
    let (program, weights) = lower(network);
    let mut floats = Floats::zeroed(weights.len());
    floats.as_mut_slice().copy_from_slice(&weights);
    let runnable = Runnable::new(program, Weights::Owned(floats), isa).unwrap();
    let length = runnable.program().outputs[0].iter().product();
    // The second run finds what the first left in memory.
    let mut both = [(); 2].map(|()| {
        let mut output = vec![f32::NAN; length];
        runnable.run(&[input], &mut [&mut output], threads);
        output
    });
    assert_eq!(both[0], both[1]);
    std::mem::take(&mut both[0])
}

/// The largest difference, as a share of the largest value.
fn difference(ours: &[f32], exact: &[f64]) -> f64 {
    assert_eq!(ours.len(), exact.len());
    let largest = exact
        .iter()
        .fold(1e-3, |largest: f64, value| largest.max(value.abs()));
    let differences =
        std::iter::zip(ours, exact).map(|(ours, exact)| (f64::from(*ours) - exact).abs());
    differences.fold(0.0, |largest: f64, value| {
        assert!(!value.is_nan());
        largest.max(value)
    }) / largest
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_passes_change_no_output((mut network, input) in networks()) {
        let exact = outputs(&network, &input);
        network.fuse();
        prop_assert_eq!(&outputs(&network, &input), &exact);
        network.pull_strides();
        prop_assert_eq!(&outputs(&network, &input), &exact);
    }

    #[test]
    fn kernels_compute_what_the_layers_say((mut network, input) in networks(), threads in 1..4usize) {
        let exact = outputs(&network, &input);
        let here = || Isa::ALL.into_iter().filter(|isa| isa.is_here());
        for isa in here() {
            let off = difference(&run(&network, &input, isa, threads), &exact);
            prop_assert!(off < 2e-4, "{}: {}", isa, off);
        }
        network.fuse();
        network.pull_strides();
        for isa in here() {
            let off = difference(&run(&network, &input, isa, threads), &exact);
            prop_assert!(off < 2e-4, "{}, rewritten: {}", isa, off);
        }
    }
}

/// Winograd's algorithm loses some bits: how many, beside the direct way.
#[test]
fn winograd_is_off_by_little() {
    // Tiles of 4×4, and of 2×2.
    for size in [56, 14] {
        let [winograd, direct] = both_ways(size);
        println!(
            "{size}×{size}: off by {winograd:.1e} of the largest value, the direct way by {direct:.1e}"
        );
        assert!(winograd < 1e-5 && direct < 2e-6);
    }
}

fn both_ways(size: usize) -> [f64; 2] {
    let mut builder = Builder {
        network: Network::default(),
        random: Random(5),
    };
    let shape = Shape {
        channels: 64,
        height: size,
        width: size,
    };
    let order = Order::Nchw;
    let input = builder
        .network
        .push(Layer::Input { index: 0, order }, shape);
    let made = builder.convolution(input, 64, [3, 3], 1, [1, 1]).unwrap();
    builder
        .network
        .outputs
        .push((made, vec![1, 64, size, size]));
    let values = builder.random.floats(64 * size * size);
    let exact = outputs(&builder.network, &values);
    let winograd = difference(&run(&builder.network, &values, Isa::detect(), 1), &exact);

    // A residual of zeros keeps it from Winograd's algorithm.
    let Layer::Convolution { residual, .. } = &mut builder.network.layers[made].0 else {
        unreachable!()
    };
    *residual = Some((input, 1));
    let Layer::Convolution { weights, .. } = &mut builder.network.layers[made].0 else {
        unreachable!()
    };
    // And takes the input away again: 1 less at the middle of the window of its own channel.
    let mut less: Vec<f32> = weights.to_vec();
    for channel in 0..64 {
        less[(channel * 64 + channel) * 9 + 4] -= 1.0;
    }
    *weights = Arc::from(less);
    let direct = difference(&run(&builder.network, &values, Isa::detect(), 1), &exact);
    [winograd, direct]
}
