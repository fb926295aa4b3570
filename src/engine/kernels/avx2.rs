//! AVX2 and FMA: 16 registers of 8 floats, tiles of 6 pixels × 16 channels.

use std::arch::x86_64::*;

use super::{Kernels, convolution, kernels, vector::Vector};
use crate::isa::Isa;

#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

impl Vector for F32x8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA, and 8 readable floats.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA, and room for 8 floats.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(line: *const f32) {
        // SAFETY: a prefetch of any address is valid: it does not fault.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.cast());
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, summand.0)) }
    }

    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX2 and FMA.
        unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(self.0));
            Self(_mm256_castsi256_ps(exponent))
        }
    }
}

kernels! {
    isa: Isa::Avx2,
    vector: F32x8,
    attribute: #[target_feature(enable = "avx2,fma")],
    // Two accumulators for each pixel, two vectors of weights and one input value take 15 of 16 registers.
    max_pixels: 6,
    max_panels: 1,
    // A panel of 16 channels is two vectors.
    pixels: [1 2 3 4 5 6],
    panels: [(all, 1, 2)],
}
