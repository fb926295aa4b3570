//! Imports a model of tract as a [`Graph`].
//!
//! A new operator is a function and a line in the table `OPERATORS` of `reader.rs`.

mod arithmetic;
mod axes;
mod error;
mod reader;
mod windows;

use tract_onnx::prelude::*;

pub use self::error::ImportError;
use self::reader::{Reader, Recognised};
use crate::graph::{Graph, Padding};

/// Imports `model` as a graph.
///
/// # Errors
///
/// An [`ImportError`] that names the first node that the engine does not know.
pub fn import(model: &TypedModel) -> Result<Graph, ImportError> {
    let mut reader = Reader::new(model);
    for node in model.eval_order().map_err(ImportError::Order)? {
        reader.read(model.node(node))?;
    }
    let mut outputs = Vec::new();
    for outlet in model.output_outlets().map_err(ImportError::Order)? {
        let node = model.node(outlet.node);
        let name = || node.name.clone();
        let named = match reader.recognised(*outlet) {
            Some(Recognised::Tensor(named)) if named.zeros == Padding::default() => named,
            _ => return Err(ImportError::Output { node: name() }),
        };
        let shape = node.outputs[outlet.slot].fact.shape.as_concrete();
        let shape = shape.ok_or_else(|| ImportError::SymbolicOutput { node: name() })?;
        // Outputs are stored as NCHW.
        if !named.axes.is_channels_first() && reader.shape(named).pixels() > 1 {
            return Err(ImportError::Output { node: name() });
        }
        outputs.push((named.node, shape.to_vec()));
    }
    if let Some(input) = reader.unread_input() {
        let node = model.node(input.node).name.clone();
        return Err(ImportError::UnreadInput { node });
    }
    let mut graph = reader.graph;
    graph.outputs = outputs;
    Ok(graph)
}

