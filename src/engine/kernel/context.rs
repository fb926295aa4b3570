//! The memory that the work items of a run share.

use std::{ops::Range, ptr};

use crate::{isa::Isa, program::FeatureMap};

/// The memory of one run. Addresses in it follow from operations, which were verified.
pub(super) struct Context<'a> {
    /// The CPU has this instruction set.
    pub(super) isa: Isa,
    /// As long as [`verify`](super::verify::verify) was told, and initialized.
    pub(super) arena: *mut f32,
    /// As long as [`verify`](super::verify::verify) was told.
    pub(super) weights: &'a [f32],
    /// Input tensors, as long as the program's shapes say.
    pub(super) inputs: &'a [&'a [f32]],
    /// Output tensors, as long as the program's shapes say.
    pub(super) outputs: &'a [*mut f32],
    /// Number of threads of the run.
    pub(super) threads: usize,
}

// SAFETY: `Runnable::run` has exclusive access to the arena and the outputs while the context lives, and its threads
// access them as the invariants Disjoint and Ordered of the module `kernel` say.
unsafe impl Sync for Context<'_> {}

impl Context<'_> {
    /// Sets the halo at these rows of a channel block to zero: the columns beside them, the rows above the first row of
    /// the feature map and those below the last.
    ///
    /// # Safety
    ///
    /// The feature map is in the arena, and no other thread accesses this halo.
    pub(super) unsafe fn clear_halo(&self, map: &FeatureMap, block: usize, rows: Range<usize>) {
        let FeatureMap { halo, height, .. } = map;
        let first =
            map.offset_of(block, 0, 0) - halo.top * map.row_stride() - halo.left * map.lanes;
        let clear = |start: usize, len: usize| {
            // SAFETY: the caller ensures that the feature map, of which this is a part, is in the arena.
            unsafe { ptr::write_bytes(self.arena.add(start), 0, len) }
        };
        let row = |y: usize| first + y * map.row_stride();
        if rows.start == 0 {
            clear(first, halo.top * map.row_stride());
        }
        if halo.left + halo.right > 0 {
            for y in rows.clone() {
                let right = halo.right * map.lanes;
                clear(row(halo.top + y), halo.left * map.lanes);
                clear(row(halo.top + y) + map.row_stride() - right, right);
            }
        }
        if rows.end == *height {
            clear(row(halo.top + height), halo.bottom * map.row_stride());
        }
    }
}
