//! What of tract's graph the engine knows, and what it makes of it.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::{
    internal::AxisOp,
    ops::{
        array::{Pad, PadMode},
        binary::TypedBinOp,
        cast::Cast,
        cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec},
        einsum::EinSum,
        nn::{DataFormat, Reduce, Reducer, Softmax},
    },
};

use crate::{
    network::{Layer, Network, Padding, Shape, Value},
    program::{Clamp, Order},
};

/// What stands for an outlet of tract's graph.
#[derive(Debug, Clone)]
enum Made {
    /// A picture. Axes of size 1 behind the channels may be gone.
    Value(Value),
    /// A picture with zeros around it, which only its readers see.
    Padded(Value, Padding),
    /// The input, whose channels come last.
    ChannelsLast,
    /// Something that is known.
    Constant(Arc<Tensor>),
}

/// The network that `model` is, if the engine knows all of it.
///
/// # Errors
///
/// Names the first operator that it does not know, or not in this form.
pub fn read(model: &TypedModel) -> Result<Network, String> {
    let mut reader = Reader {
        model,
        network: Network::default(),
        made: vec![None; model.nodes.len()],
    };
    let order = model.eval_order().map_err(|error| error.to_string())?;
    for node in order {
        let node = model.node(node);
        let made = reader
            .node(node)
            .ok_or_else(|| format!("{} ({})", node.op.name(), node.name))?;
        reader.made[node.id] = Some(made);
    }
    let outlets = model.output_outlets().map_err(|error| error.to_string())?;
    for outlet in outlets {
        match reader.made[outlet.node] {
            Some(Made::Value(value)) if outlet.slot == 0 => {
                let fact = &model.node(outlet.node).outputs[0].fact;
                let shape = fact.shape.as_concrete().unwrap_or_default().to_vec();
                reader.network.outputs.push((value, shape));
            }
            _ => return Err(format!("the output {outlet:?} is no picture")),
        }
    }
    Ok(reader.network)
}

struct Reader<'a> {
    model: &'a TypedModel,
    network: Network,
    /// By node; all that are known have one output.
    made: Vec<Option<Made>>,
}

