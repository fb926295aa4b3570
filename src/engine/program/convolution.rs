//! Convolutions, their windows and their epilogue.

use serde::{Deserialize, Deserializer, Serialize};

use super::feature_map::{BLOCK, FeatureMap, Residual};

/// Channel blocks of a panel, whose packed weights are interleaved. The AVX-512 micro-kernel computes a whole panel
/// at once, the AVX2 micro-kernel one block after the other.
pub const PANEL: usize = 2;

/// Bounds of an output value: the activation in the epilogue of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clamp {
    /// Lower bound, 0 for ReLU. `None` is −∞.
    #[serde(deserialize_with = "present")]
    pub low: Option<f32>,
    /// Upper bound, 6 for ReLU6. `None` is ∞.
    #[serde(deserialize_with = "present")]
    pub high: Option<f32>,
}

impl Clamp {
    /// No bounds.
    pub const NONE: Self = Self {
        low: None,
        high: None,
    };
    /// max(x, 0).
    pub const RELU: Self = Self {
        low: Some(0.0),
        high: None,
    };

    /// Lower and upper bound.
    pub fn bounds(self) -> [f32; 2] {
        [
            self.low.unwrap_or(f32::NEG_INFINITY),
            self.high.unwrap_or(f32::INFINITY),
        ]
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

/// A convolution as a direct sum over its window: clamp(Σ weight × input + bias + residual).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectConvolution {
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Windows over the input.
    pub window: Window,
    /// Offset of the packed weights. Their axes are, from the slowest to the fastest: panels, segments of the
    /// window, floats of the segment, output channels of the panel.
    #[serde(rename = "weights")]
    pub weights_offset: usize,
    /// Offset of the biases: one for each output channel, those that fill up the last block included.
    #[serde(rename = "bias")]
    pub bias_offset: usize,
    /// Residual to add.
    #[serde(deserialize_with = "present")]
    pub residual: Option<Residual>,
    /// Bounds of the output.
    pub clamp: Clamp,
}

impl DirectConvolution {
    /// The segments of a window: the offset of each from the window's first float, and the length of all.
    ///
    /// A segment is a run of contiguous input floats: the lanes of one pixel in one channel block or, where the
    /// input has fewer than [`BLOCK`] lanes, a whole row of the window.
    pub fn segments(&self) -> (Vec<usize>, usize) {
        let input = &self.input;
        let [rows, columns] = self.window.kernel;
        if input.lanes < BLOCK {
            let segments = (0..rows).map(|y| y * input.row_stride()).collect();
            return (segments, columns * input.lanes);
        }
        let pixels = (0..input.blocks).flat_map(|block| {
            (0..rows).flat_map(move |y| (0..columns).map(move |x| (block, y, x)))
        });
        let segments = pixels
            .map(|(block, y, x)| {
                block * input.block_stride() + y * input.row_stride() + x * input.lanes
            })
            .collect();
        (segments, input.lanes)
    }
}

/// A 3×3 convolution with stride 1 by Winograd's minimal filtering algorithm, <https://arxiv.org/abs/1509.09308>.
///
/// F(4×4, 3×3) needs 36 products for 16 pixels instead of 144, F(2×2, 3×3) 16 products for 4 pixels instead of 36.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WinogradConvolution {
    /// Rows and columns of an output tile: 4 or 2.
    #[serde(rename = "tile")]
    pub output_tile: usize,
    /// Feature map that is read. Its halo covers the input of whole tiles, also at the lower and right edge.
    pub input: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Row and column of the first window's first pixel. Both count the halo.
    pub origin: [usize; 2],
    /// Offset of the transformed and packed weights. Their axes are, from the slowest to the fastest: positions in
    /// the transformed tile, panels, input channels, output channels of the panel.
    #[serde(rename = "weights")]
    pub weights_offset: usize,
    /// Offset of the biases: one for each output channel, those that fill up the last block included.
    #[serde(rename = "bias")]
    pub bias_offset: usize,
    /// Bounds of the output.
    pub clamp: Clamp,
    /// Largest number of tiles in one work item.
    #[serde(rename = "together")]
    pub max_tiles: usize,
}

impl WinogradConvolution {
    /// Rows and columns of the grid of tiles.
    pub fn tile_grid(&self) -> [usize; 2] {
        [
            self.output.height.div_ceil(self.output_tile),
            self.output.width.div_ceil(self.output_tile),
        ]
    }

    /// Positions of a transformed tile: products for each input and output channel.
    pub fn positions(&self) -> usize {
        (self.output_tile + 2).pow(2)
    }

    /// Length of a thread's workspace in floats: the transformed input and output of one work item's tiles.
    pub fn workspace_len(&self) -> usize {
        let [rows, columns] = self.tile_grid();
        let tiles = self.max_tiles.min(rows * columns);
        self.positions() * tiles * BLOCK * (self.input.blocks + self.output.blocks)
    }
}

/// Deserializes an optional field that must be there. serde takes a missing one as `None` otherwise, and a program
/// would silently lose its residual or its activation.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer)
}
