//! The micro-kernels of a step, and how its outputs are cut into tiles.

use std::ops::Range;

use crate::kernels::{
    Kernels,
    convolution::{MicroKernel, TileKind},
};

/// Prefetches of weights that micro-kernels have, in cache lines per segment.
const PREFETCHES: [usize; 3] = [0, 1, 4];

/// Whether the pixels of a tile have constant strides in input, residual and output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Strided,
    Indirect,
}

/// The micro-kernels for all tiles of a step, chosen when the step is prepared.
pub(super) struct TileKernels {
    /// By panels, pixels, form and prefetch.
    table: Vec<MicroKernel>,
    max_pixels: usize,
    max_panels: usize,
    /// Stride between the inputs of two pixels in floats; 0 if segments do not have 16 floats.
    stride: usize,
}

impl TileKernels {
    /// The micro-kernels for this stride between the inputs of two pixels and this length of segments, in floats.
    #[expect(
        clippy::expect_used,
        reason = "a test finds a micro-kernel for every kind of tile on every instruction set"
    )]
    pub(super) fn new(kernels: &Kernels, stride: usize, segment_len: usize) -> Self {
        let kind = |pixels: usize, panels: usize, form: Form, prefetch: usize| {
            let has_all = panels == kernels.max_panels;
            let stride = match (form, stride) {
                _ if segment_len != 16 => 0,
                (Form::Strided, 16) => 16,
                (Form::Strided, 32) if has_all => 32,
                _ => 0,
            };
            // A micro-kernel may prefetch more lines than asked for: that is only slower.
            let prefetch = match (stride, prefetch) {
                _ if segment_len != 16 => 0,
                (16, _) if has_all => prefetch,
                (0, 4) if has_all => 4,
                _ => 1,
            };
            TileKind {
                pixels,
                panels,
                stride,
                segment_len: match segment_len {
                    9 | 16 | 21 => segment_len,
                    _ => 0,
                },
                prefetch,
            }
        };
        let mut table = Vec::new();
        for panels in 1..=kernels.max_panels {
            for pixels in 1..=kernels.max_pixels {
                for form in [Form::Strided, Form::Indirect] {
                    for prefetch in PREFETCHES {
                        let kernel = (kernels.micro_kernel)(&kind(pixels, panels, form, prefetch));
                        table.push(kernel.expect("a micro-kernel for every kind of tile"));
                    }
                }
            }
        }
        Self {
            table,
            max_pixels: kernels.max_pixels,
            max_panels: kernels.max_panels,
            stride: if segment_len == 16 { stride } else { 0 },
        }
    }

    /// The micro-kernel for a tile of `pixels` pixels × `panels` panels. `prefetch` is an element of [`PREFETCHES`].
    pub(super) fn get(
        &self,
        pixels: usize,
        panels: usize,
        form: Form,
        prefetch: usize,
    ) -> MicroKernel {
        let form = usize::from(form == Form::Indirect);
        let prefetch = match prefetch {
            0 => 0,
            1 => 1,
            _ => 2,
        };
        let size = (panels - 1) * self.max_pixels + pixels - 1;
        self.table[(size * 2 + form) * PREFETCHES.len() + prefetch]
    }

    /// Most pixels of a tile.
    pub(super) fn max_pixels(&self) -> usize {
        self.max_pixels
    }

    /// The form of a tile for its micro-kernel. Strided tiles have one for the stride 1, and for the stride 2 if they
    /// have all panels.
    pub(super) fn form(&self, is_strided: bool, panels: usize) -> Form {
        let has_strided = self.stride == 16 || self.stride == 32 && panels == self.max_panels;
        match is_strided && has_strided {
            true => Form::Strided,
            false => Form::Indirect,
        }
    }

    /// How many of `tiles` tiles prefetch the weights of the next panel, and how many cache lines in each segment. A
    /// segment has 16 lines of weights.
    pub(super) fn prefetch(&self, tiles: usize) -> (usize, usize) {
        match tiles {
            _ if self.stride == 0 => (0, 0),
            16.. => (16, 1),
            _ => (4, 4),
        }
    }
}

/// A sequence of pixels that is cut into as few tiles as possible, of nearly the same size: the larger come first, so
/// that one call can compute many of the same size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiles {
    /// Number of tiles.
    pub(super) count: usize,
    /// Number of larger tiles.
    large: usize,
    /// Pixels of a larger tile. The others have one less.
    size: usize,
}

impl Tiles {
    /// Cuts `pixels` pixels, at least 1, into tiles of at most `max`.
    pub(super) fn new(pixels: usize, max: usize) -> Self {
        let count = pixels.div_ceil(max);
        let size = pixels.div_ceil(count);
        Self {
            count,
            large: pixels - (size - 1) * count,
            size,
        }
    }

    /// First pixel of a tile; for `count`, the number of pixels.
    pub(super) fn start(&self, tile: usize) -> usize {
        tile * (self.size - 1) + tile.min(self.large)
    }

    /// Pixels of a tile.
    pub(super) fn pixels(&self, tile: usize) -> usize {
        self.size - usize::from(tile >= self.large)
    }

    /// Number of tiles from `tile` on and before `end` that have the size of `tile`.
    pub(super) fn same(&self, tile: usize, end: usize) -> usize {
        let end = if tile < self.large {
            end.min(self.large)
        } else {
            end
        };
        end - tile
    }
}

/// Part `n` of `parts` nearly equal parts of a range from 0 to `all`.
pub(super) fn share(all: usize, parts: usize, n: usize) -> Range<usize> {
    all * n / parts..all * (n + 1) / parts
}

/// Parts of at most `max`, of nearly the same size.
pub(super) fn groups(all: usize, max: usize) -> Vec<Range<usize>> {
    let parts = all.div_ceil(max);
    (0..parts).map(|n| share(all, parts, n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{isa::Isa, program::BLOCK};

    #[test]
    fn every_kind_of_tile_has_a_micro_kernel() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_here()) {
            for stride in [1, 3, 6, BLOCK, 2 * BLOCK, 3 * BLOCK] {
                for segment_len in [1, 3, 9, 10, 16, 21] {
                    let kernels = Kernels::of(isa);
                    let tiles = TileKernels::new(kernels, stride, segment_len);
                    let kinds = kernels.max_panels * kernels.max_pixels * 2 * PREFETCHES.len();
                    assert_eq!(tiles.table.len(), kinds);
                }
            }
        }
    }

    #[test]
    fn tiles_cover_all_pixels_once() {
        for pixels in 1..200 {
            for max in [1, 2, 6, 14] {
                let tiles = Tiles::new(pixels, max);
                assert_eq!(tiles.count, pixels.div_ceil(max));
                let mut start = 0;
                for tile in 0..tiles.count {
                    assert_eq!(tiles.start(tile), start);
                    assert!((1..=max).contains(&tiles.pixels(tile)));
                    let same = tiles.same(tile, tiles.count);
                    assert_eq!(tiles.pixels(tile + same - 1), tiles.pixels(tile));
                    start += tiles.pixels(tile);
                }
                assert_eq!((start, tiles.start(tiles.count)), (pixels, pixels));
            }
        }
    }

    #[test]
    fn groups_have_nearly_the_same_size() {
        assert_eq!(
            groups(49, 6),
            [
                0..5,
                5..10,
                10..16,
                16..21,
                21..27,
                27..32,
                32..38,
                38..43,
                43..49
            ]
        );
        assert_eq!(groups(5, 6), vec![share(5, 1, 0)]);
    }
}
