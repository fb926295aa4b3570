//! The micro-kernel, which is the inner loop of every convolution that is no depthwise one: a tile of output pixels × a
//! panel or two of 16 output channels, with all accumulators in registers.

#![expect(
    clippy::needless_range_loop,
    reason = "the loops index registers of several arrays at once"
)]

use super::vector::Vector;

/// Most pixels of a tile of any instruction set.
pub(crate) const MAX_PIXELS: usize = 14;

/// Most panels of a tile of any instruction set.
pub(crate) const MAX_PANELS: usize = 2;

/// A micro-kernel of a particular instruction set and kind. It is [`tile`], instantiated.
pub(crate) type MicroKernel = unsafe fn(&Tile);

/// What is known of a tile when a step is prepared. Each kind has a micro-kernel of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileKind {
    /// Output pixels.
    pub(crate) pixels: usize,
    /// Panels of 16 output channels.
    pub(crate) panels: usize,
    /// Stride between the inputs of two pixels in floats, for a strided tile: its pixels have constant strides in
    /// input, residual and output. 0 for an indirect tile, whose pixels have any addresses.
    pub(crate) stride: usize,
    /// Length of a segment in floats. 0 stands for any: [`Tile::segment_len`] then counts.
    pub(crate) segment_len: usize,
    /// Cache lines of weights, of each panel, that are prefetched during a segment: 0, 1 or 4. Not all kinds have all.
    pub(crate) prefetch: usize,
}

/// The arguments of a micro-kernel. Strides and lengths are in floats.
///
/// Each output is a sum over segments: runs of contiguous input floats. A tile may compute some of the segments of its
/// outputs: then it starts from the output so far, or leaves the epilogue to a later tile.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    /// Number of tiles, one after the other: 1 for indirect tiles. Strided tiles have the same strides between them as
    /// between their pixels, and prefetch one after the other.
    pub(crate) repeat: usize,
    /// Input of each pixel at segment offset 0. A strided tile uses the first.
    pub(crate) input: [*const f32; MAX_PIXELS],
    /// Offset of each segment from `input`.
    pub(crate) segments: *const usize,
    /// Number of segments.
    pub(crate) segment_count: usize,
    /// Length of a segment.
    pub(crate) segment_len: usize,
    /// Packed weights of each panel: 16 output channels for each float of each segment.
    pub(crate) weights: [*const f32; MAX_PANELS],
    /// Weights to prefetch for each panel.
    pub(crate) prefetch: [*const f32; MAX_PANELS],
    /// Biases of all panels. Null if the accumulators start from the output.
    pub(crate) bias: *const f32,
    /// Whether this is the last part of the sum, which has the epilogue: residual and clamp.
    pub(crate) is_last: bool,
    /// Residual of each pixel; the first is null if there is none. A strided tile uses the first.
    pub(crate) residual: [*const f32; MAX_PIXELS],
    /// Stride between the residuals of two pixels of a strided tile.
    pub(crate) residual_stride: usize,
    /// Stride between the residuals of two panels.
    pub(crate) residual_panel_stride: usize,
    /// Output of each pixel. A strided tile uses the first: the stride between two pixels is 16.
    pub(crate) output: [*mut f32; MAX_PIXELS],
    /// Stride between the outputs of two panels.
    pub(crate) output_panel_stride: usize,
    /// Lower bound of the outputs.
    pub(crate) low: f32,
    /// Upper bound of the outputs.
    pub(crate) high: f32,
}

/// Computes one or more tiles of `P` pixels × `PANELS` panels, which are `B` vectors. `S`, `LEN` and `W` are the stride,
/// the segment length and the prefetch of its [`TileKind`].
///
/// # Safety
///
/// The CPU has the instructions of `V`. Every address that follows from `tile` and the constants is valid: for reads of
/// the input, segments, weights, bias and residual, and for writes of the output, which no other thread accesses.
#[inline(always)]
pub(crate) unsafe fn tile<
    V: Vector,
    const P: usize,
    const PANELS: usize,
    const B: usize,
    const S: usize,
    const LEN: usize,
    const W: usize,
