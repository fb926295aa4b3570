//! Curves: activations that run over an output while it is in the cache.

use super::vector::{POWER_BIAS, Vector};
use crate::activation::Curve;

/// Applies a curve to `len` floats in place. `len` is a multiple of 16.
///
/// # Safety
///
/// The CPU has the instructions of `V`. `values` is valid for reads and writes of `len` floats, which no other thread
/// accesses.
#[inline(always)]
pub(crate) unsafe fn curve<V: Vector>(curve: Curve, values: *mut f32, len: usize) {
    // SAFETY: the caller ensures that the instructions are there and the addresses are valid.
    unsafe {
        match curve {
            Curve::Sigmoid => each::<V>(values, len, |x| reciprocal::<V>(x)),
            Curve::Swish => each::<V>(values, len, |x| x.div(denominator::<V>(x))),
            Curve::HardSigmoid => each::<V>(values, len, |x| hard_sigmoid::<V>(x)),
            Curve::HardSwish => each::<V>(values, len, |x| x.mul(hard_sigmoid::<V>(x))),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector>(values: *mut f32, len: usize, function: impl Fn(V) -> V) {
    for at in (0..len).step_by(V::LANES) {
        // SAFETY: the caller ensures what `curve` requires.
        unsafe { function(V::load(values.add(at))).store(values.add(at)) }
    }
}

/// 1 + exp(−x), with a relative error below 4e-7. exp(−x) is clamped to the range from
/// 2^−126 to 2^126. NaN stays NaN.
///
/// exp(−x) = 2ᵗ for t = −x ÷ ln 2. With n, the integer nearest to t, and r = t − n, it is 2ⁿ × 2ʳ. The polynomial for 2ʳ
/// has the least relative error among those of degree 5 on |r| ≤ ½: 7.5e-8.
#[inline(always)]
unsafe fn denominator<V: Vector>(x: V) -> V {
    const COEFFICIENTS: [f32; 5] = [
        0.009_675_541,
        0.055_507_133,
        0.240_221_2,
        0.693_146_97,
        1.000_000_1,
    ];
    // SAFETY: the caller ensures that the CPU has the instructions of `V`.
    unsafe {
        let power = x.mul(V::splat(-std::f32::consts::LOG2_E));
        let power = V::splat(-126.0).max(V::splat(126.0).min(power));
        let biased = power.add(V::splat(POWER_BIAS));
        let rest = power.sub(biased.sub(V::splat(POWER_BIAS)));
        let mut factor = V::splat(0.001_327_647_2);
        for coefficient in COEFFICIENTS {
            factor = factor.mul_add(rest, V::splat(coefficient));
        }
        factor.mul_add(biased.pow2(), V::splat(1.0))
    }
}

#[inline(always)]
unsafe fn reciprocal<V: Vector>(x: V) -> V {
    // SAFETY: the caller ensures that the CPU has the instructions of `V`.
    unsafe { V::splat(1.0).div(denominator(x)) }
}

#[inline(always)]
unsafe fn hard_sigmoid<V: Vector>(x: V) -> V {
    // SAFETY: the caller ensures that the CPU has the instructions of `V`.
    unsafe {
        let shifted = x.add(V::splat(3.0));
        let bounded = V::splat(6.0).min(V::splat(0.0).max(shifted));
        bounded.mul(V::splat(1.0 / 6.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, kernels::Kernels};

    #[test]
    fn curves_agree_with_double_precision_and_keep_nan() {
        let exact = |curve: Curve, x: f64| {
            let hard = ((x + 3.0).clamp(0.0, 6.0)) / 6.0;
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            match curve {
                Curve::Sigmoid => sigmoid,
                Curve::Swish => x * sigmoid,
                Curve::HardSigmoid => hard,
                Curve::HardSwish => x * hard,
            }
        };
        let inputs: Vec<f32> = (-4000..4000)
            .map(|n| n as f32 / 100.0)
            .chain([100.0; 16])
            .collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            for curve in Curve::ALL {
                let mut outputs = inputs.clone();
                outputs.push(f32::NAN);
                outputs.resize(outputs.len().next_multiple_of(16), 0.0);
                // SAFETY: the CPU has the instructions, and the vector has as many floats as it says.
                unsafe { (Kernels::of(isa).curve)(curve, outputs.as_mut_ptr(), outputs.len()) };
                for (x, y) in inputs.iter().zip(&outputs) {
                    let expected = exact(curve, f64::from(*x));
                    let error = (f64::from(*y) - expected).abs();
                    assert!(
                        error < 1e-6 * expected.abs().max(1e-3),
                        "{isa} {curve:?}({x}) = {y}"
                    );
                }
                assert!(outputs[inputs.len()].is_nan(), "{isa} {curve:?}(NaN)");
            }
        }
    }
}
