//! The compiled form of a network: operations over feature maps in one arena of floats.
//!
//! A compiled file ([`crate::file`]) holds a [`Program`] as JSON. The serde names below belong to that format, so a
//! renamed field keeps its old name there. A field that is unknown or missing is an error, also an optional one.

use serde::{Deserialize, Deserializer, Serialize};

/// Channels of a channel block. Their values are contiguous: they fill one AVX-512 register or two AVX2 registers.
pub const BLOCK: usize = 16;

/// Channel blocks of a panel, whose packed weights are interleaved. The AVX-512 micro-kernel computes a whole panel
/// at once, the AVX2 micro-kernel one block after the other.
pub const PANEL: usize = 2;

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
/// halo. With 16 lanes this is the layout nChw16c, with one block of few lanes it is NHWC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureMap {
    /// Offset of the first float in the arena.
    pub offset: usize,
    /// Number of channel blocks. Channels that only fill up the last block are 0.
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

    /// Offset of a pixel in the arena. Row `y` and column `x` do not count the halo.
    pub fn offset_of(&self, block: usize, y: usize, x: usize) -> usize {
        self.offset
            + block * self.block_stride()
            + (self.halo.top + y) * self.row_stride()
            + (self.halo.left + x) * self.lanes
    }
}

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

/// A residual: a feature map that is added to an output before its clamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residual {
    /// The feature map to add.
    #[serde(rename = "plane")]
    pub feature_map: FeatureMap,
    /// Stride at which the feature map is sampled, for rows and columns alike.
    pub stride: usize,
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

/// Memory layout of an input tensor of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorLayout {
    /// Batch, rows, columns, channels.
    Nhwc,
    /// Batch, channels, rows, columns.
    Nchw,
}

/// One operation of a program. It reads feature maps that earlier operations wrote, and writes one feature map or
/// one output tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Operation {
    /// Copies an input tensor into the arena.
    Load {
        /// Index of the input tensor.
        input: usize,
        /// Layout of the input tensor.
        #[serde(rename = "order")]
        layout: TensorLayout,
        /// Channels of the input tensor.
        channels: usize,
        /// Feature map that is written.
        output: FeatureMap,
    },
    /// A direct convolution.
    #[serde(rename = "Convolution")]
    Direct(DirectConvolution),
    /// A convolution by Winograd's algorithm.
    Winograd(WinogradConvolution),
    /// Maximum of each window. The halo counts as zeros.
    MaxPool {
        /// Feature map that is read.
        input: FeatureMap,
        /// Feature map that is written.
        output: FeatureMap,
        /// Windows over the input.
        window: Window,
        /// Bounds of the output.
        clamp: Clamp,
    },
    /// Mean of all pixels of each channel.
    #[serde(rename = "Mean")]
    GlobalAveragePool {
        /// Feature map that is read.
        input: FeatureMap,
        /// Feature map of one pixel that is written.
        output: FeatureMap,
    },
    /// Sum of two feature maps.
    Add {
        /// Feature map that is read.
        input: FeatureMap,
        /// Residual to add.
        residual: Residual,
        /// Feature map that is written.
        output: FeatureMap,
        /// Bounds of the output.
        clamp: Clamp,
    },
    /// Softmax over the channels of one pixel.
    Softmax {
        /// Feature map of one pixel that is read.
        input: FeatureMap,
        /// Channels, without those that fill up the last block.
        channels: usize,
        /// Feature map of one pixel that is written.
        output: FeatureMap,
    },
    /// Copies a feature map out of the arena into an output tensor, as NCHW.
    Store {
        /// Feature map that is read.
        input: FeatureMap,
        /// Channels of the output tensor.
        channels: usize,
        /// Index of the output tensor.
        output: usize,
    },
}

/// A network that is ready to run, without its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Shapes of the input tensors.
    pub inputs: Vec<Vec<usize>>,
    /// Shapes of the output tensors.
    pub outputs: Vec<Vec<usize>>,
    /// Operations in the order in which they run.
    #[serde(rename = "steps")]
    pub operations: Vec<Operation>,
    /// Length of the arena in floats.
    #[serde(rename = "arena")]
    pub arena_len: usize,
    /// Length of the packed weights in floats.
    #[serde(rename = "weights")]
    pub weights_len: usize,
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

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: FeatureMap = FeatureMap {
        offset: 100,
        blocks: 2,
        lanes: BLOCK,
        height: 3,
        width: 4,
        halo: Halo {
            top: 1,
            left: 1,
            bottom: 0,
            right: 2,
        },
    };

    fn convolution(input: FeatureMap) -> DirectConvolution {
        DirectConvolution {
            input,
            output: MAP,
            window: Window {
                kernel: [2, 2],
                stride: [1, 1],
                origin: [0, 0],
            },
            weights_offset: 0,
            bias_offset: 0,
            residual: None,
            clamp: Clamp::NONE,
        }
    }

    #[test]
    fn strides_and_offsets_of_a_feature_map_count_the_halo() {
        assert_eq!(MAP.row_stride(), 7 * BLOCK);
        assert_eq!(MAP.block_stride(), 4 * 7 * BLOCK);
        assert_eq!(MAP.len(), 2 * 4 * 7 * BLOCK);
        assert_eq!(MAP.offset_of(0, 0, 0), 100 + (7 + 1) * BLOCK);
        assert_eq!(MAP.offset_of(1, 2, 3), 100 + (4 * 7 + 3 * 7 + 4) * BLOCK);
    }

    #[test]
    fn a_segment_is_a_pixel_of_a_block_or_a_row_of_a_narrow_window() {
        let (segments, len) = convolution(MAP).segments();
        let block = 4 * 7 * BLOCK;
        let first = [0, BLOCK, 7 * BLOCK, 8 * BLOCK];
        assert_eq!(len, BLOCK);
        assert_eq!(segments[..4], first);
        assert_eq!(segments[4..], first.map(|offset| block + offset));

        let narrow = FeatureMap {
            blocks: 1,
            lanes: 3,
            ..MAP
        };
        assert_eq!(convolution(narrow).segments(), (vec![0, 7 * 3], 2 * 3));
    }

    #[test]
    fn a_program_in_json_may_neither_lack_a_field_nor_have_another() {
        let whole = serde_json::to_value(convolution(MAP)).unwrap();
        assert!(serde_json::from_value::<DirectConvolution>(whole.clone()).is_ok());
        for field in ["residual", "clamp", "weights"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(field);
            let error = serde_json::from_value::<DirectConvolution>(without).unwrap_err();
            assert!(error.to_string().contains("missing field"), "{error}");
        }
        let mut more = whole.clone();
        more["dilation"] = 2.into();
        let error = serde_json::from_value::<DirectConvolution>(more).unwrap_err();
        assert!(error.to_string().contains("unknown field"), "{error}");

        let error = serde_json::from_str::<Clamp>(r#"{"high": null}"#).unwrap_err();
        assert!(error.to_string().contains("missing field"), "{error}");
    }
}
