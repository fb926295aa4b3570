//! Any CPU: tiles of 2 pixels × 16 channels in what the compiler makes of arrays. What the others are tested against.

use std::array;

use super::{
    Run,
    plain::{self, Plain},
    tile::{Vector, tile},
    winograd::{self, Form, Transform},
};

#[derive(Clone, Copy)]
pub(super) struct Array([f32; 16]);

impl Array {
    #[inline(always)]
    fn zip(self, other: Self, combine: impl Fn(f32, f32) -> f32) -> Self {
        Self(array::from_fn(|lane| combine(self.0[lane], other.0[lane])))
    }
}

impl Vector for Array {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 16])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises 16 floats.
        unsafe { Self(from.cast::<[f32; 16]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises room for 16 floats.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        Self(array::from_fn(|lane| {
            self.0[lane] * factor.0[lane] + summand.0[lane]
        }))
    }
}

/// The most pixels of a tile.
pub(super) const PIXELS: usize = 2;

/// # Safety
///
/// As [`plain::run`].
pub(super) unsafe fn plain(arguments: &Plain) {
    // SAFETY: the caller's promise.
    unsafe { plain::run::<Array>(arguments) }
}

/// # Safety
///
/// As [`winograd::run`].
pub(super) unsafe fn winograd<F: Form>(arguments: &Transform) {
    // SAFETY: the caller's promise.
    unsafe { winograd::run::<Array, F>(arguments) }
}

/// The tile for so many pixels.
pub(super) fn find(pixels: usize) -> Run {
    match pixels {
        1 => tile::<Array, 1, 1, 1, 0>,
        _ => tile::<Array, 2, 2, 1, 0>,
    }
}
