//! A SIMD register of f32, over which the loops are generic.

/// A SIMD register of f32.
///
/// # Safety
///
/// The methods may only be called on a CPU that has the instructions of the implementation.
pub(super) trait Vector: Copy {
    /// Number of f32 in the register.
    const LANES: usize;
    /// All lanes set to `value`.
    unsafe fn splat(value: f32) -> Self;
    /// Reads `LANES` values from `from`, which need not be aligned.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes `LANES` values to `to`, which need not be aligned.
    unsafe fn store(self, to: *mut f32);
    /// Prefetches the cache line at `line`, which need not be a valid address.
    unsafe fn prefetch(line: *const f32);
    /// self + other.
    unsafe fn add(self, other: Self) -> Self;
    /// The smaller of both, or `other` if one of them is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// The larger of both, or `other` if one of them is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// self × factor + summand, rounded once if the CPU has FMA.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;
}
