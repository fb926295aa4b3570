//! Any CPU: tiles of 2 pixels × 16 channels in arrays, which the compiler vectorizes if it can.

use std::array;

use super::{Kernels, convolution, kernels, vector::Vector};
use crate::isa::Isa;

#[derive(Clone, Copy)]
pub(crate) struct Array([f32; 16]);

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
        // SAFETY: the caller ensures 16 readable floats.
        unsafe { Self(from.cast::<[f32; 16]>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller ensures room for 16 floats.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn prefetch(_: *const f32) {}

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
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

    #[inline(always)]
    unsafe fn pow2(self) -> Self {
        Self(self.0.map(|power| f32::from_bits(power.to_bits() << 23)))
    }
}

kernels! {
    isa: Isa::Portable,
    vector: Array,
    attribute: #[inline(never)],
    max_pixels: 2,
    max_panels: 1,
    pixels: [1 2],
    panels: [(all, 1, 1)],
}
