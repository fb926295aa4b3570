//! The pooling loop: maximum or scaled sum of each window, plus a residual. A sum of two feature maps is a sum over
//! windows of one pixel with a residual.

use super::vector::Vector;

/// How the values of a window are reduced to one.
#[derive(Clone, Copy)]
pub(super) enum Reduction {
    /// Their maximum.
    Max,
    /// Their sum times this factor.
    Sum(f32),
}

/// The arguments of the pooling loop: one row of output pixels in one channel block. Strides are in floats, and a
/// pixel has 16.
#[derive(Clone, Copy)]
pub(super) struct PoolingRow {
    /// First float of the first window.
    pub(super) input: *const f32,
    /// Rows and columns of the window.
    pub(super) kernel: [usize; 2],
    /// Stride between two rows of the input.
    pub(super) row_stride: usize,
    /// Stride between the windows of two pixels.
    pub(super) stride: usize,
    pub(super) reduction: Reduction,
    /// Residual of the first pixel; null if there is none.
    pub(super) residual: *const f32,
    /// Stride between the residuals of two pixels.
    pub(super) residual_stride: usize,
    /// Output of the first pixel.
    pub(super) output: *mut f32,
    /// Number of output pixels.
    pub(super) pixels: usize,
    /// Lower bound of the outputs.
    pub(super) low: f32,
    /// Upper bound of the outputs.
    pub(super) high: f32,
}

/// Computes a row.
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `row` is valid: for reads of the input and the
/// residual, and for writes of the output, which no other thread accesses.
#[inline(always)]
pub(super) unsafe fn pool<V: Vector>(row: &PoolingRow) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let (low, high) = (V::splat(row.low), V::splat(row.high));
        for pixel in 0..row.pixels {
            for lane in (0..16).step_by(V::LANES) {
                let window = row.input.add(pixel * row.stride + lane);
                let at = |y: usize, x: usize| V::load(window.add(y * row.row_stride + x * 16));
                let mut reduced = match row.reduction {
                    Reduction::Max => V::splat(f32::NEG_INFINITY),
                    Reduction::Sum(_) => V::splat(0.0),
                };
                for y in 0..row.kernel[0] {
                    for x in 0..row.kernel[1] {
                        reduced = match row.reduction {
                            Reduction::Max => reduced.max(at(y, x)),
                            Reduction::Sum(_) => reduced.add(at(y, x)),
                        };
                    }
                }
                if let Reduction::Sum(factor) = row.reduction {
                    reduced = reduced.mul_add(V::splat(factor), V::splat(0.0));
                }
                if !row.residual.is_null() {
                    let residual = row.residual.add(pixel * row.residual_stride + lane);
                    reduced = reduced.add(V::load(residual));
                }
                let output = row.output.add(pixel * 16 + lane);
                high.min(low.max(reduced)).store(output);
            }
        }
    }
}
