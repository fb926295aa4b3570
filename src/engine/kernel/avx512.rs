//! AVX-512F: 32 registers of 16 floats, tiles of 14 pixels × 32 channels.

use std::arch::x86_64::*;

use super::{
    Run,
    plain::{self, Plain},
    tile::{Tile, Vector, tile},
    winograd::{self, Form, Transform},
};

#[derive(Clone, Copy)]
pub(super) struct F32x16(__m512);

impl Vector for F32x16 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller promises AVX-512F, here and below.
        unsafe { Self(_mm512_set1_ps(value)) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: and 16 floats.
        unsafe { Self(_mm512_loadu_ps(from)) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: and room for 16 floats.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(line: *const f32) {
        // SAFETY: a prefetch reads nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T1>(line.cast());
            _mm_prefetch::<_MM_HINT_T1>(line.wrapping_add(16).cast());
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_add_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_min_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_max_ps(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(_mm512_fmadd_ps(self.0, factor.0, summand.0)) }
    }
}

/// The most pixels of a tile: with two vectors each, the two weights and a value they fill the registers.
pub(super) const PIXELS: usize = 14;

/// # Safety
///
/// As [`tile`], with the instructions named here.
#[target_feature(enable = "avx512f")]
unsafe fn run<const P: usize, const H: usize, const B: usize, const S: usize>(arguments: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { tile::<F32x16, P, H, B, S>(arguments) }
}

/// # Safety
///
/// As [`plain::run`], with the instructions named here.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn plain(arguments: &Plain) {
    // SAFETY: the caller's promise.
    unsafe { plain::run::<F32x16>(arguments) }
}

/// # Safety
///
/// As [`winograd::run`], with the instructions named here.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn winograd<F: Form>(arguments: &Transform) {
    // SAFETY: the caller's promise.
    unsafe { winograd::run::<F32x16, F>(arguments) }
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
            16 => by_pixels!($pixels, $vectors, 16, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            32 => by_pixels!($pixels, $vectors, 32, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            6 => by_pixels!($pixels, $vectors, 6, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            _ => by_pixels!($pixels, $vectors, 0, 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        }
    };
}

/// The tile for so many pixels, of which some are in the first row; vectors of channels; floats from pixel to pixel.
pub(super) fn find(pixels: usize, in_first: usize, vectors: usize, stride: usize) -> Run {
    match (pixels == in_first, vectors, stride) {
        (true, 1, _) => by_stride!(pixels, 1, stride),
        (true, ..) => by_stride!(pixels, 2, stride),
        // Two rows of 7.
        (false, 1, 16) => run::<14, 7, 1, 16>,
        (false, 1, 32) => run::<14, 7, 1, 32>,
        (false, 1, _) => run::<14, 7, 1, 0>,
        (false, _, 16) => run::<14, 7, 2, 16>,
        (false, _, 32) => run::<14, 7, 2, 32>,
        (false, ..) => run::<14, 7, 2, 0>,
    }
}
