//! AVX-512F: 32 registers of 16 floats, tiles of 14 pixels × 32 channels.

use std::arch::x86_64::*;

use super::{Kernels, convolution, kernels, vector::Vector};
use crate::isa::Isa;

#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

impl Vector for F32x16 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F, and 16 readable floats.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller ensures that the CPU has AVX-512F, and room for 16 floats.
        unsafe { _mm512_storeu_ps(to, self.0) }
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
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_sub_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_mul_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_div_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, summand.0)) }
    }

    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        // SAFETY: the caller ensures that the CPU has AVX-512F.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(self.0));
            Self(_mm512_castsi512_ps(exponent))
        }
    }
}

kernels! {
    isa: Isa::Avx512,
    vector: F32x16,
    attribute: #[target_feature(enable = "avx512f")],
    // Two accumulators for each pixel and two vectors of weights leave two of 32 registers; input values are broadcast
    // from memory.
    max_pixels: 14,
    max_panels: 2,
    pixels: [1 2 3 4 5 6 7 8 9 10 11 12 13 14],
    panels: [(last, 1, 1), (all, 2, 2)],
}
