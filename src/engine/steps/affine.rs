//! A function of each channel: affine, then an activation.

use super::{
    Kind, Work, rows,
    verify::{Checked, Verifier, activation_is_valid, same_size},
};
use crate::{
    activation::Activation,
    graph::{self, NodeId},
    kernels::{Kernels, elementwise::AffineRow},
    plan::Planner,
    program::{BLOCK, FeatureMap},
    runtime::Context,
};
use serde::{Deserialize, Serialize};

/// activation(scale × x + shift), with a scale and a shift for each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Offset of the scales in the weights: one for each channel, those that fill up the last block included.
    pub scale: usize,
    /// Offset of the shifts in the weights, likewise.
    pub shift: usize,
    /// Activation.
    pub activation: Activation,
}

impl Affine {
    /// Plans an affine node; without a function, it is the activation alone.
    pub(super) fn plan(
        planner: &mut Planner,
        node: NodeId,
        function: Option<&graph::Affine>,
        activation: Activation,
    ) -> Self {
        let output = planner.feature_map(node);
        let values = output.blocks * BLOCK;
        let [scale, shift] = match function {
            Some(function) => {
                [&function.scale, &function.shift].map(|of| planner.push_weights(of, values))
            }
            None => [1.0, 0.0].map(|value| planner.push_weights(&vec![value; values], values)),
        };
        Self {
            input: planner.input_map(node, 0),
            output,
            scale,
            shift,
            activation,
        }
    }
}

impl Kind for Affine {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.read_blocks("input", &self.input)?;
        verifier.write_blocks("output", &self.output)?;
        same_size("input", &self.input, &self.output)?;
        verifier.weights("scale", self.scale, self.output.blocks * BLOCK)?;
        verifier.weights("shift", self.shift, self.output.blocks * BLOCK)?;
        activation_is_valid(self.activation)
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Affine {
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        rows::count(&self.output)
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, _workspace: *mut f32) {
        let [block, y] = rows::block_and_row(&self.output, item);
        let [low, high] = self.activation.bounds();
        // SAFETY: Verified: the rows of input and output are in the arena, scales and shifts in the weights. Disjoint:
        // the output's row belongs to this work item. Instructions: the CPU has them.
        unsafe {
            let input = context.at(self.input.offset_of(block, y, 0)).cast_const();
            let [scale, shift] =
                [self.scale, self.shift].map(|offset| context.weights_at(offset + block * BLOCK));
            rows::write(
                context,
                &self.output,
                [block, y],
                self.activation,
                |output| {
                    (context.kernels().affine)(&AffineRow {
                        input,
                        scale,
                        shift,
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
