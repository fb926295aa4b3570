//! A SIMD register of f32, over which the loops are generic.

/// A SIMD register of f32.
///
/// # Safety
///
/// The methods may only be called on a CPU that has the instructions of the implementation.
pub(crate) trait Vector: Copy {
    /// Number of f32 in the register. It divides 16.
    const LANES: usize;
    /// All lanes set to `value`.
    unsafe fn splat(value: f32) -> Self;
    /// Reads `LANES` values from `from`, which need not be aligned.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `LANES` values to `to`, which need not be aligned.
    unsafe fn store(self, to: *mut f32);
    /// Prefetches the cache line at `line` into the L2 cache. It need not be a valid address.
    unsafe fn prefetch(line: *const f32);
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// self − other.
    unsafe fn sub(self, other: Self) -> Self;
    /// self × other.
    unsafe fn mul(self, other: Self) -> Self;
    /// self ÷ other.
    unsafe fn div(self, other: Self) -> Self;
    /// The smaller of both, or `other` if one of them is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// The larger of both, or `other` if one of them is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// self × factor + summand, rounded once if the CPU has FMA.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// 2ⁿ for `self` = n + [`POWER_BIAS`], where n is an integer from −126 to 127.
    unsafe fn pow2(self) -> Self;
}

/// Added to a number below 2²², this rounds it to an integer n: floats of this size are integers. Its 127, the bias of
/// f32's exponents, makes the low bits of the sum the exponent of 2ⁿ.
pub(crate) const POWER_BIAS: f32 = 1.5 * (1 << 23) as f32 + 127.0;