>(
    tile: &Tile,
) {
    const {
        assert!(P <= MAX_PIXELS && PANELS <= MAX_PANELS && B * V::LANES == PANELS * 16);
    }
    let mut pixels = Pixels::<S>::of(tile);
    let mut prefetch = tile.prefetch;
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        for _ in 0..tile.repeat {
            let mut accumulators = start::<V, P, B, S>(tile, &pixels);
            let mut weights = tile.weights;
            for segment in 0..tile.segment_count {
                let offset = *tile.segments.add(segment);
                let segment_len = if LEN > 0 { LEN } else { tile.segment_len };
                multiply::<V, P, PANELS, B, S, LEN, W>(
                    &pixels,
                    [offset, segment_len],
                    &weights,
                    &prefetch,
                    &mut accumulators,
                );
                for panel in 0..PANELS {
                    weights[panel] = weights[panel].add(segment_len * 16);
                    prefetch[panel] = prefetch[panel].wrapping_add(W * 16);
                }
            }
            finish::<V, P, B, S>(tile, &pixels, accumulators);
            pixels.advance(P);
        }
    }
}

/// The addresses of a tile's pixels: a copy of those in [`Tile`], so that they stay in registers.
struct Pixels<const S: usize> {
    input: [*const f32; MAX_PIXELS],
    residual: [*const f32; MAX_PIXELS],
    residual_stride: usize,
    residual_panel_stride: usize,
    output: [*mut f32; MAX_PIXELS],
    output_panel_stride: usize,
}

impl<const S: usize> Pixels<S> {
    #[inline(always)]
    fn of(tile: &Tile) -> Self {
        Self {
            input: tile.input,
            residual: tile.residual,
            residual_stride: tile.residual_stride,
            residual_panel_stride: tile.residual_panel_stride,
            output: tile.output,
            output_panel_stride: tile.output_panel_stride,
        }
    }

    /// Input of pixel `p`.
    #[inline(always)]
    fn input(&self, p: usize) -> *const f32 {
        match S > 0 {
            true => self.input[0].wrapping_add(p * S),
            false => self.input[p],
        }
    }

    /// Output of pixel `p` from float `channel` of the panels on.
    #[inline(always)]
    fn output(&self, p: usize, channel: usize) -> *mut f32 {
        let pixel = match S > 0 {
            true => self.output[0].wrapping_add(p * 16),
            false => self.output[p],
        };
        pixel.wrapping_add(channel / 16 * self.output_panel_stride + channel % 16)
    }

    /// Residual of pixel `p` from float `channel` of the panels on.
    #[inline(always)]
    fn residual(&self, p: usize, channel: usize) -> *const f32 {
        let pixel = match S > 0 {
            true => self.residual[0].wrapping_add(p * self.residual_stride),
            false => self.residual[p],
        };
        pixel.wrapping_add(channel / 16 * self.residual_panel_stride + channel % 16)
    }

    /// Goes on by `pixels` pixels. Past the last tile, the addresses are not used.
    #[inline(always)]
    fn advance(&mut self, pixels: usize) {
        self.input[0] = self.input[0].wrapping_add(pixels * S);
        self.residual[0] = self.residual[0].wrapping_add(pixels * self.residual_stride);
        self.output[0] = self.output[0].wrapping_add(pixels * 16);
    }
}

/// The accumulators at the start of a tile: biases, or the output so far.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn start<V: Vector, const P: usize, const B: usize, const S: usize>(
    tile: &Tile,
    pixels: &Pixels<S>,
) -> [[V; B]; P] {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        let mut accumulators = [[V::splat(0.0); B]; P];
        for b in 0..B {
            if tile.bias.is_null() {
                for p in 0..P {
                    accumulators[p][b] = V::load(pixels.output(p, b * V::LANES));
                }
            } else {
                let bias = V::load(tile.bias.add(b * V::LANES));
                for p in 0..P {
                    accumulators[p][b] = bias;
                }
            }
        }
        accumulators
    }
}

/// Adds up one segment.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn multiply<
    V: Vector,
    const P: usize,
    const PANELS: usize,
    const B: usize,
    const S: usize,
    const LEN: usize,
    const W: usize,
>(
    pixels: &Pixels<S>,
    [offset, segment_len]: [usize; 2],
    weights: &[*const f32; MAX_PANELS],
    prefetch: &[*const f32; MAX_PANELS],
    accumulators: &mut [[V; B]; P],
) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        // One float of the segment. A macro, so that the loops below are unrolled by hand: the compiler would not.
        macro_rules! multiply_and_add {
            ($t:expr) => {
                let mut vectors = [V::splat(0.0); B];
                for b in 0..B {
                    let channel = b * V::LANES;
                    let panel = weights[channel / 16];
                    vectors[b] = V::load(panel.add($t * 16 + channel % 16));
                }
                for p in 0..P {
                    let value = V::splat(*pixels.input(p).wrapping_add(offset).add($t));
                    for b in 0..B {
                        accumulators[p][b] = value.mul_add(vectors[b], accumulators[p][b]);
                    }
                }
            };
        }
        macro_rules! prefetch {
            ($line:expr) => {
                for panel in 0..PANELS {
                    V::prefetch(prefetch[panel].wrapping_add($line * 16));
                }
            };
        }
        if W == 1 {
            prefetch!(0);
        }
        match LEN {
            16 => {
                for quarter in 0..4 {
                    let t = quarter * 4;
                    multiply_and_add!(t);
                    multiply_and_add!(t + 1);
                    if W == 4 {
                        prefetch!(quarter);
                    }
                    multiply_and_add!(t + 2);
                    multiply_and_add!(t + 3);
                }
            }
            9 | 21 => {
                for t in (0..LEN).step_by(3) {
                    multiply_and_add!(t);
                    multiply_and_add!(t + 1);
                    multiply_and_add!(t + 2);
                }
            }
            _ => {
                for t in 0..segment_len {
                    multiply_and_add!(t);
                }
            }
        }
    }
}

