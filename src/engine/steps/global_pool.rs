//! Pooling over all pixels.

use super::{
    Kind, Work,
    verify::{Checked, Verifier, ensure, same_blocks},
};
use crate::{
    activation::Activation,
    graph::{NodeId, Reduction},
    kernels::{Kernels, pooling},
    plan::Planner,
    program::FeatureMap,
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// Maximum or mean of all pixels of each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlobalPool {
    /// How the pixels are reduced.
    pub reduction: Reduction,
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Feature map of one pixel that is written.
    pub output: FeatureMap,
}

impl GlobalPool {
    pub(super) fn plan(planner: &Planner, node: NodeId, reduction: Reduction) -> Self {
        Self {
            reduction,
            input: planner.input_map(node, 0),
            output: planner.feature_map(node),
        }
    }
}

impl Kind for GlobalPool {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.read_blocks("input", &self.input)?;
        verifier.write_blocks("output", &self.output)?;
        same_blocks("input", &self.input, &self.output)?;
        ensure(self.output.is_pixel(), "output", Fault::OnePixel)
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for GlobalPool {
    /// One for each channel block.
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        self.output.blocks
    }

    unsafe fn run(&self, context: &Context, _phase: usize, block: usize, _workspace: *mut f32) {
        // SAFETY: Verified: the block of the input and the pixel of the output are in the arena. Disjoint: the pixel
        // belongs to this work item. Instructions: the CPU has them.
        unsafe {
            super::rows::write(
                context,
                &self.output,
                [block, 0],
                Activation::NONE,
                |output| {
                    (context.kernels().global_pool)(&pooling::GlobalPool {
                        input: context.at(self.input.offset_of(block, 0, 0)),
                        size: [self.input.height, self.input.width],
                        row_stride: self.input.row_stride(),
                        reduction: self.reduction,
                        output,
                    });
                },
            );
        }
    }
}
