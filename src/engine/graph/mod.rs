//! Recognises a tract graph as a [`Network`].

mod arithmetic;
mod error;
mod reader;
mod window;

use tract_onnx::prelude::*;

pub use self::error::GraphError;
use self::reader::{Reader, Recognised};
use crate::network::Network;

/// Recognises `model` as a network.
///
/// # Errors
///
/// A [`GraphError`] that names the first node that the engine does not know.
pub fn read(model: &TypedModel) -> Result<Network, GraphError> {
    let mut reader = Reader::new(model);
    for node in model.eval_order().map_err(GraphError::Order)? {
        reader.read(model.node(node))?;
    }
    let mut outputs = Vec::new();
    for outlet in model.output_outlets().map_err(GraphError::Order)? {
        let node = model.node(outlet.node);
        let name = || node.name.clone();
        let tensor = match reader.recognised(*outlet) {
            Some(Recognised::Tensor(tensor)) => *tensor,
            _ => return Err(GraphError::Output { node: name() }),
        };
        let shape = node.outputs[outlet.slot].fact.shape.as_concrete();
        let shape = shape.ok_or_else(|| GraphError::SymbolicOutput { node: name() })?;
        outputs.push((tensor, shape.to_vec()));
    }
    if let Some(input) = reader.unread_input() {
        let node = model.node(input.node).name.clone();
        return Err(GraphError::UnreadInput { node });
    }
    let mut network = reader.into_network();
    network.outputs = outputs;
    Ok(network)
}

#[cfg(test)]
mod tests {
    use tract_onnx::tract_core::ops::{
        array::{Pad, PadMode},
        binary::TypedBinOp,
        cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec},
        math,
        nn::DataFormat,
    };

    use super::*;
    use crate::{
        network::{Layer, Padding},
        program::{Clamp, TensorLayout},
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

    fn outputs(model: &mut TypedModel, outputs: &[OutletId]) -> Result<Network, GraphError> {
        model.select_output_outlets(outputs).unwrap();
        read(model)
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
        let network = outputs(&mut model, &[convolved]).unwrap();
        network.validate().unwrap();

        let [
            (input, _),
            (Layer::Convolution { padding, bias, .. }, shape),
        ] = &network.layers[..]
        else {
            panic!("{network:?}");
        };
        let layout = TensorLayout::Nchw;
        assert_eq!(*input, Layer::Input { index: 0, layout });
        let expected = Padding {
            before: [1, 0],
            after: [2, 1],
        };
        assert_eq!(*padding, expected);
        assert_eq!(bias[..], [0.25, 0.25]);
        assert_eq!((shape.height, shape.width), (5, 3));
        assert_eq!(network.outputs, [(1, vec![1, 2, 5, 3])]);
    }

    #[test]
    fn a_grouped_convolution_is_named() {
        let mut model = TypedModel::default();
        let input = source(&mut model);
        let convolved = convolution(&mut model, input, 2);
        let error = outputs(&mut model, &[convolved]).unwrap_err();
        assert!(matches!(&error, GraphError::Operator { node, .. } if node == "convolution"));
        assert!(error.to_string().ends_with(" (convolution)"), "{error}");
    }

    #[test]
    fn a_maximum_with_a_number_is_a_clamp_and_with_nan_it_is_unknown() {
        for (low, is_known) in [(0.0, true), (f32::NAN, false)] {
            let mut model = TypedModel::default();
            let input = source(&mut model);
            let low = constant(&mut model, &[1, 1, 1, 1], low);
            let clamped = binary(&mut model, math::max(), [low, input]);
            let network = outputs(&mut model, &[clamped]);
            assert_eq!(network.is_ok(), is_known, "{network:?}");
            if let Ok(network) = network {
                let clamp = Clamp::RELU;
                assert_eq!(network.layers[1].0, Layer::Clamp { input: 0, clamp });
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
        // The layer itself is refused already: it has no shape.
        assert!(matches!(error, GraphError::Operator { .. }), "{error}");
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
            matches!(&error, GraphError::UnreadInput { node } if node == "mask"),
            "{error}"
        );
    }

    #[test]
    fn a_constant_output_is_refused() {
        let mut model = TypedModel::default();
        let one = constant(&mut model, &[1], 1.0);
        let error = outputs(&mut model, &[one]).unwrap_err();
        assert!(matches!(error, GraphError::Output { .. }), "{error}");
    }
}