impl Reader<'_> {
    fn input(&self, node: &TypedNode, slot: usize) -> Option<&Made> {
        let outlet = node.inputs.get(slot)?;
        self.made[outlet.node].as_ref().filter(|_| outlet.slot == 0)
    }

    fn value(&self, node: &TypedNode, slot: usize) -> Option<Value> {
        match self.input(node, slot)? {
            Made::Value(value) => Some(*value),
            _ => None,
        }
    }

    fn constant(&self, node: &TypedNode, slot: usize) -> Option<&Arc<Tensor>> {
        match self.input(node, slot)? {
            Made::Constant(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn shape(&self, value: Value) -> Shape {
        self.network.layers[value].1
    }

    /// Sizes of the axes of the node's output: batch 1, channels, rows, columns, or the first two of these.
    fn output_shape(&self, node: &TypedNode) -> Option<Shape> {
        let shape = node.outputs[0].fact.shape.as_concrete()?;
        match *shape {
            [1, channels, height, width] => Some(Shape {
                channels,
                height,
                width,
            }),
            [1, channels] | [1, channels, 1] => Some(Shape {
                channels,
                height: 1,
                width: 1,
            }),
            _ => None,
        }
    }

    fn push(&mut self, layer: Layer, shape: Shape) -> Made {
        Made::Value(self.network.push(layer, shape))
    }

    /// What a node makes; `None` where the engine does not know it.
    fn node(&mut self, node: &TypedNode) -> Option<Made> {
        if node.outputs.len() != 1 {
            return None;
        }
        if let Some(tensor) = &node.outputs[0].fact.konst {
            return Some(Made::Constant(Arc::clone(tensor)));
        }
        if node.outputs[0].fact.datum_type != f32::datum_type() {
            return None;
        }
        if self.model.inputs.contains(&node.id.into()) {
            return self.source(node);
        }
        let op = &node.op;
        if op.is::<Cast>() {
            // f32 to f32, as the output is.
            let input = self.constant(node, 0)?;
            return (input.datum_type() == f32::datum_type())
                .then(|| Made::Constant(Arc::clone(input)));
        }
        if let Some(op) = op.downcast_ref::<AxisOp>() {
            return self.axes(node, op);
        }
        if let Some(op) = op.downcast_ref::<Conv>() {
            return self.convolution(node, op);
        }
        if let Some(op) = op.downcast_ref::<Pad>() {
            return self.pad(node, op);
        }
        if let Some(op) = op.downcast_ref::<MaxPool>() {
            return self.max_pool(node, op);
        }
        if let Some(op) = op.downcast_ref::<Reduce>() {
            return self.sum(node, op);
        }
        if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            return self.binary(node, op);
        }
        if let Some(op) = op.downcast_ref::<EinSum>() {
            return self.dense(node, op);
        }
        if let Some(op) = op.downcast_ref::<Softmax>() {
            let input = self.value(node, 0)?;
            let shape = self.shape(input);
            let is_known = op.axes[..] == [1] && [shape.height, shape.width] == [1, 1];
            return is_known.then(|| self.push(Layer::Softmax { input }, shape));
        }
        None
    }

    fn source(&mut self, node: &TypedNode) -> Option<Made> {
        let index = self
            .model
            .inputs
            .iter()
            .position(|input| input.node == node.id)?;
        let [reader] = node.outputs[0].successors[..] else {
            return None;
        };
        let reader = self.model.node(reader.node);
        if let Some(AxisOp::Move(3, 1)) = reader.op.downcast_ref() {
            return Some(Made::ChannelsLast);
        }
        let shape = self.output_shape(node)?;
        let order = Order::Nchw;
        Some(self.push(Layer::Input { index, order }, shape))
    }

    fn axes(&mut self, node: &TypedNode, op: &AxisOp) -> Option<Made> {
        match (op, self.input(node, 0)?.clone()) {
            (AxisOp::Move(3, 1), Made::ChannelsLast) => {
                let source = node.inputs[0].node;
                let index = self
                    .model
                    .inputs
                    .iter()
                    .position(|input| input.node == source)?;
                let order = Order::Nhwc;
                let shape = self.output_shape(node)?;
                Some(self.push(Layer::Input { index, order }, shape))
            }
            // Of size 1: the picture is the same.
            (AxisOp::Rm(2 | 3), Made::Value(value)) => Some(Made::Value(value)),
            _ => None,
        }
    }

    fn convolution(&mut self, node: &TypedNode, op: &Conv) -> Option<Made> {
        let (input, around) = match *self.input(node, 0)? {
            Made::Value(value) => (value, Padding::default()),
            Made::Padded(value, padding) => (value, padding),
            _ => return None,
        };
        let pool = &op.pool_spec;
        let is_known = op.group == 1
            && op.kernel_fmt == KernelFormat::OIHW
            && op.q_params.is_none()
            && pool.rank() == 2
            && pool.data_format == DataFormat::NCHW
            && pool.dilations().iter().all(|&dilation| dilation == 1);
        if !is_known {
            return None;
        }
        let shape = self.output_shape(node)?;
        let weights = floats(self.constant(node, 1)?)?;
        let bias = floats(self.constant(node, 2)?)?;
        let bias: Vec<f32> = match bias.len() {
            1 => vec![bias[0]; shape.channels],
            _ => bias.to_vec(),
        };
        let (padding, kernel, stride) = self.window(pool, input, around)?;
        let layer = Layer::Convolution {
            input,
            weights: weights.into(),
            bias: bias.into(),
            kernel,
            stride,
            padding,
            residual: None,
            clamp: Clamp::NONE,
        };
        Some(self.push(layer, shape))
    }

    /// Padding, kernel and stride of a window over a picture that has `around` it zeros already.
    fn window(
        &self,
        pool: &PoolSpec,
        input: Value,
        around: Padding,
    ) -> Option<(Padding, [usize; 2], [usize; 2])> {
        if let PaddingSpec::ExplicitOnnxPool(_, _, true) = pool.padding {
            return None; // rounds up: some windows are beyond the padding
        }
        let shape = self.shape(input);
        let sizes = [shape.height, shape.width];
        let padded: [usize; 2] =
            std::array::from_fn(|axis| sizes[axis] + around.before[axis] + around.after[axis]);
        let computed = pool.computed_padding(&padded);
        let kernel: [usize; 2] = pool.kernel_shape[..].try_into().ok()?;
        let stride: [usize; 2] = pool.strides()[..].try_into().ok()?;
        let mut padding = around;
        for (axis, computed) in computed.iter().enumerate() {
            padding.before[axis] += computed.pad_before;
            padding.after[axis] += computed.pad_after;
        }
        Some((padding, kernel, stride))
    }

    fn pad(&mut self, node: &TypedNode, op: &Pad) -> Option<Made> {
        let value = self.value(node, 0)?;
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
        (floats(with)? == [0.0]).then_some(Made::Padded(value, padding))
    }

    fn max_pool(&mut self, node: &TypedNode, op: &MaxPool) -> Option<Made> {
        let (input, around) = match *self.input(node, 0)? {
            Made::Value(value) => (value, Padding::default()),
            Made::Padded(value, padding) => (value, padding),
            _ => return None,
        };
        if op.pool_spec.data_format != DataFormat::NCHW || op.pool_spec.rank() != 2 {
            return None;
        }
        let is_dilated = op
            .pool_spec
            .dilations()
            .iter()
            .any(|&dilation| dilation != 1);
        let (padding, kernel, stride) = self.window(&op.pool_spec, input, around)?;
        // A pool's own padding does not count; zeros do not either where nothing is less.
        let is_own = padding != around;
        if is_dilated || is_own && !self.is_never_negative(input) {
            return None;
        }
        let layer = Layer::MaxPool {
            input,
            kernel,
            stride,
            padding,
        };
        let shape = self.output_shape(node)?;
        Some(self.push(layer, shape))
    }

    fn is_never_negative(&self, value: Value) -> bool {
        match self.network.layers[value].0 {
            Layer::Clamp { clamp, .. } => clamp.low.is_some_and(|low| low >= 0.0),
            _ => false,
        }
    }

    /// The sum over all pixels, once it is divided by their number.
    fn sum(&mut self, node: &TypedNode, op: &Reduce) -> Option<Made> {
        let input = self.value(node, 0)?;
        if op.axes[..] != [2, 3] || op.reducer != Reducer::Sum {
            return None;
        }
        let [reader] = node.outputs[0].successors[..] else {
            return None;
        };
        let divides = self.model.node(reader.node);
        let by = self.model.outlet_fact(*divides.inputs.get(1)?).ok()?;
        let by = floats(by.konst.as_ref()?)?.to_vec();
        let shape = self.shape(input);
        let pixels = (shape.height * shape.width) as f32;
        let op = divides.op.downcast_ref::<TypedBinOp>()?;
        let is_mean = match op.0.name() {
            "Div" => by == [pixels],
            "Mul" => by == [1.0 / pixels],
            _ => false,
        };
        let shape = Shape {
            height: 1,
            width: 1,
            ..shape
        };
        is_mean.then(|| self.push(Layer::Mean { input }, shape))
    }

    fn binary(&mut self, node: &TypedNode, op: &TypedBinOp) -> Option<Made> {
        let name = op.0.name();
        let shape = self.output_shape(node)?;
        if let (Some(first), Some(second)) = (self.value(node, 0), self.value(node, 1)) {
            let is_sum = name == "Add" && self.shape(first) == shape && self.shape(second) == shape;
            let clamp = Clamp::NONE;
            let inputs = [first, second];
            return is_sum.then(|| self.push(Layer::Add { inputs, clamp }, shape));
        }
        // One of them is known; only a division minds which.
        let (input, constant) = match (self.value(node, 0), self.value(node, 1)) {
            (Some(input), None) => (input, floats(self.constant(node, 1)?)?),
            (None, Some(input)) if name != "Div" => (input, floats(self.constant(node, 0)?)?),
            _ => return None,
        };
        let constant = constant.to_vec();
        let pushed = self.network.layers.len();
        match (name, &constant[..]) {
            ("Max", &[low]) => {
                let clamp = Clamp {
                    low: Some(low),
                    high: None,
                };
                Some(self.push(Layer::Clamp { input, clamp }, shape))
            }
            ("Min", &[high]) => {
                let clamp = Clamp {
                    low: None,
                    high: Some(high),
                };
                Some(self.push(Layer::Clamp { input, clamp }, shape))
            }
            // The division that `sum` looked ahead to.
            ("Div" | "Mul", &[_]) => {
                let is_mean = matches!(self.network.layers[input].0, Layer::Mean { .. });
                let is_its = self.model.node(node.inputs[0].node).op.is::<Reduce>();
                (is_mean && is_its).then_some(Made::Value(input))
            }
            // A bias behind a dense layer.
            ("Add", more) if input + 1 == pushed && more.len() == shape.channels => {
                let readers = self.model.node(node.inputs[0].node).outputs[0]
                    .successors
                    .len();
                match &mut self.network.layers[input].0 {
                    Layer::Convolution {
                        bias,
                        clamp: Clamp::NONE,
                        residual: None,
                        ..
                    } if readers == 1 => {
                        *bias = bias.iter().zip(more).map(|(a, b)| a + b).collect();
                        Some(Made::Value(input))
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// A product with a matrix is a 1×1 convolution of one pixel.
    fn dense(&mut self, node: &TypedNode, op: &EinSum) -> Option<Made> {
        let input = self.value(node, 0)?;
        let (shape, inputs) = (self.output_shape(node)?, self.shape(input));
        if [inputs.height, inputs.width] != [1, 1] || op.q_params.is_some() {
            return None;
        }
        let matrix = floats(self.constant(node, 1)?)?;
        let (inputs, outputs) = (inputs.channels, shape.channels);
        let weights: Vec<f32> = match op.axes.to_string().as_str() {
            "mk,kn->mn" => (0..outputs)
                .flat_map(|n| (0..inputs).map(move |k| matrix[k * outputs + n]))
                .collect(),
            "mk,nk->mn" => matrix.to_vec(),
            _ => return None,
        };
        let layer = Layer::Convolution {
            input,
            weights: weights.into(),
            bias: vec![0.0; outputs].into(),
            kernel: [1, 1],
            stride: [1, 1],
            padding: Padding::default(),
            residual: None,
            clamp: Clamp::NONE,
        };
        Some(self.push(layer, shape))
    }
}

fn floats(tensor: &Tensor) -> Option<&[f32]> {
    tensor.view().as_slice::<f32>().ok()
}
