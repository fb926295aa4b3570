//! A part of a convolution by Winograd's algorithm: the transforms and products of some tiles.

use std::{ops::Range, ptr};

use super::{
    super::tiles::{Form, Tiles},
    Prepared, Winograd,
};
use crate::{
    kernels::{
        convolution::{MAX_PANELS, MAX_PIXELS, Tile},
        transform::Transform,
    },
    program::BLOCK,
    runtime::Context,
};

/// Some tiles, and the workspace for them.
///
/// The workspace holds the transformed inputs, then the transformed outputs. The axes of each are, from the slowest to
/// the fastest: positions, channel blocks, tiles, lanes.
pub(super) struct Part<'a> {
    prepared: &'a Prepared,
    context: &'a Context<'a>,
    /// Numbers of the tiles in the grid, row by row.
    tiles: Range<usize>,
    /// Transformed inputs.
    inputs: *mut f32,
    /// Stride between two positions of the transformed inputs, in floats.
    input_stride: usize,
    /// Transformed outputs.
    outputs: *mut f32,
    /// Stride between two positions of the transformed outputs, in floats.
    output_stride: usize,
}

impl<'a> Part<'a> {
    /// # Safety
    ///
    /// The workspace has room for the transformed inputs and outputs of the tiles.
    pub(super) unsafe fn new(
        prepared: &'a Prepared,
        context: &'a Context<'a>,
        tiles: Range<usize>,
        workspace: *mut f32,
    ) -> Self {
        let step = &prepared.step;
        let input_stride = step.input.blocks * tiles.len() * BLOCK;
        Self {
            prepared,
            context,
            inputs: workspace,
            input_stride,
            // SAFETY: the caller ensures that the workspace has room for the transformed inputs.
            outputs: unsafe { workspace.add(step.positions() * input_stride) },
            output_stride: step.output.blocks * tiles.len() * BLOCK,
            tiles,
        }
    }

    /// Each tile's number within the part, and the row and column of its first output pixel.
    fn origins(&self) -> impl Iterator<Item = (usize, [usize; 2])> {
        let [_, columns] = self.prepared.step.tile_grid();
        let size = self.prepared.step.output_tile;
        let origins = self.tiles.clone();
        origins
            .map(move |tile| [tile / columns * size, tile % columns * size])
            .enumerate()
    }

    /// Transforms the input of all tiles in some blocks.
    ///
    /// # Safety
    ///
    /// The step was verified, and no other thread accesses the transformed inputs of these tiles and blocks.
    pub(super) unsafe fn transform_inputs(&self, blocks: Range<usize>) {
        let Winograd { input, origin, .. } = &self.prepared.step;
        for block in blocks {
            for (tile, [y, x]) in self.origins() {
                let from = input.offset
                    + block * input.block_stride()
                    + (y + origin[0]) * input.row_stride()
                    + (x + origin[1]) * BLOCK;
                // SAFETY: Verified: the windows of whole tiles are inside the input. The workspace has room, as `new`
                // requires. Instructions: the CPU has them.
                unsafe {
                    (self.prepared.transform)(&Transform::Input {
                        from: self.context.at(from),
                        row_stride: input.row_stride(),
                        to: self.inputs.add((block * self.tiles.len() + tile) * BLOCK),
                        position_stride: self.input_stride,
                    });
                }
            }
        }
    }

    /// Multiplies the transformed inputs with the transformed weights, for some positions and output blocks.
    ///
    /// # Safety
    ///
    /// The step was verified, the inputs of these positions are transformed, and no other thread accesses the
    /// transformed outputs of these positions and blocks.
    pub(super) unsafe fn multiply(&self, positions: Range<usize>, blocks: Range<usize>) {
        let Prepared {
            step,
            groups,
            max_panels,
            ..
        } = self.prepared;
        let segments: Vec<usize> = (0..step.input.blocks)
            .map(|block| block * self.tiles.len() * BLOCK)
            .collect();
        for position in positions {
            for first in blocks.clone().step_by(*max_panels) {
                let panels = (*max_panels).min(blocks.end - first);
                for group in groups {
                    // SAFETY: the caller ensures what it requires.
                    unsafe { self.panel(position, [first, panels], group.clone(), &segments) };
                }
            }
        }
    }

