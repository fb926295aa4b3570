//! The DCT coefficients of a block, and which of them are kept.

/// Row-major position of the k-th coefficient in zigzag order: figure A.6.
const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Slot in a [`Block`] for coefficients that are discarded.
const UNUSED: u8 = 64;

/// The lowest N×M coefficients of a block in row-major order; slot [`UNUSED`] receives the others.
pub(super) type Block = [f32; 65];

/// The coefficients that are kept, in zigzag order.
pub(super) struct Kept {
    /// Slot of each coefficient in a [`Block`].
    pub(super) slots: [u8; 64],
    /// Quantization factor of each coefficient.
    pub(super) factors: [f32; 64],
    /// Zigzag index after the last kept coefficient.
    pub(super) end: usize,
}

impl Kept {
    /// The lowest `width` × `height` coefficients. `quantization` is in zigzag order.
    pub(super) fn new(width: usize, height: usize, quantization: &[u16; 64]) -> Option<Self> {
        let slots = ZIGZAG.map(
            |place| match (usize::from(place % 8), usize::from(place / 8)) {
                (u, v) if u < width && v < height => (v * width + u) as u8,
                _ => UNUSED,
            },
        );
        Some(Self {
            slots,
            factors: quantization.map(f32::from),
            end: slots.iter().rposition(|&slot| slot != UNUSED)? + 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_coefficients_are_kept_in_row_major_order() {
        let quantization = std::array::from_fn(|k| k as u16);
        let kept = Kept::new(2, 2, &quantization).unwrap();
        // Zigzag order: (0,0), (1,0), (0,1), (0,2), (1,1), …
        assert_eq!(kept.slots[..6], [0, 1, 2, UNUSED, 3, UNUSED]);
        assert!(kept.slots[5..].iter().all(|&slot| slot == UNUSED));
        assert_eq!(kept.end, 5);
        assert_eq!(kept.factors[63], 63.0);
        let all = Kept::new(8, 8, &quantization).unwrap();
        assert_eq!(all.end, 64);
        assert_eq!(all.slots.map(usize::from), ZIGZAG.map(usize::from));
    }
}
