//! The input and output transforms of Winograd's minimal filtering algorithms F(4×4, 3×3) and F(2×2, 3×3),
//! <https://arxiv.org/abs/1509.09308>.
//!
//! F(4×4, 3×3) transforms 6×6 input pixels to 36 positions, and 36 positions to 4×4 output pixels. F(2×2, 3×3) does the
//! same from 4×4 input pixels by 16 positions.

#![expect(
    clippy::needless_range_loop,
    reason = "the loops index registers of several arrays at once"
)]

use super::vector::Vector;

/// One transform of one tile, of 16 channels. Strides are in floats, and a pixel has 16.
#[derive(Clone, Copy)]
pub(crate) enum Transform {
    /// A tile of input pixels to its positions.
    Input {
        /// First float of the tile's first pixel.
        from: *const f32,
        /// Stride between two rows of the feature map.
        row_stride: usize,
        /// First float of position 0.
        to: *mut f32,
        /// Stride between two positions.
        position_stride: usize,
    },
    /// The positions to a tile of output pixels.
    Output {
        /// First float of position 0.
        from: *const f32,
        /// Stride between two positions.
        position_stride: usize,
        /// First float of the tile's first pixel.
        to: *mut f32,
        /// Stride between two rows of the feature map.
        row_stride: usize,
        /// Rows and columns of the tile that are inside the feature map.
        size: [usize; 2],
        /// Biases: 16 floats.
        bias: *const f32,
        /// Lower bound of the outputs.
        low: f32,
        /// Upper bound of the outputs.
        high: f32,
    },
}

/// A one-dimensional minimal filtering algorithm F(m, 3). Arrays have the length that the largest needs.
pub(crate) trait Algorithm {
    /// α = m + 2: input pixels, and positions, of a tile.
    const ALPHA: usize;
    /// Input transform Bᵀd.
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6];
    /// Output transform Aᵀm.
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4];
}

/// Transforms one tile, first its columns and then its rows.
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `transform` is valid: for reads of `from` and
/// `bias`, and for writes of `to`, which no other thread accesses.
#[inline(always)]
pub(crate) unsafe fn transform<V: Vector, F: Algorithm>(transform: &Transform) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        for lane in (0..16).step_by(V::LANES) {
            match *transform {
                Transform::Input {
                    from,
                    row_stride,
                    to,
                    position_stride,
                } => {
                    let mut columns = [[V::splat(0.0); 6]; 6];
                    for x in 0..F::ALPHA {
                        let mut column = [V::splat(0.0); 6];
                        for (y, value) in column.iter_mut().take(F::ALPHA).enumerate() {
                            *value = V::load(from.add(y * row_stride + x * 16 + lane));
                        }
                        columns[x] = F::input(column);
                    }
                    for y in 0..F::ALPHA {
                        let mut line = [V::splat(0.0); 6];
                        for x in 0..F::ALPHA {
                            line[x] = columns[x][y];
                        }
                        for (x, value) in F::input(line).into_iter().take(F::ALPHA).enumerate() {
                            value.store(to.add((y * F::ALPHA + x) * position_stride + lane));
                        }
                    }
                }
                Transform::Output {
                    from,
                    position_stride,
                    to,
                    row_stride,
                    size,
                    bias,
                    low,
                    high,
                } => {
                    let mut columns = [[V::splat(0.0); 4]; 6];
                    for x in 0..F::ALPHA {
                        let mut column = [V::splat(0.0); 6];
                        for (y, value) in column.iter_mut().take(F::ALPHA).enumerate() {
                            *value = V::load(from.add((y * F::ALPHA + x) * position_stride + lane));
                        }
                        columns[x] = F::output(column);
                    }
                    let bias = V::load(bias.add(lane));
                    let (low, high) = (V::splat(low), V::splat(high));
                    for y in 0..size[0] {
                        let mut line = [V::splat(0.0); 6];
                        for x in 0..F::ALPHA {
                            line[x] = columns[x][y];
                        }
                        let line = F::output(line);
                        for x in 0..size[1] {
                            let value = high.min(low.max(line[x].add(bias)));
                            value.store(to.add(y * row_stride + x * 16 + lane));
                        }
                    }
                }
            }
        }
    }
}

/// F(4, 3), by the points 0, ±1, ±2 and ∞.
pub(crate) struct F4x3;

impl Algorithm for F4x3 {
    const ALPHA: usize = 6;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller ensures that the CPU has the instructions of `V`.
        unsafe {
            let [four, two] = [4.0, 2.0].map(|value| V::splat(value));
            let minus = |value: f32| V::splat(-value);
            let a = d[2].mul_add(minus(4.0), d[4]);
            let b = d[1].mul_add(minus(4.0), d[3]);
            let c = d[2].mul_add(minus(1.0), d[4]);
            let e = d[1].mul_add(minus(1.0), d[3]);
            [
                d[0].mul_add(four, d[2].mul_add(minus(5.0), d[4])),
                a.add(b),
                b.mul_add(minus(1.0), a),
                e.mul_add(two, c),
                e.mul_add(minus(2.0), c),
                d[1].mul_add(four, d[3].mul_add(minus(5.0), d[5])),
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the caller ensures that the CPU has the instructions of `V`.
        unsafe {
            let minus = V::splat(-1.0);
            let (a, b) = (m[1].add(m[2]), m[2].mul_add(minus, m[1]));
            let (c, d) = (m[3].add(m[4]), m[4].mul_add(minus, m[3]));
            [
                m[0].add(a).add(c),
                d.mul_add(V::splat(2.0), b),
                c.mul_add(V::splat(4.0), a),
                d.mul_add(V::splat(8.0), b).add(m[5]),
            ]
        }
    }
}

/// F(2, 3), by the points 0, ±1 and ∞. The entries past α pass through, unread.
pub(crate) struct F2x3;

impl Algorithm for F2x3 {
    const ALPHA: usize = 4;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller ensures that the CPU has the instructions of `V`.
        unsafe {
            let minus = V::splat(-1.0);
            [
                d[2].mul_add(minus, d[0]),
                d[1].add(d[2]),
                d[1].mul_add(minus, d[2]),
                d[3].mul_add(minus, d[1]),
                d[4],
                d[5],
            ]
        }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the caller ensures that the CPU has the instructions of `V`.
        unsafe {
            let minus = V::splat(-1.0);
            [
                m[0].add(m[1]).add(m[2]),
                m[3].mul_add(minus, m[2].mul_add(minus, m[1])),
                m[4],
                m[5],
            ]
        }
    }
}
