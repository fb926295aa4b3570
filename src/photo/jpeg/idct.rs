//! Inverse DCT at a reduced size: the lowest N×M coefficients of an 8×8 block become N×M levels.
//!
//! A coefficient is the amplitude of a cosine over the block. The sum of the cosines, sampled at the
//! centres of N equal parts instead of 8, is the block at a lower resolution. The discarded coefficients
//! are exactly the frequencies above the Nyquist limit of that resolution.

use std::{array, f32::consts::PI};

use super::{
    coefficients::{Block, Kept},
    huffman::{Ac, Bits},
};

type Transform = fn(&Block, &[Cosines; 2], &mut [u8], usize);

/// Inverse DCT of one component's blocks.
pub(super) struct Idct {
    pub(super) width: usize,
    pub(super) height: usize,
    kept: Kept,
    /// Cosines for the horizontal and the vertical pass.
    cosines: [Cosines; 2],
    transforms: [Transform; 4],
    block: Block,
}

/// `[u][x]`: the u-th cosine, with its factor, at the centre of the x-th part.
type Cosines = [[f32; 8]; 8];

impl Idct {
    pub(super) fn new(width: usize, height: usize, quantization: &[u16; 64]) -> Option<Self> {
        Some(Self {
            width,
            height,
            kept: Kept::new(width, height, quantization)?,
            cosines: [cosines(width), cosines(height)],
            transforms: transforms(width, height)?,
            block: [0.0; 65],
        })
    }

    /// Decodes a block and writes its levels to `out`, whose lines are `stride` apart.
    pub(super) fn block(
        &mut self,
        dc: i16,
        ac: &Ac,
        bits: &mut Bits,
        out: &mut [u8],
        stride: usize,
    ) -> Option<()> {
        self.block = [0.0; 65];
        self.block[0] = f32::from(dc) * self.kept.factors[0];
        let end = ac.coefficients(bits, &self.kept, &mut self.block)?;
        let [one, two, four, all] = self.transforms;
        let transform = match end {
            1 => one,
            // The first 3 coefficients in zigzag order are in the lowest 2×2, the first 10 in the lowest 4×4.
            2..=3 => two,
            4..=10 => four,
            _ => all,
        };
        transform(&self.block, &self.cosines, out, stride);
        Some(())
    }
}

/// The cosines for `parts` parts, with the factors of A.3.3.
fn cosines(parts: usize) -> Cosines {
    array::from_fn(|u| {
        array::from_fn(|x| {
            let factor = if u == 0 { 0.5f32.sqrt() / 2.0 } else { 0.5 };
            factor * (PI * (2 * x + 1) as f32 * u as f32 / (2 * parts) as f32).cos()
        })
    })
}

/// The transforms for blocks of `width` × `height` levels: for the DC coefficient alone, the lowest 2×2, the
/// lowest 4×4, and all coefficients.
fn transforms(width: usize, height: usize) -> Option<[Transform; 4]> {
    macro_rules! of {
        ($($width:literal $height:literal,)*) => {
            match (width, height) {
                $(($width, $height) => Some([flat::<$width, $height>,
                    levels::<$width, $height, 2>, levels::<$width, $height, 4>, levels::<$width, $height, 8>]),)*
                _ => None,
            }
        };
    }
    of!(1 1, 1 2, 1 4, 1 8, 2 1, 2 2, 2 4, 2 8, 4 1, 4 2, 4 4, 4 8, 8 1, 8 2, 8 4, 8 8,)
}

/// Transform of a block whose only nonzero coefficient is the DC coefficient.
fn flat<const W: usize, const H: usize>(
    block: &Block,
    _: &[Cosines; 2],
    out: &mut [u8],
    stride: usize,
) {
    let level = level(block[0] / 8.0 + OFFSET);
    for y in 0..H {
        out[y * stride..][..W].copy_from_slice(&[level; W]);
    }
}

/// Transform of a block whose coefficients beyond the lowest `N`×`N` are zero.
fn levels<const W: usize, const H: usize, const N: usize>(
    block: &Block,
    [across, down]: &[Cosines; 2],
    out: &mut [u8],
    stride: usize,
) {
    // Horizontal pass: [v][x].
    let mut rows = [[0f32; W]; H];
    for v in 0..H.min(N) {
        for u in 0..W.min(N) {
            for x in 0..W {
                rows[v][x] += block[v * W + u] * across[u][x];
            }
        }
    }
    for y in 0..H {
        let mut line = [OFFSET; W];
        for v in 0..H.min(N) {
            for x in 0..W {
                line[x] += rows[v][x] * down[v][y];
            }
        }
        out[y * stride..][..W].copy_from_slice(&line.map(level));
    }
}

/// Level shift (A.3.1), plus a small bias so that a half is rounded up, as other decoders do.
const OFFSET: f32 = 128.0 + 1.0 / 64.0;

/// The nearest level.
fn level(value: f32) -> u8 {
    // Adding 2^23 leaves a float no bits for a fraction: the addition rounds to the nearest integer.
    const ROUND: f32 = (1 << 23) as f32;
    (value.clamp(0.0, 255.0) + ROUND).to_bits() as u8
}
