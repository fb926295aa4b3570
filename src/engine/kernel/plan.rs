//! The plan of an operation: its work items and tiles, computed once when a program is prepared.

use super::dispatch::{max_blocks, max_pixels, pair_tiles};
use crate::{
    isa::Isa,
    program::{BLOCK, DirectConvolution, Operation, PANEL, WinogradConvolution},
};

/// Most bytes of input for the rows of a work item: half of an L2 cache of 1 MiB, which x86 server cores have at
/// least.
const CHUNK_BYTES: usize = 512 * 1024;

/// With fewer panels than this, threads share the rows of a panel too. A Lambda function has 6 CPUs at most.
const FEW_PANELS: usize = 6;

/// How an operation is cut into work items.
pub(super) enum Plan {
    /// A direct convolution.
    Direct(DirectPlan),
    /// Winograd's algorithm, whose work items depend on the number of threads.
    Winograd,
    /// Another operation, with a fixed number of work items.
    Items(usize),
}

/// The plan of a direct convolution.
pub(super) struct DirectPlan {
    /// Number of work items: chunks of rows × panels.
    pub(super) items: usize,
    /// Output rows of a work item. The last chunk may have fewer.
    pub(super) rows: usize,
    /// Offset of each segment from the first float of a window.
    pub(super) segments: Vec<usize>,
    /// Length of a segment in floats.
    pub(super) segment_len: usize,
    /// Pixels of each tile of an output row.
    pub(super) row_tiles: Vec<usize>,
    /// Pixels of each tile of two output rows; empty if rows are computed one by one.
    pub(super) pair_tiles: &'static [usize],
}

impl Plan {
    /// Plans a verified operation.
    pub(super) fn new(operation: &Operation, isa: Isa) -> Self {
        match operation {
            Operation::Direct(convolution) => Self::Direct(DirectPlan::new(convolution, isa)),
            Operation::Winograd(_) => Self::Winograd,
            Operation::Load { output, .. }
            | Operation::MaxPool { output, .. }
            | Operation::GlobalAveragePool { output, .. }
            | Operation::Add { output, .. } => Self::Items(output.blocks * output.height),
            Operation::Softmax { .. } => Self::Items(1),
            Operation::Store { channels, .. } => Self::Items(*channels),
        }
    }
}

impl DirectPlan {
    fn new(convolution: &DirectConvolution, isa: Isa) -> Self {
        let (segments, segment_len) = convolution.segments();
        let (input, output) = (&convolution.input, &convolution.output);
        let row_bytes =
            input.blocks * input.row_stride() * convolution.window.stride[0] * size_of::<f32>();
        let panels = output.blocks.div_ceil(max_blocks(isa));
        // With many panels, sharing rows too would only read the weights again.
        let shared_rows = match panels < FEW_PANELS {
            true => output.height * panels / (2 * FEW_PANELS),
            false => output.height,
        };
        let rows = match (CHUNK_BYTES / row_bytes).min(shared_rows) {
            rows if rows >= output.height => output.height,
            // Even, so that rows can be computed in pairs.
            rows => (rows & !1).max(2),
        };
        Self {
            items: output.height.div_ceil(rows) * panels,
            rows,
            segments,
            segment_len,
            row_tiles: even_tiles(output.width, max_pixels(isa)),
            pair_tiles: pair_tiles(isa, output.width),
        }
    }
}

/// Cuts `pixels` pixels into as few tiles of at most `max` pixels as possible, of nearly the same size.
pub(super) fn even_tiles(pixels: usize, max: usize) -> Vec<usize> {
    let tiles = pixels.div_ceil(max);
    (0..tiles)
        .map(|tile| pixels * (tile + 1) / tiles - pixels * tile / tiles)
        .collect()
}

/// Number of work items of Winograd's algorithm: a multiple of the number of threads, if there are enough tiles.
pub(super) fn winograd_items(convolution: &WinogradConvolution, threads: usize) -> usize {
    let [rows, columns] = convolution.tile_grid();
    let tiles = rows * columns;
    tiles
        .div_ceil(convolution.max_tiles)
        .next_multiple_of(threads)
        .min(tiles)
}

/// Offset of the packed weights of channel block `block`, and the stride between the weights of two input floats.
/// `blocks` is the number of blocks, and `floats` the number of input floats for which each output channel has a
/// weight.
pub(super) fn block_weights(block: usize, blocks: usize, floats: usize) -> (usize, usize) {
    let first = block - block % PANEL;
    let panel_blocks = PANEL.min(blocks - first);
    let offset = first * BLOCK * floats + block % PANEL * BLOCK;
    (offset, panel_blocks * BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "x86_64")]
    use crate::kernel::dispatch::micro_kernel;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_tile_of_every_width_has_a_micro_kernel() {
        for isa in Isa::ALL {
            for blocks in 1..=max_blocks(isa) {
                for stride in [3, 6, BLOCK, 2 * BLOCK, 3 * BLOCK] {
                    for width in 1..60 {
                        let tiles = even_tiles(width, max_pixels(isa));
                        assert_eq!(tiles.iter().sum::<usize>(), width);
                        for tile in tiles {
                            micro_kernel(isa, tile, tile, blocks, stride);
                        }
                        let mut pixel = 0;
                        for &tile in pair_tiles(isa, width) {
                            let in_first_row = tile.min(width - pixel % width);
                            micro_kernel(isa, tile, in_first_row, blocks, stride);
                            pixel += tile;
                        }
                        assert!(pixel == 0 || pixel == 2 * width);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_of_a_panel_are_interleaved_and_the_last_may_be_alone() {
        assert_eq!(block_weights(0, 3, 10), (0, 2 * BLOCK));
        assert_eq!(block_weights(1, 3, 10), (BLOCK, 2 * BLOCK));
        assert_eq!(block_weights(2, 3, 10), (2 * BLOCK * 10, BLOCK));
    }
}
