//! Feature maps in the arena.

use serde::{Deserialize, Serialize};

/// Channels of a channel block. Their values are contiguous: they fill one AVX-512 register or two AVX2 registers.
pub const BLOCK: usize = 16;

/// Rows and columns of zeros that are stored around a feature map, so that windows need no bounds checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Halo {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

/// A feature map in the arena.
///
/// The axes are, from the slowest to the fastest: channel blocks, rows, columns, lanes. Rows and columns include the
/// halo. With 16 lanes this is the layout nChw16c, with one block of few lanes it is NHWC. Some blocks of a feature map
/// are a feature map too: so the parts of a concatenation are written to their place in the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureMap {
    /// Offset of the first float in the arena.
    pub offset: usize,
    /// Number of channel blocks. The last may have padding channels, whose values are finite and mean nothing: the weights
    /// that read them are 0.
    pub blocks: usize,
    /// Channels of a block.
    pub lanes: usize,
    /// Rows without the halo.
    pub height: usize,
    /// Columns without the halo.
    pub width: usize,
    /// Zeros around the feature map.
    pub halo: Halo,
}

impl FeatureMap {
    /// Leading dimension: the stride between rows, in floats.
    pub fn row_stride(&self) -> usize {
        (self.halo.left + self.width + self.halo.right) * self.lanes
    }

    /// Rows with the halo.
    pub fn stored_rows(&self) -> usize {
        self.halo.top + self.height + self.halo.bottom
    }

    /// Stride between channel blocks, in floats.
    pub fn block_stride(&self) -> usize {
        self.stored_rows() * self.row_stride()
    }

    /// Length in floats, halo included.
    pub fn len(&self) -> usize {
        self.blocks * self.block_stride()
    }

    /// Whether the feature map has no floats.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The feature map of some of the channel blocks.
    pub fn view(&self, first: usize, blocks: usize) -> Self {
        Self {
            offset: self.offset + first * self.block_stride(),
            blocks,
            ..*self
        }
    }

    /// Whether the feature map has one pixel.
    pub fn is_pixel(&self) -> bool {
        [self.height, self.width] == [1, 1]
    }

    /// Offset of a pixel in the arena. Row `y` and column `x` do not count the halo.
    pub fn offset_of(&self, block: usize, y: usize, x: usize) -> usize {
        self.offset
            + block * self.block_stride()
            + (self.halo.top + y) * self.row_stride()
            + (self.halo.left + x) * self.lanes
    }
}

/// The windows of a convolution or a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Kernel size: rows and columns.
    pub kernel: [usize; 2],
    /// Stride: rows and columns between two windows.
    pub stride: [usize; 2],
    /// Row and column of the first window's first pixel. Both count the halo.
    pub origin: [usize; 2],
}

/// A residual: a feature map that is added to an output before its activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// The feature map to add.
    pub feature_map: FeatureMap,
    /// Stride at which the feature map is sampled, for rows and columns alike.
    pub stride: usize,
}
