//! The memory that the work items of a run share.

use std::{ops::Range, ptr};

use super::profile::Clock;
use crate::{
    activation::Activation,
    kernels::Kernels,
    program::{BLOCK, FeatureMap},
};

/// The memory of one run. Addresses in it follow from steps, which were verified.
pub(crate) struct Context<'a> {
    /// The CPU has their instruction set.
    pub(super) kernels: &'static Kernels,
    /// First float of the arena, which the workspaces follow. All of it is initialized.
    pub(super) arena: *mut f32,
    /// As long as the program says.
    pub(super) weights: &'a [f32],
    /// Input tensors, as long as the program's shapes say.
    pub(super) inputs: &'a [&'a [f32]],
    /// Output tensors, as long as the program's shapes say.
    pub(super) outputs: &'a [*mut f32],
    /// Number of threads of the run.
    pub(super) threads: usize,
    /// Time of matrix products, if the run is profiled.
    pub(super) products: Clock,
}

// SAFETY: `Runnable::run` has exclusive access to the arena and the outputs while the context lives, and its threads
// access them as the invariants Disjoint and Ordered of the module `runtime` say.
unsafe impl Sync for Context<'_> {}

impl Context<'_> {
    /// The loops of the CPU.
    pub(crate) fn kernels(&self) -> &'static Kernels {
        self.kernels
    }

    /// Number of threads of the run.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The time of matrix products.
    pub(crate) fn products(&self) -> &Clock {
        &self.products
    }

    /// An input tensor of the network.
    pub(crate) fn input(&self, index: usize) -> &[f32] {
        self.inputs[index]
    }

    /// An output tensor of the network.
    pub(crate) fn output(&self, index: usize) -> *mut f32 {
        self.outputs[index]
    }

    /// The offset of a workspace, as [`Self::at`] takes it.
    pub(crate) fn offset(&self, workspace: *const f32) -> usize {
        (workspace.addr() - self.arena.addr()) / size_of::<f32>()
    }

    /// An address in the arena, or in the workspaces, which follow it.
    ///
    /// # Safety
    ///
    /// `offset` is at most the length of both.
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller ensures that the offset is inside.
        unsafe { self.arena.add(offset) }
    }

    /// An address in the weights.
    ///
    /// # Safety
    ///
    /// `offset` is at most the length of the weights.
    pub(crate) unsafe fn weights_at(&self, offset: usize) -> *const f32 {
        // SAFETY: the caller ensures that the offset is inside.
        unsafe { self.weights.as_ptr().add(offset) }
    }

    /// Applies the curve of an activation, if it is one, to `pixels` pixels of a row of a channel block.
    ///
    /// # Safety
    ///
    /// The feature map is in the arena or in this thread's workspace, the pixels are in it, and no other thread accesses them.
    pub(crate) unsafe fn curve_pixels(
        &self,
        activation: Activation,
        map: &FeatureMap,
        block: usize,
        [y, x]: [usize; 2],
        pixels: usize,
    ) {
        if let Some(curve) = activation.curve() {
            // SAFETY: the caller ensures that these pixels are in the arena. Instructions: the CPU has them.
            unsafe {
                let values = self.at(map.offset_of(block, y, x));
                (self.kernels.curve)(curve, values, pixels * BLOCK);
            }
        }
    }

    /// Applies the curve of an activation, if it is one, to some rows of a channel block.
    ///
    /// # Safety
    ///
    /// The feature map is in the arena or in this thread's workspace, and no other thread accesses these rows.
    pub(crate) unsafe fn curve(
        &self,
        activation: Activation,
        map: &FeatureMap,
        block: usize,
        rows: Range<usize>,
    ) {
        for y in rows {
            // SAFETY: the caller ensures that the row is in the arena and belongs to this thread.
            unsafe { self.curve_pixels(activation, map, block, [y, 0], map.width) };
        }
    }

    /// Sets the halo at these rows of a channel block to zero: the columns beside them, the rows above the first row of
    /// the feature map and those below the last.
    ///
    /// # Safety
    ///
    /// The feature map is in the arena or in this thread's workspace, and no other thread accesses this halo.
    pub(crate) unsafe fn clear_halo(&self, map: &FeatureMap, block: usize, rows: Range<usize>) {
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
