//! Work items of steps that compute one row of one channel block each.

use crate::{
    activation::Activation,
    program::{BLOCK, FeatureMap},
    runtime::Context,
};

/// Number of rows of a feature map, in all its blocks.
pub(super) fn count(output: &FeatureMap) -> usize {
    output.blocks * output.height
}

/// Block and row of a work item.
pub(super) fn block_and_row(output: &FeatureMap, item: usize) -> [usize; 2] {
    [item / output.height, item % output.height]
}

/// Clears the halo of the row, lets `compute` write its pixels, and applies the curve of an activation, if it is one.
///
/// # Safety
///
/// The feature map is in the arena, has whole channel blocks, and no other thread accesses the row.
pub(super) unsafe fn write(
    context: &Context,
    output: &FeatureMap,
    [block, y]: [usize; 2],
    activation: Activation,
    compute: impl FnOnce(*mut f32),
) {
    debug_assert_eq!(output.lanes, BLOCK);
    // SAFETY: the caller ensures that the row is in the arena and belongs to this thread.
    unsafe {
        context.clear_halo(output, block, y..y + 1);
        compute(context.at(output.offset_of(block, y, 0)));
        context.curve(activation, output, block, y..y + 1);
    }
}