    /// Multiplies for one position, one or two panels, and one group of input blocks.
    ///
    /// # Safety
    ///
    /// As for [`Self::multiply`].
    unsafe fn panel(
        &self,
        position: usize,
        [first, panels]: [usize; 2],
        group: Range<usize>,
        segments: &[usize],
    ) {
        /// The biases of two panels.
        static ZEROS: [f32; MAX_PANELS * BLOCK] = [0.0; MAX_PANELS * BLOCK];
        let Prepared {
            step,
            max_pixels,
            kernels,
            ..
        } = self.prepared;
        let tiles = self.tiles.len();
        let panel_len = step.input.blocks * BLOCK * BLOCK;
        let panel = position * step.output.blocks + first;
        // SAFETY: Verified: the weights of all positions are inside the weights.
        let weights = unsafe { self.context.weights_at(step.weights + panel * panel_len) };
        let of_group =
            |panel: usize| weights.wrapping_add(panel * panel_len + group.start * BLOCK * BLOCK);
        // The next group of this panel, or the next panel.
        let next = |panel: usize| match group.end < step.input.blocks {
            true => of_group(panel).wrapping_add(group.len() * BLOCK * BLOCK),
            false => weights.wrapping_add((panels + panel) * panel_len),
        };
        let mut tile = Tile {
            repeat: 1,
            input: [ptr::null(); MAX_PIXELS],
            segments: segments[group.clone()].as_ptr(),
            segment_count: group.len(),
            segment_len: BLOCK,
            weights: std::array::from_fn(of_group),
            prefetch: [ptr::null(); MAX_PANELS],
            bias: if group.start == 0 {
                ZEROS.as_ptr()
            } else {
                ptr::null()
            },
            is_last: false,
            residual: [ptr::null(); MAX_PIXELS],
            residual_stride: 0,
            residual_panel_stride: 0,
            output: [ptr::null_mut(); MAX_PIXELS],
            output_panel_stride: tiles * BLOCK,
            low: f32::NEG_INFINITY,
            high: f32::INFINITY,
        };
        let parts = Tiles::new(tiles, *max_pixels);
        let (prefetching, lines) = kernels.prefetch(parts.count);
        let mut part = 0;
        while part < parts.count {
            let [end, lines] = match part < prefetching {
                true => [prefetching.min(parts.count), lines],
                false => [parts.count, 0],
            };
            tile.repeat = parts.same(part, end);
            let start = parts.start(part);
            let input = position * self.input_stride + start * BLOCK;
            let output = position * self.output_stride + (first * tiles + start) * BLOCK;
            tile.prefetch = std::array::from_fn(|panel| {
                next(panel).wrapping_add(part * lines * group.len() * BLOCK)
            });
            // SAFETY: The workspace has room, as `new` requires. The caller ensures that no other thread accesses these
            // outputs. Instructions: the CPU has them.
            unsafe {
                tile.input[0] = self.inputs.add(input);
                tile.output[0] = self.outputs.add(output);
                kernels.get(parts.pixels(part), panels, Form::Strided, lines)(&tile);
            }
            part += tile.repeat;
        }
    }

    /// Transforms the output of all tiles in some blocks, and clears the halo beside them.
    ///
    /// # Safety
    ///
    /// The step was verified, the products of these blocks are computed, and no other thread accesses these tiles of the
    /// blocks of the output.
    pub(super) unsafe fn transform_outputs(&self, blocks: Range<usize>) {
        let Self { context, .. } = self;
        let Winograd {
            output,
            output_tile: size,
            bias,
            activation,
            ..
        } = &self.prepared.step;
        let [_, columns] = self.prepared.step.tile_grid();
        let [low, high] = activation.bounds();
        // The halo of a row belongs to the part with the row's first tile.
        let [first, end] = [self.tiles.start, self.tiles.end]
            .map(|tile| (tile.div_ceil(columns) * size).min(output.height));
        for block in blocks {
            if first < end {
                // SAFETY: Verified: the output is in the arena. Disjoint: the caller ensures it.
                unsafe { context.clear_halo(output, block, first..end) };
            }
            for (tile, [y, x]) in self.origins() {
                // `size` ends a tile at the edge of the output.
                let [rows, columns] =
                    [output.height - y, output.width - x].map(|left| left.min(*size));
                // SAFETY: Verified: the output is in the arena, and the biases of all blocks in the weights. The caller
                // ensures that no other thread accesses the tile. Instructions: the CPU has them.
                unsafe {
                    (self.prepared.transform)(&Transform::Output {
                        from: self.outputs.add((block * self.tiles.len() + tile) * BLOCK),
                        position_stride: self.output_stride,
                        to: context.at(output.offset_of(block, y, x)),
                        row_stride: output.row_stride(),
                        size: [rows, columns],
                        bias: context.weights_at(bias + block * BLOCK),
                        low,
                        high,
                    });
                    for y in y..y + rows {
                        context.curve_pixels(*activation, output, block, [y, x], columns);
                    }
                }
            }
        }
    }
}
