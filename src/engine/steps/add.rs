//! Sum of two feature maps.

use super::{
    Kind, Work, rows,
    verify::{Checked, Verifier, activation_is_valid, same_size},
};
use crate::{
    activation::Activation,
    graph::NodeId,
    kernels::{Kernels, elementwise::AddRow},
    plan::Planner,
    program::FeatureMap,
    runtime::Context,
};
use serde::{Deserialize, Serialize};

/// Sum of two feature maps, then an activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Add {
    /// Feature maps that are read.
    pub inputs: [FeatureMap; 2],
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Activation.
    pub activation: Activation,
}

impl Add {
    pub(super) fn plan(planner: &Planner, node: NodeId, activation: Activation) -> Self {
        Self {
            inputs: [0, 1].map(|slot| planner.input_map(node, slot)),
            output: planner.feature_map(node),
            activation,
        }
    }
}

impl Kind for Add {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        for input in &self.inputs {
            verifier.read_blocks("inputs", input)?;
        }
        verifier.write_blocks("output", &self.output)?;
        for input in &self.inputs {
            same_size("inputs", input, &self.output)?;
        }
        activation_is_valid(self.activation)
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Add {
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        rows::count(&self.output)
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, _workspace: *mut f32) {
        let [block, y] = rows::block_and_row(&self.output, item);
        let [low, high] = self.activation.bounds();
        // SAFETY: Verified: the rows of inputs and output are in the arena. Disjoint: the output's row belongs to this
        // work item. Instructions: the CPU has them.
        unsafe {
            let [a, b] = self
                .inputs
                .map(|map| context.at(map.offset_of(block, y, 0)).cast_const());
            rows::write(
                context,
                &self.output,
                [block, y],
                self.activation,
                |output| {
                    (context.kernels().add)(&AddRow {
                        a,
                        b,
                        output,
                        pixels: self.output.width,
                        low,
                        high,
                    });
                },
            );
        }
    }
}