/// The values of a tensor of f32. `None` for other types, which the engine does not know.
#[expect(
    clippy::expect_used,
    reason = "the type was checked, and the view of a whole tensor is contiguous"
)]
fn floats(tensor: &Tensor) -> Option<&[f32]> {
    if tensor.datum_type() != f32::datum_type() {
        return None;
    }
    Some(tensor.view().as_slice::<f32>().expect("a contiguous view"))
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::{
        internal::AxisOp,
        ops::{
            array::{Pad, PadMode},
            binary::TypedBinOp,
            cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec},
            math,
            nn::{DataFormat, Reduce, Reducer},
        },
    };

    use super::*;
    use crate::{
        activation::Activation,
        graph::{Op, Reduction},
        program::TensorLayout,
    };

    /// An input of 2 channels and 4 × 4 pixels.
    fn source(model: &mut TypedModel) -> OutletId {
        model.add_source("input", f32::fact([1, 2, 4, 4])).unwrap()
    }

    fn constant(model: &mut TypedModel, shape: &[usize], value: f32) -> OutletId {
        let values = vec![value; shape.iter().product()];
        let tensor = Tensor::from_shape(shape, &values).unwrap();
        let name = format!("constant{}", model.nodes.len());
        model.add_const(name, tensor).unwrap()
    }

    fn binary(model: &mut TypedModel, op: TypedBinOp, inputs: [OutletId; 2]) -> OutletId {
        let name = format!("binary{}", model.nodes.len());
        model.wire_node(name, op, &inputs).unwrap()[0]
    }

    fn convolution(model: &mut TypedModel, input: OutletId, group: usize) -> OutletId {
        let pool_spec = PoolSpec::new(
            DataFormat::NCHW,
            tvec![3, 3],
            PaddingSpec::Valid,
            None,
            None,
            2,
            2,
        );
        let weights = constant(model, &[2, 2 / group, 3, 3], 0.5);
        let bias = constant(model, &[], 0.25);
        let op = Conv {
            pool_spec,
            kernel_fmt: KernelFormat::OIHW,
            group,
            q_params: None,
        };
        let outlets = model.wire_node("convolution", op, &[input, weights, bias]);
        outlets.unwrap()[0]
    }

    fn outputs(model: &mut TypedModel, outputs: &[OutletId]) -> Result<Graph, ImportError> {
        model.select_output_outlets(outputs).unwrap();
        import(model)
    }

    #[test]
    fn a_padding_becomes_the_padding_of_the_convolution_and_a_scalar_bias_one_for_each_channel() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let pad = Pad {
            pads: vec![(0, 0), (0, 0), (1, 2), (0, 1)],
            mode: PadMode::Constant(tensor0(0f32).into()),
        };
        let padded = model.wire_node("pad", pad, &[input]).unwrap()[0];
        let convolved = convolution(&mut model, padded, 1);
        let graph = outputs(&mut model, &[convolved]).unwrap();
        graph.validate().unwrap();

        let [input, convolved] = &graph.nodes[..] else {
            panic!("{graph:?}");
        };
        let expected = Op::Input {
            index: 0,
            layout: TensorLayout::Nchw,
            affine: None,
        };
        assert_eq!(input.op, expected);
        let Op::Convolution(convolution) = &convolved.op else {
            panic!("{convolved:?}");
        };
        let expected = Padding {
            before: [1, 0],
            after: [2, 1],
        };
        assert_eq!(convolution.padding, expected);
        assert_eq!(convolution.bias[..], [0.25, 0.25]);
        assert_eq!((convolved.shape.height, convolved.shape.width), (5, 3));
        assert_eq!(graph.outputs, [(1, vec![1, 2, 5, 3])]);
    }

    #[test]
    fn a_convolution_of_each_channel_alone_is_depthwise() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let convolved = convolution(&mut model, input, 2);
        let graph = outputs(&mut model, &[convolved]).unwrap();
        let Op::Convolution(convolution) = &graph.nodes[1].op else {
            panic!("{graph:?}");
        };
        assert!(convolution.is_depthwise && convolution.weights.len() == 2 * 9);
        graph.validate().unwrap();
    }

    #[test]
    fn an_unknown_operator_is_named() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let unknown = model.wire_node("angle", math::cos(), &[input]).unwrap()[0];
        let error = outputs(&mut model, &[unknown]).unwrap_err();
        assert!(matches!(&error, ImportError::Unsupported { node, .. } if node == "angle"));
        assert_eq!(error.to_string(), "Cos (angle)");
    }

    #[test]
    fn channels_last_are_followed_through_moves_and_the_normalisation_of_pixels() {
        let mut model = TypedModel::default();
        let input = model.add_source("input", f32::fact([1, 4, 4, 2])).unwrap();
        let factor = constant(&mut model, &[1, 1, 1, 2], 0.5);
        let scaled = binary(&mut model, math::mul(), [input, factor]);
        let moved = model
            .wire_node("move", AxisOp::Move(3, 1), &[scaled])
            .unwrap()[0];
        let convolved = convolution(&mut model, moved, 1);
        let last = model
            .wire_node("back", AxisOp::Move(1, 3), &[convolved])
            .unwrap()[0];
        let zero = constant(&mut model, &[1, 1, 1, 1], 0.0);
        let clamped = binary(&mut model, math::max(), [last, zero]);
        let error = outputs(&mut model, &[clamped]).unwrap_err();
        assert!(matches!(error, ImportError::Output { .. }), "{error}");
        let first = model
            .wire_node("first", AxisOp::Move(3, 1), &[clamped])
            .unwrap()[0];
        let graph = outputs(&mut model, &[first]).unwrap();
        let names: Vec<&str> = graph.nodes.iter().map(|node| node.op.name()).collect();
        assert_eq!(names, ["input", "affine", "convolution", "activate"]);
        let Op::Input { layout, .. } = graph.nodes[0].op else {
            panic!("{graph:?}");
        };
        assert_eq!(layout, TensorLayout::Nhwc);
    }

    #[test]
    fn a_mean_of_all_pixels_is_a_sum_and_its_division() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let reduce = Reduce::new(tvec![2, 3], Reducer::Sum);
        let sum = model.wire_node("sum", reduce, &[input]).unwrap()[0];
        let pixels = constant(&mut model, &[1, 1, 1, 1], 16.0);
        let mean = binary(&mut model, math::div(), [sum, pixels]);
        let graph = outputs(&mut model, &[mean]).unwrap();
        assert_eq!(graph.nodes[1].op, Op::GlobalPool(Reduction::Mean));
        assert_eq!(graph.outputs, [(1, vec![1, 2, 1, 1])]);
        // The sum alone is none of the engine's operations.
        assert!(outputs(&mut model, &[sum]).is_err());
    }

    #[test]
    fn a_factor_of_one_pixel_is_the_second_of_a_product() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let reduce = Reduce::new(tvec![2, 3], Reducer::Max);
        let largest = model.wire_node("largest", reduce, &[input]).unwrap()[0];
        let product = binary(&mut model, math::mul(), [largest, input]);
        let graph = outputs(&mut model, &[product]).unwrap();
        assert_eq!(graph.nodes[1].op, Op::GlobalPool(Reduction::Max));
        assert_eq!(
            (&graph.nodes[2].op, &graph.nodes[2].inputs[..]),
            (&Op::Multiply, &[0, 1][..])
        );
        graph.validate().unwrap();
    }

    #[test]
    fn a_maximum_with_a_number_is_a_clamp_and_with_nan_it_is_unknown() {
        for (low, is_known) in [(0.0, true), (f32::NAN, false)] {
            let mut model = TypedModel::default();
            let input = source(&mut model);
            let low = constant(&mut model, &[1, 1, 1, 1], low);
            let clamped = binary(&mut model, math::max(), [low, input]);
            let graph = outputs(&mut model, &[clamped]);
            assert_eq!(graph.is_ok(), is_known, "{graph:?}");
            if let Ok(graph) = graph {
                assert_eq!(graph.nodes[1].op, Op::Activate(Activation::RELU));
            }
        }
    }

    #[test]
    fn an_output_of_symbolic_shape_is_refused_instead_of_taken_for_a_scalar() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let zero = constant(&mut model, &[1, 1, 1, 1], 0.0);
        let clamped = binary(&mut model, math::max(), [zero, input]);
        let rows = model.symbols.sym("rows");
        model.nodes[clamped.node].outputs[0]
            .fact
            .shape
            .set(2, rows.into());
        let error = outputs(&mut model, &[clamped]).unwrap_err();
        assert!(
            matches!(error, ImportError::SymbolicOutput { .. }),
            "{error}"
        );
    }

    #[test]
    fn an_input_that_no_output_depends_on_is_refused() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        model.add_source("mask", f32::fact([1, 2, 4, 4])).unwrap();
        let zero = constant(&mut model, &[1, 1, 1, 1], 0.0);
        let clamped = binary(&mut model, math::max(), [zero, input]);
        let error = outputs(&mut model, &[clamped]).unwrap_err();
        assert!(
            matches!(&error, ImportError::UnreadInput { node } if node == "mask"),
            "{error}"
        );
    }

    #[test]
    fn a_constant_output_is_refused() {
        let mut model = TypedModel::default();
        let one = constant(&mut model, &[1], 1.0);
        let error = outputs(&mut model, &[one]).unwrap_err();
        assert!(matches!(error, ImportError::Output { .. }), "{error}");
    }
}
