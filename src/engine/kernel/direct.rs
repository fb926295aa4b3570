//! Work items of direct convolutions.

use std::ptr;

use super::{
    context::Context,
    dispatch::{max_blocks, micro_kernel, vector_stride},
    micro_kernel::Tile,
    plan::{DirectPlan, block_weights},
};
use crate::program::{BLOCK, DirectConvolution};

/// Computes some rows of the output, for the channel blocks of one tile.
///
/// # Safety
///
/// The convolution was verified, `plan` is its plan, and `item` is a work item of it that no other thread works on.
pub(super) unsafe fn rows(
    context: &Context,
    convolution: &DirectConvolution,
    plan: &DirectPlan,
    item: usize,
) {
    let output = &convolution.output;
    let isa = context.isa;
    let panels = output.blocks.div_ceil(max_blocks(isa));
    let (chunk, first) = (item / panels, item % panels * max_blocks(isa));
    let blocks = max_blocks(isa).min(output.blocks - first);
    let rows = chunk * plan.rows..((chunk + 1) * plan.rows).min(output.height);
    // SAFETY: Disjoint: the halo at these rows of these blocks belongs to this work item. Verified: the feature map is
    // in the arena.
    unsafe {
        for block in first..first + blocks {
            context.clear_halo(output, block, rows.clone());
        }
    }
    // SAFETY: Verified: the weights and biases of all blocks are inside the weights.
    let mut arguments = unsafe { arguments(context, convolution, plan, first) };
    let mut y = rows.start;
    while y < rows.end {
        let is_pair = !plan.pair_tiles.is_empty() && y + 1 < rows.end;
        let tiles = if is_pair {
            plan.pair_tiles
        } else {
            &plan.row_tiles
        };
        let mut pixel = 0;
        for &pixels in tiles {
            let (row, x) = (y + pixel / output.width, pixel % output.width);
            let in_first_row = pixels.min(output.width - x);
            // The rest of the tile is at the start of the next row.
            let starts = [(row, x), (row + usize::from(in_first_row < pixels), 0)];
            let kernel = micro_kernel(isa, pixels, in_first_row, blocks, arguments.stride);
            // SAFETY: Verified: all windows, residuals and outputs are inside their feature maps. Disjoint: these rows
            // of these blocks belong to this work item. Instructions: the context's are there.
            unsafe {
                address(context, convolution, first, starts, &mut arguments);
                kernel(&arguments);
            }
            pixel += pixels;
        }
        y += 1 + usize::from(is_pair);
    }
}

/// The arguments that all tiles of a work item share. `first` is the first of its channel blocks.
///
/// # Safety
///
/// The weights and biases of the convolution are inside the context's weights.
unsafe fn arguments(
    context: &Context,
    convolution: &DirectConvolution,
    plan: &DirectPlan,
    first: usize,
) -> Tile {
    let (input, output) = (&convolution.input, &convolution.output);
    let [low, high] = convolution.clamp.bounds();
    let floats = plan.segments.len() * plan.segment_len;
    let (block_offset, weights_stride) = block_weights(first, output.blocks, floats);
    let residual = convolution.residual.as_ref();
    let vector_stride = |block_stride| vector_stride(context.isa, block_stride);
    let weights = context.weights.as_ptr();
    Tile {
        input: [ptr::null(); 2],
        segments: plan.segments.as_ptr(),
        segment_count: plan.segments.len(),
        segment_len: plan.segment_len,
        stride: convolution.window.stride[1] * input.lanes,
        // SAFETY: the caller ensures that the weights are inside.
        weights: unsafe { weights.add(convolution.weights_offset + block_offset) },
        weights_stride,
        // SAFETY: the caller ensures that the biases are inside.
        bias: unsafe { weights.add(convolution.bias_offset + first * BLOCK) },
        residual: [ptr::null(); 2],
        residual_stride: residual.map_or(0, |residual| residual.stride * BLOCK),
        residual_vector_stride: residual.map_or(0, |residual| {
            vector_stride(residual.feature_map.block_stride())
        }),
        output: [ptr::null_mut(); 2],
        output_vector_stride: vector_stride(output.block_stride()),
        low,
        high,
    }
}

/// Sets the addresses of a tile. `starts` are row and column of its first output pixel in each of its two rows.
///
/// # Safety
///
/// The windows and residuals of these output pixels, and the pixels themselves, are in the arena.
unsafe fn address(
    context: &Context,
    convolution: &DirectConvolution,
    first: usize,
    starts: [(usize, usize); 2],
    arguments: &mut Tile,
) {
    let (input, output) = (&convolution.input, &convolution.output);
    let [stride, _] = convolution.window.stride;
    let [top, left] = convolution.window.origin;
    // SAFETY: the caller ensures that all these addresses are in the arena.
    unsafe {
        arguments.input = starts.map(|(y, x)| {
            let row = input.offset + (y * stride + top) * input.row_stride();
            let at = row + x * arguments.stride + left * input.lanes;
            context.arena.add(at).cast_const()
        });
        if let Some(residual) = &convolution.residual {
            arguments.residual = starts.map(|(y, x)| {
                let map = &residual.feature_map;
                let at = map.offset_of(first, y * residual.stride, x * residual.stride);
                context.arena.add(at).cast_const()
            });
        }
        arguments.output = starts.map(|(y, x)| context.arena.add(output.offset_of(first, y, x)));
    }
}
