//! Store: a feature map is copied out of the arena into an output tensor.

use super::{
    Kind, Work,
    verify::{Checked, Verifier},
};
use crate::{kernels::Kernels, program::FeatureMap, runtime::Context};
use serde::{Deserialize, Serialize};

/// Copies a feature map out of the arena into an output tensor, as NCHW.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Channels of the output tensor.
    pub channels: usize,
    /// Index of the output tensor.
    pub output: usize,
}

impl Kind for Store {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.read("input", &self.input)?;
        verifier.store(self.output, &self.input, self.channels)
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Store {
    /// One for each channel block.
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        self.input.blocks
    }

    unsafe fn run(&self, context: &Context, _phase: usize, block: usize, _workspace: *mut f32) {
        let input = &self.input;
        let first = block * input.lanes;
        for lane in 0..input.lanes.min(self.channels - first) {
            for y in 0..input.height {
                for x in 0..input.width {
                    let to = ((first + lane) * input.height + y) * input.width + x;
                    // SAFETY: Verified: the pixel is in the arena, and the output tensor has these channels and pixels.
                    // Disjoint: the channels of the block belong to this work item.
                    unsafe {
                        let from = context.at(input.offset_of(block, y, x) + lane);
                        *context.output(self.output).add(to) = *from;
                    }
                }
            }
        }
    }
}
