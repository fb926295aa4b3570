//! AVX2 and FMA: 16 registers of 8 floats, tiles of 6 pixels × 16 channels.

use std::arch::x86_64::*;

use super::{
    Run,
    plain::{self, Plain},
    tile::{Tile, Vector, tile},
    winograd::{self, Form, Transform},
};

#[derive(Clone, Copy)]
pub(super) struct F32x8(__m256);

impl Vector for F32x8 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller promises AVX2 and FMA, here and below.
        unsafe { Self(_mm256_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: and 8 floats.
        unsafe { Self(_mm256_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: and room for 8 floats.
        unsafe { _mm256_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(line: *const f32) {
        // SAFETY: a prefetch reads nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.cast());
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm256_fmadd_ps(self.0, factor.0, summand.0)) }
    }
}

/// The most pixels of a tile: with two vectors each, the two weights and a value they fill the registers.
pub(super) const PIXELS: usize = 6;

/// # Safety
///
/// As [`tile`], with the instructions named here.
#[target_feature(enable = "avx2,fma")]
unsafe fn run<const P: usize, const H: usize, const B: usize, const S: usize>(arguments: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<F32x8, P, H, B, S>(arguments) }
}

/// # Safety
///
/// As [`plain::run`], with the instructions named here.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn plain(arguments: &Plain) {
    // SAFETY: the caller's promise.
    unsafe { plain::run::<F32x8>(arguments) }
}

/// # Safety
///
/// As [`winograd::run`], with the instructions named here.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn winograd<F: Form>(arguments: &Transform) {
    // SAFETY: the caller's promise.
    unsafe { winograd::run::<F32x8, F>(arguments) }
}

macro_rules! by_pixels {
    ($pixels:expr, $vectors:literal, $stride:literal, $($p:literal)*) => {
        match $pixels {
            $($p => run::<$p, $p, $vectors, $stride>,)*
            _ => unreachable!("tiles have at most {PIXELS} pixels"),
        }
    };
}

macro_rules! by_stride {
    ($pixels:expr, $vectors:literal, $stride:expr) => {
        match $stride {
            16 => by_pixels!($pixels, $vectors, 16, 1 2 3 4 5 6),
            32 => by_pixels!($pixels, $vectors, 32, 1 2 3 4 5 6),
            6 => by_pixels!($pixels, $vectors, 6, 1 2 3 4 5 6),
            _ => by_pixels!($pixels, $vectors, 0, 1 2 3 4 5 6),
        }
    };
}

/// The tile for so many pixels, of which some are in the first row; floats from pixel to pixel.
pub(super) fn find(pixels: usize, in_first: usize, stride: usize) -> Run {
    match (pixels == in_first, pixels, stride) {
        (true, ..) => by_stride!(pixels, 2, stride),
        // Of two rows of 7, and of 14.
        (false, 5, 16) => run::<5, 2, 2, 16>,
        (false, 5, 32) => run::<5, 2, 2, 32>,
        (false, 5, _) => run::<5, 2, 2, 0>,
        (false, _, 16) => run::<6, 2, 2, 16>,
        (false, _, 32) => run::<6, 2, 2, 32>,
        (false, ..) => run::<6, 2, 2, 0>,
    }
}
