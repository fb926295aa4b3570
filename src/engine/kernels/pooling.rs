//! The pooling loops: maximum or mean of each window, or of all pixels.

use super::vector::Vector;
use crate::graph::Reduction;

/// The arguments: some output pixels of one row in one channel block, whose windows have the same size. Strides are in
/// floats, and a pixel has 16.
#[derive(Clone, Copy)]
pub(crate) struct PoolRow {
    /// First float of the first window.
    pub(crate) input: *const f32,
    /// Rows and columns of the window.
    pub(crate) kernel: [usize; 2],
    /// Stride between two rows of the input.
    pub(crate) row_stride: usize,
    /// Stride between the windows of two pixels.
    pub(crate) stride: usize,
    pub(crate) reduction: Reduction,
    /// Output of the first pixel.
    pub(crate) output: *mut f32,
    /// Number of output pixels.
    pub(crate) pixels: usize,
}

/// Computes a row.
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `row` is valid: for reads of the input, and for
/// writes of the output, which no other thread accesses.
#[inline(always)]
pub(crate) unsafe fn pool<V: Vector>(row: &PoolRow) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let factor = V::splat(1.0 / (row.kernel[0] * row.kernel[1]) as f32);
        for pixel in 0..row.pixels {
            for lane in (0..16).step_by(V::LANES) {
                let window = row.input.add(pixel * row.stride + lane);
                let at = |y: usize, x: usize| V::load(window.add(y * row.row_stride + x * 16));
                let mut reduced = at(0, 0);
                for y in 0..row.kernel[0] {
                    for x in usize::from(y == 0)..row.kernel[1] {
                        reduced = match row.reduction {
                            Reduction::Max => reduced.max(at(y, x)),
                            Reduction::Mean => reduced.add(at(y, x)),
                        };
                    }
                }
                if row.reduction == Reduction::Mean {
                    reduced = reduced.mul(factor);
                }
                reduced.store(row.output.add(pixel * 16 + lane));
            }
        }
    }
}

/// The arguments: one channel block. Strides are in floats, and a pixel has 16.
#[derive(Clone, Copy)]
pub(crate) struct GlobalPool {
    /// First float of the first pixel.
    pub(crate) input: *const f32,
    /// Rows and columns.
    pub(crate) size: [usize; 2],
    /// Stride between two rows.
    pub(crate) row_stride: usize,
    pub(crate) reduction: Reduction,
    /// The output pixel.
    pub(crate) output: *mut f32,
}

/// Accumulators of [`global_pool`]: one sum would wait for each addition before the next.
const ACCUMULATORS: usize = 4;

/// Reduces all pixels to one.
///
/// # Safety
///
/// As for [`pool`].
#[inline(always)]
pub(crate) unsafe fn global_pool<V: Vector>(pool: &GlobalPool) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let [rows, columns] = pool.size;
        let reduce = |a: V, b: V| match pool.reduction {
            Reduction::Max => a.max(b),
            Reduction::Mean => a.add(b),
        };
        let start = match pool.reduction {
            Reduction::Max => f32::NEG_INFINITY,
            Reduction::Mean => 0.0,
        };
        for lane in (0..16).step_by(V::LANES) {
            let mut accumulators = [V::splat(start); ACCUMULATORS];
            for y in 0..rows {
                let row = pool.input.add(y * pool.row_stride + lane);
                let whole = columns - columns % ACCUMULATORS;
                for x in (0..whole).step_by(ACCUMULATORS) {
                    for (n, accumulator) in accumulators.iter_mut().enumerate() {
                        *accumulator = reduce(*accumulator, V::load(row.add((x + n) * 16)));
                    }
                }
                for x in whole..columns {
                    accumulators[0] = reduce(accumulators[0], V::load(row.add(x * 16)));
                }
            }
            let [a, b, c, d] = accumulators;
            let mut reduced = reduce(reduce(a, b), reduce(c, d));
            if pool.reduction == Reduction::Mean {
                reduced = reduced.mul(V::splat(1.0 / (rows * columns) as f32));
            }
            reduced.store(pool.output.add(lane));
        }
    }
}
