//! The arguments of a tile: its addresses, its weights, and the weights to prefetch.

use std::{ops::Range, ptr};

use super::{super::super::tiles::Form, Prepared};
use crate::{
    kernels::{
        convolution::{MAX_PANELS, MAX_PIXELS, Tile},
        elementwise::ScaleRows,
    },
    program::{BLOCK, FeatureMap},
    runtime::Context,
};

impl Prepared {
    /// Offsets of the window and of the residual of an output pixel, for the panels from `first` on.
    pub(super) fn reads(&self, first: usize, [y, x]: [usize; 2]) -> [usize; 2] {
        let residual = self.step.residual.as_ref().map_or(0, |residual| {
            let [y, x] = [y, x].map(|at| at * residual.stride);
            residual.feature_map.offset_of(first, y, x)
        });
        [self.step.input_offset([y, x]), residual]
    }

    /// Sets the addresses of a tile of `pixels` pixels from column `x` on. `at` has the offsets of the first pixel's
    /// input, output and residual.
    ///
    /// # Safety
    ///
    /// The windows and residuals of these pixels, and the pixels themselves, are in the arena or the workspace.
    pub(super) unsafe fn address(
        &self,
        context: &Context,
        form: Form,
        x: usize,
        pixels: usize,
        mut at: [usize; 3],
        tile: &mut Tile,
    ) {
        let step = &self.step;
        let mut column = x;
        let addressed = if form == Form::Strided { 1 } else { pixels };
        for pixel in 0..addressed {
            // SAFETY: the caller ensures that these addresses are valid.
            unsafe {
                tile.input[pixel] = context.at(at[0]);
                tile.output[pixel] = context.at(at[1]);
                if step.residual.is_some() {
                    tile.residual[pixel] = context.at(at[2]);
                }
            }
            column += 1;
            let strides = if column == step.output.width {
                column = 0;
                &self.strides_to_row
            } else {
                &self.strides
            };
            at = std::array::from_fn(|map| at[map].wrapping_add(strides[map]));
        }
    }

    /// Floats of a panel's weights.
    pub(super) fn panel_len(&self) -> usize {
        self.segments.len() * self.segment_len * BLOCK
    }

    /// The arguments that all tiles of a panel and a group share. `output` is the feature map that they write.
    ///
    /// # Safety
    ///
    /// The step was verified.
    pub(super) unsafe fn tile(
        &self,
        context: &Context,
        group: usize,
        first: usize,
        output: &FeatureMap,
    ) -> Tile {
        let step = &self.step;
        let segments = &self.groups[group];
        let [low, high] = step.activation.bounds();
        let residual = step.residual.as_ref();
        // SAFETY: Verified: weights and biases of all panels are in the weights.
        unsafe {
            let weights =
                context.weights_at(step.weights + segments.start * self.segment_len * BLOCK);
            Tile {
                repeat: 1,
                input: [ptr::null(); MAX_PIXELS],
                segments: self.segments[segments.clone()].as_ptr(),
                segment_count: segments.len(),
                segment_len: self.segment_len,
                weights: std::array::from_fn(|panel| {
                    weights.wrapping_add((first + panel) * self.panel_len())
                }),
                prefetch: [ptr::null(); MAX_PANELS],
                bias: match group {
                    0 => context.weights_at(step.bias + first * BLOCK),
                    _ => ptr::null(),
                },
                is_last: group + 1 == self.groups.len(),
                residual: [ptr::null(); MAX_PIXELS],
                residual_stride: residual.map_or(0, |residual| residual.stride * BLOCK),
                residual_panel_stride: residual.map_or(0, |of| of.feature_map.block_stride()),
                output: [ptr::null_mut(); MAX_PIXELS],
                output_panel_stride: output.block_stride(),
                low,
                high,
            }
        }
    }

    /// Multiplies the weights of a tile's panels by the gate, and lets the tile use the products.
    ///
    /// # Safety
    ///
    /// The step was verified, and the workspace has room.
    pub(super) unsafe fn gate(
        &self,
        context: &Context,
        gate: &FeatureMap,
        group: usize,
        panels: usize,
        workspace: *mut f32,
        tile: &mut Tile,
    ) {
        let blocks = &self.groups[group];
        for (panel, weights) in tile.weights.iter_mut().enumerate().take(panels) {
            let products = workspace.wrapping_add(panel * blocks.len() * BLOCK * BLOCK);
            for (number, block) in blocks.clone().enumerate() {
                let done = number * BLOCK * BLOCK;
                // SAFETY: Verified: a 1×1 window has one segment for each block of the input, and the gate has as many
                // blocks. The caller ensures that the workspace has room. Instructions: the CPU has them.
                unsafe {
                    (context.kernels().scale)(&ScaleRows {
                        factors: context.at(gate.offset_of(block, 0, 0)),
                        input: weights.add(done),
                        output: products.add(done),
                        rows: BLOCK,
                    });
                }
            }
            *weights = products;
        }
    }

    /// The weights that come after those of a panel and a group. The address may be beyond the weights.
    pub(super) fn next_panel(
        &self,
        context: &Context,
        group: usize,
        first: usize,
        blocks: &Range<usize>,
    ) -> *const f32 {
        let next = first + self.max_panels;
        let [group, panel] = if next < blocks.end {
            [group, next]
        } else if group + 1 < self.groups.len() {
            [group + 1, blocks.start]
        } else {
            [0, blocks.end]
        };
        let float = self.groups[group].start * self.segment_len * BLOCK;
        let start = self.step.weights + panel * self.panel_len() + float;
        // SAFETY: the offset 0 is in the weights.
        unsafe { context.weights_at(0) }.wrapping_add(start)
    }
}
