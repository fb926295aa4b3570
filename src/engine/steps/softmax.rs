//! Softmax.

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
    /// Channels, without padding channels.
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
            ensure(map.is_pixel(), field, Fault::OnePixel)?;
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
        let at = |map: &FeatureMap, channel: usize| {
            map.offset_of(channel / BLOCK, 0, 0) + channel % BLOCK
        };
        // SAFETY: Verified: both feature maps have one pixel and blocks for these channels.
        let logit = |channel: usize| unsafe { *context.at(at(&self.input, channel)) };
        let largest = (0..self.channels)
            .map(logit)
            .fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = (0..self.channels)
            .map(|channel| (logit(channel) - largest).exp())
            .sum();
        let output = &self.output;
        for block in 0..output.blocks {
            // SAFETY: as above. Disjoint: the output belongs to the only work item.
            unsafe { context.clear_halo(output, block, 0..1) };
        }
        for channel in 0..output.blocks * BLOCK {
            let probability = match channel < self.channels {
                true => (logit(channel) - largest).exp() / sum,
                false => 0.0,
            };
            // SAFETY: as above.
            unsafe { *context.at(at(output, channel)) = probability };
        }
    }
}
