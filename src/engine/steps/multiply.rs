//! Product of two feature maps.

use super::{
    Kind, Work, rows,
    verify::{Checked, Verifier, ensure, same_blocks, same_size},
};
use crate::{
    activation::Activation,
    graph::NodeId,
    kernels::{Kernels, elementwise::MultiplyRow},
    plan::Planner,
    program::{BLOCK, FeatureMap},
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// Product of two feature maps: of the same size, or the second has one pixel, which is the factor of every pixel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Multiply {
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Feature map of the factors.
    pub factor: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
}

impl Multiply {
    pub(super) fn plan(planner: &Planner, node: NodeId) -> Self {
        Self {
            input: planner.input_map(node, 0),
            factor: planner.input_map(node, 1),
            output: planner.feature_map(node),
        }
    }

    /// Whether the factor has one pixel for all.
    fn is_gate(&self) -> bool {
        [self.factor.height, self.factor.width] == [1, 1]
    }
}

impl Kind for Multiply {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.read_blocks("input", &self.input)?;
        verifier.read_blocks("factor", &self.factor)?;
        verifier.write_blocks("output", &self.output)?;
        same_size("input", &self.input, &self.output)?;
        same_blocks("factor", &self.factor, &self.output)?;
        let is_same =
            [self.factor.height, self.factor.width] == [self.output.height, self.output.width];
        ensure(is_same || self.is_gate(), "factor", Fault::Pixels)
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Multiply {
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        rows::count(&self.output)
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, _workspace: *mut f32) {
        let [block, y] = rows::block_and_row(&self.output, item);
        let (factor_row, b_stride) = if self.is_gate() { (0, 0) } else { (y, BLOCK) };
        // SAFETY: Verified: the rows of inputs and output are in the arena. Disjoint: the output's row belongs to this
        // work item. Instructions: the CPU has them.
        unsafe {
            let a = context.at(self.input.offset_of(block, y, 0)).cast_const();
            let b = context
                .at(self.factor.offset_of(block, factor_row, 0))
                .cast_const();
            rows::write(
                context,
                &self.output,
                [block, y],
                Activation::NONE,
                |output| {
                    (context.kernels().multiply)(&MultiplyRow {
                        a,
                        b,
                        b_stride,
                        output,
                        pixels: self.output.width,
                    });
                },
            );
        }
    }
}
