//! Loops over the pixels of a row of one channel block: affine function, sum, product. A pixel has 16 floats.

use super::vector::Vector;

/// clamp(scale × x + shift).
#[derive(Clone, Copy)]
pub(crate) struct AffineRow {
    /// First float of the input.
    pub(crate) input: *const f32,
    /// 16 factors, one for each channel.
    pub(crate) scale: *const f32,
    /// 16 summands, one for each channel.
    pub(crate) shift: *const f32,
    /// Output of the first pixel.
    pub(crate) output: *mut f32,
    /// Number of pixels.
    pub(crate) pixels: usize,
    /// Lower bound of the outputs.
    pub(crate) low: f32,
    /// Upper bound of the outputs.
    pub(crate) high: f32,
}

/// clamp(a + b).
#[derive(Clone, Copy)]
pub(crate) struct AddRow {
    /// First float of the first summand.
    pub(crate) a: *const f32,
    /// First float of the second summand.
    pub(crate) b: *const f32,
    /// Output of the first pixel.
    pub(crate) output: *mut f32,
    /// Number of pixels.
    pub(crate) pixels: usize,
    /// Lower bound of the outputs.
    pub(crate) low: f32,
    /// Upper bound of the outputs.
    pub(crate) high: f32,
}

/// a × b.
#[derive(Clone, Copy)]
pub(crate) struct MultiplyRow {
    /// First float of the first factor.
    pub(crate) a: *const f32,
    /// First float of the second factor.
    pub(crate) b: *const f32,
    /// Stride between two pixels of the second factor: 16, or 0 if it is the same for all pixels.
    pub(crate) b_stride: usize,
    /// Output of the first pixel.
    pub(crate) output: *mut f32,
    /// Number of pixels.
    pub(crate) pixels: usize,
}

/// Factor × 16 floats, for each of some factors.
#[derive(Clone, Copy)]
pub(crate) struct ScaleRows {
    /// First factor.
    pub(crate) factors: *const f32,
    /// First of the floats.
    pub(crate) input: *const f32,
    /// First float of the output.
    pub(crate) output: *mut f32,
    /// Number of factors.
    pub(crate) rows: usize,
}

/// Computes a row.
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `row` is valid: for reads of inputs and factors,
/// and for writes of the output, which no other thread accesses.
#[inline(always)]
pub(crate) unsafe fn affine<V: Vector>(row: &AffineRow) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let (low, high) = (V::splat(row.low), V::splat(row.high));
        for lane in (0..16).step_by(V::LANES) {
            let (scale, shift) = (V::load(row.scale.add(lane)), V::load(row.shift.add(lane)));
            for at in (lane..row.pixels * 16).step_by(16) {
                let value = V::load(row.input.add(at)).mul_add(scale, shift);
                high.min(low.max(value)).store(row.output.add(at));
            }
        }
    }
}

/// Computes a row.
///
/// # Safety
///
/// As for [`affine`].
#[inline(always)]
pub(crate) unsafe fn add<V: Vector>(row: &AddRow) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let (low, high) = (V::splat(row.low), V::splat(row.high));
        for at in (0..row.pixels * 16).step_by(V::LANES) {
            let sum = V::load(row.a.add(at)).add(V::load(row.b.add(at)));
            high.min(low.max(sum)).store(row.output.add(at));
        }
    }
}

/// Computes a row.
///
/// # Safety
///
/// As for [`affine`].
#[inline(always)]
pub(crate) unsafe fn multiply<V: Vector>(row: &MultiplyRow) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        for lane in (0..16).step_by(V::LANES) {
            for pixel in 0..row.pixels {
                let factor = V::load(row.b.add(pixel * row.b_stride + lane));
                let product = V::load(row.a.add(pixel * 16 + lane)).mul(factor);
                product.store(row.output.add(pixel * 16 + lane));
            }
        }
    }
}

/// Computes the rows.
///
/// # Safety
///
/// As for [`affine`].
#[inline(always)]
pub(crate) unsafe fn scale<V: Vector>(rows: &ScaleRows) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        for row in 0..rows.rows {
            let factor = V::splat(*rows.factors.add(row));
            for lane in (row * 16..(row + 1) * 16).step_by(V::LANES) {
                let product = V::load(rows.input.add(lane)).mul(factor);
                product.store(rows.output.add(lane));
            }
        }
    }
}
