//! The micro-kernel, which is the inner loop of every convolution: a tile of output pixels × a panel of output
//! channels, with all accumulators in registers.

#![expect(
    clippy::needless_range_loop,
    reason = "the loops index registers of several arrays at once"
)]

use super::vector::Vector;

/// Prefetch distance for weights, in floats. A feature map of few pixels uses its weights only a few times, and they
/// come from memory. The hardware prefetcher stops at the end of a page of 1,024 floats.
const PREFETCH_DISTANCE: usize = 2048;

/// A micro-kernel of a particular instruction set and shape. It is [`tile`], instantiated.
pub(super) type MicroKernel = unsafe fn(&Tile);

/// The arguments of a micro-kernel. Strides and lengths are in floats.
///
/// A tile has P pixels, of which the first H are in one row of the output and the others in another row. It has B
/// vectors of output channels. Each output is a sum over segments: runs of contiguous input floats.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    /// Input of the first pixel of each of the two rows, at segment offset 0.
    pub(super) input: [*const f32; 2],
    /// Offset of each segment from `input`.
    pub(super) segments: *const usize,
    /// Number of segments.
    pub(super) segment_count: usize,
    /// Length of a segment.
    pub(super) segment_len: usize,
    /// Stride between the inputs of two pixels.
    pub(super) stride: usize,
    /// Packed weights: B vectors for each float of each segment.
    pub(super) weights: *const f32,
    /// Stride between the weights of two floats of a segment.
    pub(super) weights_stride: usize,
    /// Biases: B vectors.
    pub(super) bias: *const f32,
    /// Residual of the first pixel of each of the two rows; null if there is none.
    pub(super) residual: [*const f32; 2],
    /// Stride between the residuals of two pixels.
    pub(super) residual_stride: usize,
    /// Stride between the residuals of two vectors of channels.
    pub(super) residual_vector_stride: usize,
    /// Output of the first pixel of each of the two rows. The stride between two pixels is 16.
    pub(super) output: [*mut f32; 2],
    /// Stride between the outputs of two vectors of channels.
    pub(super) output_vector_stride: usize,
    /// Lower bound of the outputs.
    pub(super) low: f32,
    /// Upper bound of the outputs.
    pub(super) high: f32,
}

/// Computes a tile. `S` is the stride if it is known at compile time, else 0: then `Tile::stride` counts.
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `tile` for P, H, B and the segments is valid:
/// for reads of the input, segments, weights, bias and residual, and for writes of the output, which no other thread
/// accesses.
#[inline(always)]
pub(super) unsafe fn tile<
    V: Vector,
    const P: usize,
    const H: usize,
    const B: usize,
    const S: usize,
>(
    tile: &Tile,
) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let stride = if S == 0 { tile.stride } else { S };
        let mut accumulators = [[V::splat(0.0); B]; P];
        for b in 0..B {
            let bias = V::load(tile.bias.add(b * V::LANES));
            for pixel in &mut accumulators {
                pixel[b] = bias;
            }
        }
        let mut weights = tile.weights;
        for segment in 0..tile.segment_count {
            let offset = *tile.segments.add(segment);
            let first = tile.input[0].add(offset);
            let second = tile.input[1].add(offset);
            for t in 0..tile.segment_len {
                let mut panel = [V::splat(0.0); B];
                for b in 0..B {
                    panel[b] = V::load(weights.add(b * V::LANES));
                }
                for p in 0..P {
                    let from = if p < H {
                        first.add(p * stride + t)
                    } else {
                        second.add((p - H) * stride + t)
                    };
                    let value = V::splat(*from);
                    for b in 0..B {
                        accumulators[p][b] = value.mul_add(panel[b], accumulators[p][b]);
                    }
                }
                // Prefetching past the end of the weights has no effect.
                V::prefetch(weights.wrapping_add(PREFETCH_DISTANCE));
                weights = weights.add(tile.weights_stride);
            }
        }
        // Epilogue: residual, clamp, store.
        let row = |p: usize| if p < H { (0, p) } else { (1, p - H) };
        if !tile.residual[0].is_null() {
            for b in 0..B {
                for p in 0..P {
                    let (row, x) = row(p);
                    let residual = tile.residual[row]
                        .add(b * tile.residual_vector_stride + x * tile.residual_stride);
                    accumulators[p][b] = accumulators[p][b].add(V::load(residual));
                }
            }
        }
        let (low, high) = (V::splat(tile.low), V::splat(tile.high));
        for b in 0..B {
            for p in 0..P {
                let (row, x) = row(p);
                let output = tile.output[row].add(b * tile.output_vector_stride + x * 16);
                high.min(low.max(accumulators[p][b])).store(output);
            }
        }
    }
}
