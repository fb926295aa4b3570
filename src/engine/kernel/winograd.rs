//! The transforms of Winograd's F(4×4, 3×3): tiles of 6×6 inputs to 36 places, and 36 places to 4×4 outputs.

#![expect(
    clippy::needless_range_loop,
    reason = "indices are those of registers, in several arrays at once"
)]

use super::tile::Vector;

/// Which way, and how pixels are addressed. Distances are in floats; a pixel has 16.
#[derive(Clone, Copy)]
pub(super) enum Transform {
    /// A tile of 6×6 pixels to the 36 places.
    Input {
        from: *const f32,
        /// From a row of the picture to the next.
        row: usize,
        to: *mut f32,
        /// From a place to the next.
        place: usize,
    },
    /// The 36 places to a tile of 4×4 pixels, or less at the edge of the picture.
    Output {
        from: *const f32,
        /// From a place to the next.
        place: usize,
        to: *mut f32,
        /// From a row of the picture to the next.
        row: usize,
        /// Rows and columns of the tile that are in the picture.
        size: [usize; 2],
        /// 16 floats.
        bias: *const f32,
        low: f32,
        high: f32,
    },
}

/// Transforms one tile of 16 channels.
///
/// # Safety
///
/// The CPU has the instructions of `V`, and every address that follows from the transform is valid.
#[inline(always)]
pub(super) unsafe fn run<V: Vector>(transform: &Transform) {
    // SAFETY: all of this is the caller's promise.
    unsafe {
        for lane in (0..16).step_by(V::LANES) {
            match *transform {
                Transform::Input {
                    from,
                    row,
                    to,
                    place,
                } => {
                    let mut columns = [[V::splat(0.0); 6]; 6];
                    for x in 0..6 {
                        let mut column = [V::splat(0.0); 6];
                        for (y, value) in column.iter_mut().enumerate() {
                            *value = V::load(from.add(y * row + x * 16 + lane));
                        }
                        columns[x] = input(column);
                    }
                    for y in 0..6 {
                        let mut line = [V::splat(0.0); 6];
                        for x in 0..6 {
                            line[x] = columns[x][y];
                        }
                        for (x, value) in input(line).into_iter().enumerate() {
                            value.store(to.add((y * 6 + x) * place + lane));
                        }
                    }
                }
                Transform::Output {
                    from,
                    place,
                    to,
                    row,
                    size,
                    bias,
                    low,
                    high,
                } => {
                    let mut columns = [[V::splat(0.0); 4]; 6];
                    for x in 0..6 {
                        let mut column = [V::splat(0.0); 6];
                        for (y, value) in column.iter_mut().enumerate() {
                            *value = V::load(from.add((y * 6 + x) * place + lane));
                        }
                        columns[x] = output(column);
                    }
                    let bias = V::load(bias.add(lane));
                    let (low, high) = (V::splat(low), V::splat(high));
                    for y in 0..size[0] {
                        let mut line = [V::splat(0.0); 6];
                        for x in 0..6 {
                            line[x] = columns[x][y];
                        }
                        let line = output(line);
                        for x in 0..size[1] {
                            let value = high.min(low.max(line[x].add(bias)));
                            value.store(to.add(y * row + x * 16 + lane));
                        }
                    }
                }
            }
        }
    }
}

/// Bᵀd of the paper's F(4, 3).
#[inline(always)]
unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
    // SAFETY: the caller promises the instructions.
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

/// Aᵀm of the paper's F(4, 3).
#[inline(always)]
unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
    // SAFETY: the caller promises the instructions.
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
