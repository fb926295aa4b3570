//! The engine as an operator of tract.

use std::{fmt, sync::Arc};

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;

use crate::{runtime::Runnable, threads};

/// A whole network as one operator.
#[derive(Clone)]
struct Engine(Arc<Runnable>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.0.program().steps.len();
        write!(f, "Engine({steps} steps)")
    }
}

impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Engine {}

impl Engine {
    fn run(&self, inputs: &[TValue]) -> TractResult<TVec<TValue>> {
        let program = self.0.program();
        let shapes = || inputs.iter().map(|input| input.shape());
        if !shapes().eq(program.inputs.iter().map(Vec::as_slice)) {
            bail!(
                "the engine takes inputs of the shapes {:?}, not {:?}",
                program.inputs,
                shapes().collect::<Vec<_>>()
            );
        }
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        let inputs = views.iter().map(|view| view.as_slice::<f32>());
        let inputs = inputs.collect::<TractResult<Vec<_>>>()?;
        let outputs = program.outputs.iter();
        let mut outputs: Vec<(&Vec<usize>, Vec<f32>)> = outputs
            .map(|shape| (shape, vec![0.0; shape.iter().product()]))
            .collect();
        let mut slices: Vec<&mut [f32]> = outputs
            .iter_mut()
            .map(|(_, values)| values.as_mut_slice())
            .collect();
        self.0.run(&inputs, &mut slices, threads::current());
        outputs
            .iter()
            .map(|(shape, values)| Ok(Tensor::from_shape(shape, values)?.into_tvalue()))
            .collect()
    }
}

impl Op for Engine {
    fn name(&self) -> StaticName {
        "Engine".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{self:?} on {}", self.0.isa())])
    }

    op_as_typed_op!();
}

impl EvalOp for Engine {
    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        self.run(&inputs)
    }

    fn eval_out_of_plan(&self, inputs: TVec<TValue>) -> TractResult<Option<TVec<TValue>>> {
        self.run(&inputs).map(Some)
    }
}

impl TypedOp for Engine {
    fn output_facts(&self, _: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let outputs = self.0.program().outputs.iter();
        Ok(outputs.map(f32::fact).collect())
    }

    as_op!();
}

/// The tract model that runs a program: its inputs, one engine operator, its outputs.
///
/// # Errors
///
/// Those of tract, when it builds the graph.
pub fn model(runnable: Runnable) -> TractResult<TypedModel> {
    let engine = Engine(Arc::new(runnable));
    let mut model = TypedModel::default();
    let inputs = engine.0.program().inputs.iter().enumerate();
    let inputs = inputs.map(|(n, shape)| model.add_source(format!("input{n}"), f32::fact(shape)));
    let inputs = inputs.collect::<TractResult<Vec<_>>>()?;
    let outputs = model.wire_node("engine", engine, &inputs)?;
    model.select_output_outlets(&outputs)?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{convolution, graph, input},
        isa::Isa,
        plan::plan,
        runtime::PackedWeights,
        threads::with_threads,
    };

    fn runnable() -> Runnable {
        let (program, weights) = plan(&graph([(input(), &[]), (convolution(1), &[0])], 2)).unwrap();
        Runnable::new(program, PackedWeights::owned(&weights), Isa::Portable).unwrap()
    }

    fn tensor(shape: &[usize]) -> TValue {
        let values = vec![1.0f32; shape.iter().product()];
        Tensor::from_shape(shape, &values).unwrap().into_tvalue()
    }

    #[test]
    fn tract_runs_the_operator_with_any_number_of_threads() {
        let plan = model(runnable()).unwrap().into_runnable().unwrap();
        for threads in [1, 3] {
            let inputs = tvec!(tensor(&[1, 16, 2, 2]));
            let outputs = with_threads(threads, || plan.run(inputs)).unwrap();
            assert_eq!(outputs[0].shape(), [1, 16, 2, 2]);
            let output = outputs[0].view();
            // 16 input channels × 0.5, and the bias.
            assert_eq!(output.as_slice::<f32>().unwrap(), [8.25; 64]);
        }
    }

    #[test]
    fn inputs_of_another_shape_or_number_are_an_error() {
        let engine = Engine(Arc::new(runnable()));
        let whole = [1, 16, 2, 2];
        for shapes in [vec![], vec![vec![1, 16, 4, 1]], vec![whole.to_vec(); 2]] {
            let inputs: Vec<TValue> = shapes.iter().map(|shape| tensor(shape)).collect();
            let error = engine.run(&inputs).unwrap_err().to_string();
            assert!(
                error.contains("inputs of the shapes [[1, 16, 2, 2]]"),
                "{error}"
            );
        }
        assert!(engine.run(&[tensor(&whole)]).is_ok());
    }
}
