//! An interpreter of graphs in double precision.

use moth_engine::{
    activation::{Activation, Curve},
    graph::{Affine, Convolution, Graph, Node, Op, Padding, Pool, Reduction, Shape},
    program::TensorLayout,
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

    /// A value; `None` outside.
    fn get(&self, c: usize, y: isize, x: isize) -> Option<f64> {
        let Shape { height, width, .. } = self.shape;
        let inside = |at: isize, size: usize| usize::try_from(at).ok().filter(|&at| at < size);
        Some(self.values[(c * height + inside(y, height)?) * width + inside(x, width)?])
    }

    /// A value; 0 outside.
    fn at(&self, c: usize, y: isize, x: isize) -> f64 {
        self.get(c, y, x).unwrap_or(0.0)
    }

    /// The values of a channel.
    fn channel(&self, c: usize) -> &[f64] {
        let pixels = self.shape.height * self.shape.width;
        &self.values[c * pixels..][..pixels]
    }
}

fn activate(value: f64, activation: Activation) -> f64 {
    let sigmoid = 1.0 / (1.0 + (-value).exp());
    let hard_sigmoid = (value + 3.0).clamp(0.0, 6.0) / 6.0;
    match activation {
        Activation::Clamp { .. } => {
            let [low, high] = activation.bounds().map(f64::from);
            value.max(low).min(high)
        }
        Activation::Curve(Curve::Sigmoid) => sigmoid,
        Activation::Curve(Curve::Swish) => value * sigmoid,
        Activation::Curve(Curve::HardSigmoid) => hard_sigmoid,
        Activation::Curve(Curve::HardSwish) => value * hard_sigmoid,
    }
}

fn affine(value: f64, c: usize, affine: &Affine) -> f64 {
    value * f64::from(affine.scale[c]) + f64::from(affine.shift[c])
}

/// The tensor that each node produces.
fn interpret(graph: &Graph, input: &[f32]) -> Vec<Reference> {
    let mut tensors: Vec<Reference> = Vec::new();
    for node in &graph.nodes {
        let inputs: Vec<&Reference> = node.inputs.iter().map(|&input| &tensors[input]).collect();
        let tensor = compute(node, &inputs, input);
        tensors.push(tensor);
    }
    tensors
}

fn compute(node: &Node, inputs: &[&Reference], input: &[f32]) -> Reference {
    let shape = node.shape;
    let from = |slot: usize, c, y, x| inputs[slot].at(c, y as isize, x as isize);
    let each = |value: &dyn Fn(usize, usize, usize) -> f64| Reference::from_fn(shape, value);
    match &node.op {
        Op::Input {
            layout,
            affine: function,
            ..
        } => each(&|c, y, x| {
            let value = f64::from(match layout {
                TensorLayout::Nhwc => input[(y * shape.width + x) * shape.channels + c],
                TensorLayout::Nchw => input[(c * shape.height + y) * shape.width + x],
            });
            match function {
                Some(function) => affine(value, c, function),
                None => value,
            }
        }),
        Op::Convolution(of) => convolution(of, shape, inputs),
        Op::Pool(of) => pool(of, shape, inputs[0]),
        Op::GlobalPool(reduction) => {
            each(&|c, _, _| reduce(*reduction, inputs[0].channel(c).iter().copied()))
        }
        Op::Affine(function, activation) => {
            each(&|c, y, x| activate(affine(from(0, c, y, x), c, function), *activation))
        }
        Op::Activate(activation) => each(&|c, y, x| activate(from(0, c, y, x), *activation)),
        Op::Add(activation) => {
            each(&|c, y, x| activate(from(0, c, y, x) + from(1, c, y, x), *activation))
        }
        Op::Multiply => each(&|c, y, x| {
            let is_gate = inputs[1].shape.height * inputs[1].shape.width == 1;
            let factor = if is_gate {
                from(1, c, 0, 0)
            } else {
                from(1, c, y, x)
            };
            from(0, c, y, x) * factor
        }),
        Op::Concat => Reference {
            shape,
            values: inputs.iter().flat_map(|part| part.values.clone()).collect(),
        },
        Op::Softmax => {
            let exponentials: Vec<f64> = inputs[0].values.iter().map(|value| value.exp()).collect();
            let sum: f64 = exponentials.iter().sum();
            each(&|c, _, _| exponentials[c] / sum)
        }
    }
}

fn reduce(reduction: Reduction, values: impl Iterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.collect();
    match reduction {
        Reduction::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::Mean => values.iter().sum::<f64>() / values.len() as f64,
    }
}

fn pool(pool: &Pool, shape: Shape, input: &Reference) -> Reference {
    let Padding { before, after } = pool.zeros;
    // Whether a row or column is inside, or one of the zeros around.
    let counts = |at: isize, axis: usize| {
        let size = [input.shape.height, input.shape.width][axis] + after[axis];
        at >= -(before[axis] as isize) && at < size as isize
    };
    Reference::from_fn(shape, |c, y, x| {
        let start = |output: usize, axis: usize| {
            (output * pool.stride[axis]) as isize
                - (before[axis] + pool.outside.before[axis]) as isize
        };
        let rows = (0..pool.kernel[0] as isize).map(|ky| start(y, 0) + ky);
        let pixels = rows.filter(|&row| counts(row, 0)).flat_map(|row| {
            let columns = (0..pool.kernel[1] as isize).map(move |kx| start(x, 1) + kx);
            columns.map(move |column| (row, column))
        });
        let pixels = pixels.filter(|&(_, column)| counts(column, 1));
        reduce(
            pool.reduction,
            pixels.map(|(row, column)| input.at(c, row, column)),
        )
    })
}

/// The tensor that a convolution produces.
fn convolution(of: &Convolution, shape: Shape, tensors: &[&Reference]) -> Reference {
    let input = tensors[0];
    let gate = of.has_gate.then(|| tensors[tensors.len() - 1]);
    let inputs = if of.is_depthwise {
        1
    } else {
        input.shape.channels
    };
    Reference::from_fn(shape, |c, y, x| {
        let mut sum = f64::from(of.bias[c]);
        for i in 0..inputs {
            for ky in 0..of.kernel[0] {
                for kx in 0..of.kernel[1] {
                    let at = ((c * inputs + i) * of.kernel[0] + ky) * of.kernel[1] + kx;
                    let row = (y * of.stride[0] + ky) as isize - of.padding.before[0] as isize;
                    let column = (x * of.stride[1] + kx) as isize - of.padding.before[1] as isize;
                    let channel = if of.is_depthwise { c } else { i };
                    let factor = gate.map_or(1.0, |gate| gate.at(i, 0, 0));
                    sum += f64::from(of.weights[at]) * factor * input.at(channel, row, column);
                }
            }
        }
        if let Some(stride) = of.residual_stride {
            sum += tensors[1].at(c, (y * stride) as isize, (x * stride) as isize);
        }
        activate(sum, of.activation)
    })
}

/// All outputs of the network, one after the other.
pub(crate) fn outputs(graph: &Graph, input: &[f32]) -> Vec<f64> {
    let tensors = interpret(graph, input);
    let outputs = graph.outputs.iter();
    outputs
        .flat_map(|(tensor, _)| tensors[*tensor].values.clone())
        .collect()
}
