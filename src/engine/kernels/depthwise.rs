//! The inner loop of depthwise convolutions: some rows of output pixels of one channel block.
//!
//! A tile is some pixels × the lanes of one vector. The weights of a row of the window stay in registers, and with
//! stride 1 each input vector is loaded once and used for all pixels whose windows it is in.

#![expect(
    clippy::needless_range_loop,
    reason = "the loops index registers of several arrays at once"
)]

use super::vector::Vector;

/// The arguments: some rows of output pixels in one channel block. Strides are in floats, and a pixel has 16.
#[derive(Clone, Copy)]
pub(crate) struct DepthwiseRows {
    /// First float of the first window.
    pub(crate) input: *const f32,
    /// Rows and columns of the window.
    pub(crate) kernel: [usize; 2],
    /// Stride between two rows of the input.
    pub(crate) row_stride: usize,
    /// Strides between the windows of two output rows and of two pixels of a row, in pixels.
    pub(crate) stride: [usize; 2],
    /// Weights: 16 for each row and column of the window.
    pub(crate) weights: *const f32,
    /// Biases: 16.
    pub(crate) bias: *const f32,
    /// Output of the first pixel.
    pub(crate) output: *mut f32,
    /// Stride between two rows of the output.
    pub(crate) output_row_stride: usize,
    /// Number of output rows.
    pub(crate) rows: usize,
    /// Number of pixels of a row.
    pub(crate) pixels: usize,
    /// Lower bound of the outputs.
    pub(crate) low: f32,
    /// Upper bound of the outputs.
    pub(crate) high: f32,
}

/// Most pixels of a tile: its accumulators, the weights of a row of 3 columns and an input vector fill 16 registers.
const MAX_PIXELS: usize = 12;
/// The same with the weights of 5 columns: 15 of 16 registers.
const MAX_PIXELS_5: usize = 9;

/// Computes the rows.
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `rows` is valid: for reads of the input, weights
/// and biases, and for writes of the output, which no other thread accesses.
#[inline(always)]
pub(crate) unsafe fn depthwise<V: Vector>(rows: &DepthwiseRows) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        match (rows.kernel[1], rows.stride[1]) {
            (3, 1) => tiles::<V, 3, 1, MAX_PIXELS>(rows),
            (3, 2) => tiles::<V, 3, 2, MAX_PIXELS>(rows),
            (5, 1) => tiles::<V, 5, 1, MAX_PIXELS_5>(rows),
            (5, 2) => tiles::<V, 5, 2, MAX_PIXELS_5>(rows),
            _ => {
                for y in 0..rows.rows {
                    for lane in (0..16).step_by(V::LANES) {
                        for pixel in 0..rows.pixels {
                            any_pixel::<V>(&rows.row(y), lane, pixel);
                        }
                    }
                }
            }
        }
    }
}

impl DepthwiseRows {
    /// The arguments from row `y` on.
    #[inline(always)]
    unsafe fn row(&self, y: usize) -> Self {
        // SAFETY: the caller ensures that row `y` is one of the rows.
        unsafe {
            Self {
                input: self.input.add(y * self.stride[0] * self.row_stride),
                output: self.output.add(y * self.output_row_stride),
                ..*self
            }
        }
    }
}

/// Cuts each row into as few tiles of at most `MAX` pixels as possible, of nearly the same size.
#[inline(always)]
unsafe fn tiles<V: Vector, const K: usize, const S: usize, const MAX: usize>(rows: &DepthwiseRows) {
    // SAFETY: the caller ensures what `depthwise` requires.
    unsafe {
        let tiles = rows.pixels.div_ceil(MAX);
        for y in 0..rows.rows {
            let row = &rows.row(y);
            for lane in (0..16).step_by(V::LANES) {
                let mut start = 0;
                for n in 0..tiles {
                    let end = rows.pixels * (n + 1) / tiles;
                    match end - start {
                        1 => tile::<V, K, S, 1>(row, lane, start),
                        2 => tile::<V, K, S, 2>(row, lane, start),
                        3 => tile::<V, K, S, 3>(row, lane, start),
                        4 => tile::<V, K, S, 4>(row, lane, start),
                        5 => tile::<V, K, S, 5>(row, lane, start),
                        6 => tile::<V, K, S, 6>(row, lane, start),
                        7 => tile::<V, K, S, 7>(row, lane, start),
                        8 => tile::<V, K, S, 8>(row, lane, start),
                        9 => tile::<V, K, S, 9>(row, lane, start),
                        10 if MAX > 9 => tile::<V, K, S, 10>(row, lane, start),
                        11 if MAX > 9 => tile::<V, K, S, 11>(row, lane, start),
                        12 if MAX > 9 => tile::<V, K, S, 12>(row, lane, start),
                        // No tile has more than `MAX` pixels. Pixel by pixel would be right for any.
                        _ => {
                            for pixel in start..end {
                                any_pixel::<V>(row, lane, pixel);
                            }
                        }
                    }
                    start = end;
                }
            }
        }
    }
}

/// Computes `P` pixels from `start` on, for `K` columns and stride `S`.
#[inline(always)]
unsafe fn tile<V: Vector, const K: usize, const S: usize, const P: usize>(
    row: &DepthwiseRows,
    lane: usize,
    start: usize,
) {
    // SAFETY: the caller ensures what `depthwise` requires.
    unsafe {
        let mut accumulators = [V::load(row.bias.add(lane)); P];
        let mut input = row.input.add(start * S * 16 + lane);
        let mut weights = row.weights.add(lane);
        for _ in 0..row.kernel[0] {
            let mut taps = [V::splat(0.0); K];
            for x in 0..K {
                taps[x] = V::load(weights.add(x * 16));
            }
            if S == 1 {
                for column in 0..P + K - 1 {
                    let value = V::load(input.add(column * 16));
                    for x in 0..K {
                        if column >= x && column - x < P {
                            let pixel = column - x;
                            accumulators[pixel] = value.mul_add(taps[x], accumulators[pixel]);
                        }
                    }
                }
            } else {
                for x in 0..K {
                    for p in 0..P {
                        let value = V::load(input.add((p * S + x) * 16));
                        accumulators[p] = value.mul_add(taps[x], accumulators[p]);
                    }
                }
            }
            // After the last row, both may be beyond their memory.
            weights = weights.wrapping_add(K * 16);
            input = input.wrapping_add(row.row_stride);
        }
        let (low, high) = (V::splat(row.low), V::splat(row.high));
        for p in 0..P {
            let output = row.output.add((start + p) * 16 + lane);
            high.min(low.max(accumulators[p])).store(output);
        }
    }
}

/// Computes one pixel, for any number of columns and any stride.
#[inline(always)]
unsafe fn any_pixel<V: Vector>(row: &DepthwiseRows, lane: usize, pixel: usize) {
    // SAFETY: the caller ensures what `depthwise` requires.
    unsafe {
        let [rows, columns] = row.kernel;
        let input = row.input.add(pixel * row.stride[1] * 16 + lane);
        let mut sum = V::load(row.bias.add(lane));
        for y in 0..rows {
            for x in 0..columns {
                let value = V::load(input.add(y * row.row_stride + x * 16));
                let weight = V::load(row.weights.add((y * columns + x) * 16 + lane));
                sum = value.mul_add(weight, sum);
            }
        }
        let (low, high) = (V::splat(row.low), V::splat(row.high));
        high.min(low.max(sum))
            .store(row.output.add(pixel * 16 + lane));
    }
}