/// The end of a tile: after the last part of the sum the epilogue, residual and clamp; then the store.
///
/// # Safety
///
/// As for [`tile`].
#[inline(always)]
unsafe fn finish<V: Vector, const P: usize, const B: usize, const S: usize>(
    tile: &Tile,
    pixels: &Pixels<S>,
    mut accumulators: [[V; B]; P],
) {
    // SAFETY: the caller ensures that the instructions are there and all these addresses are valid.
    unsafe {
        if tile.is_last {
            if !tile.residual[0].is_null() {
                for p in 0..P {
                    for b in 0..B {
                        let residual = V::load(pixels.residual(p, b * V::LANES));
                        accumulators[p][b] = accumulators[p][b].add(residual);
                    }
                }
            }
            let (low, high) = (V::splat(tile.low), V::splat(tile.high));
            for p in 0..P {
                for b in 0..B {
                    accumulators[p][b] = high.min(low.max(accumulators[p][b]));
                }
            }
        }
        for p in 0..P {
            for b in 0..B {
                accumulators[p][b].store(pixels.output(p, b * V::LANES));
            }
        }
    }
}

/// The instance of the function `$tile` for a [`TileKind`] of `$panels` panels. `None` if there is none.
///
/// Each instance takes some time to compile, so only tiles of `all` panels have all kinds. A single `last` panel, if the
/// number of panels is odd, has fewer.
///
/// Strided tiles have the strides 1 and 2 over 16 lanes. Segments of 21 and 9 floats are the rows of 7×7 and 3×3 windows
/// over an input of three channels; such tiles are always indirect: with constant strides, the compiler would keep inputs
/// that two pixels share in registers, and spill accumulators.
macro_rules! select {
    (all, $tile:ident, $kind:expr, [$($p:literal)*], $panels:literal, $vectors:literal) => {{
        use $crate::kernels::convolution::{MicroKernel, TileKind};
        let TileKind { pixels, stride, segment_len, prefetch, .. } = *$kind;
        let kernel: MicroKernel = match (pixels, stride, segment_len, prefetch) {
            $(
                ($p, 16, 16, 0) => $tile::<$p, $panels, $vectors, 16, 16, 0>,
                ($p, 16, 16, 4) => $tile::<$p, $panels, $vectors, 16, 16, 4>,
                ($p, 32, 16, 1) => $tile::<$p, $panels, $vectors, 32, 16, 1>,
                ($p, 0, 16, 4) => $tile::<$p, $panels, $vectors, 0, 16, 4>,
            )*
            _ => return $crate::kernels::convolution::select!(last, $tile, $kind, [$($p)*], $panels, $vectors),
        };
        Some(kernel)
    }};
    (last, $tile:ident, $kind:expr, [$($p:literal)*], $panels:literal, $vectors:literal) => {{
        use $crate::kernels::convolution::{MicroKernel, TileKind};
        let TileKind { pixels, stride, segment_len, prefetch, .. } = *$kind;
        let kernel: MicroKernel = match (pixels, stride, segment_len, prefetch) {
            $(
                ($p, 16, 16, 1) => $tile::<$p, $panels, $vectors, 16, 16, 1>,
                ($p, 0, 16, 1) => $tile::<$p, $panels, $vectors, 0, 16, 1>,
                ($p, 0, 21, 0) => $tile::<$p, $panels, $vectors, 0, 21, 0>,
                ($p, 0, 9, 0) => $tile::<$p, $panels, $vectors, 0, 9, 0>,
                ($p, 0, 0, 0) => $tile::<$p, $panels, $vectors, 0, 0, 0>,
            )*
            _ => return None,
        };
        Some(kernel)
    }};
}
pub(crate) use select;
