//! An interpreter of networks in double precision.

use moth_engine::{
    network::{Layer, Network, ResidualInput, Shape},
    program::{Clamp, TensorLayout},
};

/// A tensor in double precision. The axes of its values are channels, rows, columns.
#[derive(Clone, Debug, PartialEq)]
struct Reference {
    shape: Shape,
    values: Vec<f64>,
}

impl Reference {
    fn from_fn(shape: Shape, at: impl Fn(usize, usize, usize) -> f64) -> Self {
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

    /// A value; 0 in the padding.
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
    let [low, high] = clamp.bounds().map(f64::from);
    value.max(low).min(high)
}

/// The tensor that each layer produces.
fn interpret(network: &Network, input: &[f32]) -> Vec<Reference> {
    let mut tensors: Vec<Reference> = Vec::new();
    for (layer, shape) in &network.layers {
        let tensor = match layer {
            Layer::Input { layout, .. } => Reference::from_fn(*shape, |c, y, x| {
                f64::from(match layout {
                    TensorLayout::Nhwc => input[(y * shape.width + x) * shape.channels + c],
                    TensorLayout::Nchw => input[(c * shape.height + y) * shape.width + x],
                })
            }),
            Layer::Convolution { .. } => convolution(layer, *shape, &tensors),
            Layer::MaxPool {
                input,
                kernel,
                stride,
                padding,
            } => {
                let input = &tensors[*input];
                Reference::from_fn(*shape, |c, y, x| {
                    let pixels =
                        (0..kernel[0]).flat_map(|ky| (0..kernel[1]).map(move |kx| (ky, kx)));
                    let values = pixels.map(|(ky, kx)| {
                        let row = (y * stride[0] + ky) as isize - padding.before[0] as isize;
                        let column = (x * stride[1] + kx) as isize - padding.before[1] as isize;
                        input.at(c, row, column)
                    });
                    values.fold(f64::NEG_INFINITY, f64::max)
                })
            }
            Layer::GlobalAveragePool { input } => {
                let input = &tensors[*input];
                let pixels = input.shape.height * input.shape.width;
                Reference::from_fn(*shape, |c, _, _| {
                    input.values[c * pixels..][..pixels].iter().sum::<f64>() / pixels as f64
                })
            }
            Layer::Add { inputs, clamp } => Reference::from_fn(*shape, |c, y, x| {
                let [a, b] = inputs.map(|input| tensors[input].at(c, y as isize, x as isize));
                clamped(a + b, *clamp)
            }),
            Layer::Clamp { input, clamp } => Reference::from_fn(*shape, |c, y, x| {
                clamped(tensors[*input].at(c, y as isize, x as isize), *clamp)
            }),
            Layer::Softmax { input } => {
                let input = &tensors[*input];
                let exponentials: Vec<f64> = input.values.iter().map(|value| value.exp()).collect();
                let sum: f64 = exponentials.iter().sum();
                Reference::from_fn(*shape, |c, _, _| exponentials[c] / sum)
            }
        };
        tensors.push(tensor);
    }
    tensors
}

/// The tensor that a convolution produces.
fn convolution(layer: &Layer, shape: Shape, tensors: &[Reference]) -> Reference {
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
        unreachable!("the layer is a convolution")
    };
    let input = &tensors[*input];
    let inputs = input.shape.channels;
    Reference::from_fn(shape, |c, y, x| {
        let mut sum = f64::from(bias[c]);
        for i in 0..inputs {
            for ky in 0..kernel[0] {
                for kx in 0..kernel[1] {
                    let at = ((c * inputs + i) * kernel[0] + ky) * kernel[1] + kx;
                    let row = (y * stride[0] + ky) as isize - padding.before[0] as isize;
                    let column = (x * stride[1] + kx) as isize - padding.before[1] as isize;
                    sum += f64::from(weights[at]) * input.at(i, row, column);
                }
            }
        }
        if let Some(ResidualInput { tensor, stride }) = residual {
            let (y, x) = ((y * stride) as isize, (x * stride) as isize);
            sum += tensors[*tensor].at(c, y, x);
        }
        clamped(sum, *clamp)
    })
}

/// All outputs of the network, one after the other.
pub(crate) fn outputs(network: &Network, input: &[f32]) -> Vec<f64> {
    let tensors = interpret(network, input);
    let outputs = network.outputs.iter();
    outputs
        .flat_map(|(tensor, _)| tensors[*tensor].values.clone())
        .collect()
}
