//! The compiled form of a network: operations over feature maps in one arena of floats.
//!
//! A compiled file ([`crate::file`]) holds a [`Program`] as JSON. The serde names in this module belong to that
//! format: a renamed field keeps its old name there. A field that is unknown or missing is an error, also an optional
//! one.

mod convolution;
mod feature_map;

use serde::{Deserialize, Serialize};

pub use self::{
    convolution::{Clamp, DirectConvolution, PANEL, Window, WinogradConvolution},
    feature_map::{BLOCK, FeatureMap, Halo, Residual},
};

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
