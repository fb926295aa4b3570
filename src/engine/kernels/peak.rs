//! A loop of nothing but multiplications and additions, which reaches a core's peak. For benchmarks.

use std::hint::black_box;

use super::vector::Vector;

/// Number of accumulators. They do not depend on each other: two FMA units with a latency of four cycles need eight,
/// and 16 registers have room for twelve with the two operands.
const ACCUMULATORS: usize = 12;

/// Multiplies and adds in registers, `rounds` times, and returns the number of floating-point operations of a round.
///
/// # Safety
///
/// The CPU has the instructions of `V`.
#[inline(always)]
pub(crate) unsafe fn peak<V: Vector>(rounds: u64) -> u64 {
    // SAFETY: the caller ensures that the instructions are there, and `all` has room for 16 lanes, the most.
    unsafe {
        let [factor, summand] = black_box([0.5, 1.0]).map(|value| V::splat(value));
        let mut accumulators = [summand; ACCUMULATORS];
        for _ in 0..rounds {
            for accumulator in &mut accumulators {
                *accumulator = accumulator.mul_add(factor, summand);
            }
        }
        let mut all = [0f32; 16];
        for accumulator in accumulators {
            accumulator.store(all.as_mut_ptr());
            black_box(&all);
        }
    }
    (ACCUMULATORS * V::LANES * 2) as u64
}
