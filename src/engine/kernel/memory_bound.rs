//! Work items of the operations that memory limits rather than arithmetic: load, store, pooling, sum, softmax.

use std::{ptr, slice};

use super::{
    context::Context,
    dispatch,
    pooling::{PoolingRow, Reduction},
};
use crate::program::{BLOCK, Clamp, FeatureMap, Residual, TensorLayout, Window};

/// Loads one row of one channel block.
///
/// # Safety
///
/// The arguments are those of a verified operation, and `item` is a work item of it that no other thread works on.
pub(super) unsafe fn load(
    context: &Context,
    input: &[f32],
    layout: TensorLayout,
    channels: usize,
    output: &FeatureMap,
    item: usize,
) {
    let (block, y) = (item / output.height, item % output.height);
    // SAFETY: Verified: the row is in the arena. Disjoint: the row and its halo belong to this work item.
    let row = unsafe {
        context.clear_halo(output, block, y..y + 1);
        slice::from_raw_parts_mut(
            context.arena.add(output.offset_of(block, y, 0)),
            output.width * output.lanes,
        )
    };
    // Channels of this block, without those that only fill it up. Verified: the last channel is in the last block.
    let present = (channels - block * output.lanes).min(output.lanes);
    match layout {
        TensorLayout::Nhwc if present == channels && channels == output.lanes => {
            row.copy_from_slice(&input[y * row.len()..][..row.len()]);
        }
        _ => {
            for (x, pixel) in row.chunks_exact_mut(output.lanes).enumerate() {
                pixel.fill(0.0);
                for (lane, value) in pixel[..present].iter_mut().enumerate() {
                    let channel = block * output.lanes + lane;
                    *value = input[match layout {
                        TensorLayout::Nhwc => (y * output.width + x) * channels + channel,
                        TensorLayout::Nchw => (channel * output.height + y) * output.width + x,
                    }];
                }
            }
        }
    }
}

/// Stores one channel.
///
/// # Safety
///
/// The arguments are those of a verified operation, and `channel` is a work item of it that no other thread works on.
/// `output` has channels × rows × columns floats.
pub(super) unsafe fn store(
    context: &Context,
    input: &FeatureMap,
    output: *mut f32,
    channel: usize,
) {
    for y in 0..input.height {
        for x in 0..input.width {
            let from = input.offset_of(channel / input.lanes, y, x) + channel % input.lanes;
            let to = (channel * input.height + y) * input.width + x;
            // SAFETY: Verified: the pixel is in the arena, and the output tensor has as many channels as work items.
            // Disjoint: the channel of the output belongs to this work item.
            unsafe { *output.add(to) = *context.arena.add(from) };
        }
    }
}

/// Computes a softmax over the first `channels` channels. The other channels of the output become 0.
///
/// # Safety
///
/// The arguments are those of a verified operation, whose only work item no other thread works on.
pub(super) unsafe fn softmax(
    context: &Context,
    input: &FeatureMap,
    channels: usize,
    output: &FeatureMap,
) {
    // SAFETY: Verified: both feature maps have one pixel without a halo and at least these channels, which therefore
    // are contiguous, and they do not overlap. Disjoint: the output belongs to the only work item.
    let (from, to) = unsafe {
        (
            slice::from_raw_parts(context.arena.add(input.offset), channels),
            slice::from_raw_parts_mut(context.arena.add(output.offset), output.len()),
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

/// A pooling: `MaxPool`, `GlobalAveragePool` or `Add`.
pub(super) struct Pooling<'a> {
    pub(super) input: &'a FeatureMap,
    pub(super) output: &'a FeatureMap,
    pub(super) window: Window,
    pub(super) reduction: Reduction,
    pub(super) residual: Option<&'a Residual>,
    pub(super) clamp: Clamp,
}

/// Computes one row of one channel block.
///
/// # Safety
///
/// The pooling is that of a verified operation, and `item` is a work item of it that no other thread works on.
pub(super) unsafe fn pool(context: &Context, pooling: &Pooling, item: usize) {
    let Pooling {
        input,
        output,
        window,
        residual,
        ..
    } = pooling;
    let (block, y) = (item / output.height, item % output.height);
    let [low, high] = pooling.clamp.bounds();
    // SAFETY: Verified: all windows and residuals are inside their feature maps, and these in the arena. Disjoint: the
    // row of the output and its halo belong to this work item. Instructions: the context's are there.
    unsafe {
        context.clear_halo(output, block, y..y + 1);
        let from = input.offset
            + block * input.block_stride()
            + (y * window.stride[0] + window.origin[0]) * input.row_stride()
            + window.origin[1] * BLOCK;
        let row = PoolingRow {
            input: context.arena.add(from),
            kernel: window.kernel,
            row_stride: input.row_stride(),
            stride: window.stride[1] * BLOCK,
            reduction: pooling.reduction,
            residual: residual.map_or(ptr::null(), |residual| {
                let map = &residual.feature_map;
                let at = map.offset_of(block, y * residual.stride, 0);
                context.arena.add(at).cast_const()
            }),
            residual_stride: residual.map_or(0, |residual| residual.stride * BLOCK),
            output: context.arena.add(output.offset_of(block, y, 0)),
            pixels: output.width,
            low,
            high,
        };
        dispatch::pool(context.isa, &row);
    }
}
