//! Softmax.

use std::slice;

use super::{
    Kind, Work,
    verify::{Checked, Verifier, channels_fit, ensure},
};
use crate::{
    graph::NodeId,
    kernels::Kernels,
    plan::Planner,
    program::{BLOCK, FeatureMap},
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// Softmax over the channels of one pixel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Softmax {
    /// Feature map of one pixel that is read.
    pub input: FeatureMap,
    /// Channels, without those that fill up the last block.
    pub channels: usize,
    /// Feature map of one pixel that is written.
    pub output: FeatureMap,
}

impl Softmax {
    pub(super) fn plan(planner: &Planner, node: NodeId) -> Self {
        Self {
            input: planner.input_map(node, 0),
            channels: planner.graph.shape(node).channels,
            output: planner.feature_map(node),
        }
    }
}

impl Kind for Softmax {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.read_blocks("input", &self.input)?;
        verifier.write_blocks("output", &self.output)?;
        for (field, map) in [("input", &self.input), ("output", &self.output)] {
            // One pixel without a halo: its channels are contiguous.
            ensure(map.block_stride() == BLOCK, field, Fault::Pixels)?;
            channels_fit(map, self.channels)?;
        }
        Ok(())
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Softmax {
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        1
    }

    unsafe fn run(&self, context: &Context, _phase: usize, _item: usize, _workspace: *mut f32) {
        // SAFETY: Verified: both feature maps have one pixel without a halo and at least these channels, which therefore
        // are contiguous, and they do not overlap. Disjoint: the output belongs to the only work item.
        let (from, to) = unsafe {
            (
                slice::from_raw_parts(context.at(self.input.offset), self.channels),
                slice::from_raw_parts_mut(context.at(self.output.offset), self.output.len()),
            )
        };
        to.fill(0.0);
        let largest = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (channel, value) in from.iter().enumerate() {
            to[channel] = (value - largest).exp();
        }
        let sum: f32 = to.iter().sum();
        to.iter_mut().for_each(|value| *value /= sum);
    }
}
