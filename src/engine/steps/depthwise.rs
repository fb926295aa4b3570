//! Depthwise convolutions.

use std::ops::Range;

use super::{
    Kind, Work,
    tiles::share,
    verify::{Checked, Verifier, activation_is_valid, same_blocks, window_fits},
};
use crate::{
    activation::Activation,
    graph::{Convolution, NodeId},
    kernels::{Kernels, depthwise::DepthwiseRows},
    plan::{Planner, tuning},
    program::{BLOCK, FeatureMap, Window},
    runtime::Context,
};
use serde::{Deserialize, Serialize};

/// A convolution in which each output channel depends on the input channel of the same number alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depthwise {
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Windows over the input.
    pub window: Window,
    /// Offset of the packed weights. Their axes are, from the slowest to the fastest: channel blocks, rows and columns
    /// of the window, lanes.
    pub weights: usize,
    /// Offset of the biases: one for each channel, those that fill up the last block included.
    pub bias: usize,
    /// Activation.
    pub activation: Activation,
}

impl Depthwise {
    pub(super) fn plan(planner: &mut Planner, node: NodeId, convolution: &Convolution) -> Self {
        let output = planner.feature_map(node);
        let taps = convolution.kernel[0] * convolution.kernel[1];
        let channels = planner.graph.shape(node).channels;
        let mut packed = vec![0.0; output.blocks * taps * BLOCK];
        for channel in 0..channels {
            for tap in 0..taps {
                let to = (channel / BLOCK * taps + tap) * BLOCK + channel % BLOCK;
                packed[to] = convolution.weights[channel * taps + tap];
            }
        }
        Self {
            input: planner.input_map(node, 0),
            output,
            window: planner.window(node, convolution),
            weights: planner.push_weights(&packed, packed.len()),
            bias: planner.push_weights(&convolution.bias, output.blocks * BLOCK),
            activation: convolution.activation,
        }
    }
}

impl Kind for Depthwise {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.read_blocks("input", &self.input)?;
        verifier.write_blocks("output", &self.output)?;
        self.verify_windows(verifier)
    }

    fn operations(&self) -> usize {
        let Depthwise { output, window, .. } = self;
        let pixels = output.blocks * BLOCK * output.height * output.width;
        2 * window.kernel[0] * window.kernel[1] * pixels
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Depthwise {
    /// Checks all but the memory of the feature maps.
    pub(super) fn verify_windows(&self, verifier: &Verifier) -> Checked {
        same_blocks("input", &self.input, &self.output)?;
        window_fits(&self.input, &self.output, &self.window)?;
        let [rows, columns] = self.window.kernel;
        let channels = self.output.blocks * BLOCK;
        verifier.weights("weights", self.weights, rows * columns * channels)?;
        verifier.weights("bias", self.bias, channels)?;
        activation_is_valid(self.activation)
    }

    /// Parts into which the rows of a block are cut, so that there are some work items for each thread.
    fn parts(&self, threads: usize) -> usize {
        let parts = match threads {
            1 => 1,
            _ => (tuning::ITEMS_PER_THREAD * threads).div_ceil(self.output.blocks),
        };
        parts.min(self.output.height)
    }

    /// Computes some rows of a block, the halo and the activation included. `input` is the offset of the first window.
    ///
    /// # Safety
    ///
    /// The step was verified. All windows of these rows are in the arena or in this thread's workspace, with the columns
    /// of the step's input, and no other thread accesses these rows of the output.
    pub(super) unsafe fn rows(
        &self,
        context: &Context,
        block: usize,
        rows: Range<usize>,
        input: usize,
    ) {
        let Self { output, window, .. } = self;
        let [low, high] = self.activation.bounds();
        let taps = window.kernel[0] * window.kernel[1];
        // SAFETY: Verified: weights and biases of all blocks are in the weights. The caller ensures the rest.
        // Instructions: the CPU has them.
        unsafe {
            context.clear_halo(output, block, rows.clone());
            (context.kernels().depthwise)(&DepthwiseRows {
                input: context.at(input),
                kernel: window.kernel,
                row_stride: self.input.row_stride(),
                stride: window.stride,
                weights: context.weights_at(self.weights + block * taps * BLOCK),
                bias: context.weights_at(self.bias + block * BLOCK),
                output: context.at(output.offset_of(block, rows.start, 0)),
                output_row_stride: output.row_stride(),
                rows: rows.len(),
                pixels: output.width,
                low,
                high,
            });
            context.curve(self.activation, output, block, rows);
        }
    }
}

impl Work for Depthwise {
    fn items(&self, _phase: usize, threads: usize) -> usize {
        self.output.blocks * self.parts(threads)
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, _workspace: *mut f32) {
        let (input, output, window) = (&self.input, &self.output, &self.window);
        let parts = self.parts(context.threads());
        let block = item / parts;
        let rows = share(output.height, parts, item % parts);
        let from = input.offset
            + block * input.block_stride()
            + (rows.start * window.stride[0] + window.origin[0]) * input.row_stride()
            + window.origin[1] * BLOCK;
        // SAFETY: Verified: all windows are inside the input. Disjoint: these rows of the block and their halo belong to
        // this work item.
        unsafe { self.rows(context, block, rows, from) };
    }
}
