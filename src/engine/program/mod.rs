//! The compiled form of a graph: steps over feature maps in one arena of floats.
//!
//! A compiled file ([`crate::file`]) holds a [`Program`] as JSON. A field that is unknown or missing is an error, also
//! an optional one. A change of these types, or of what they mean, is a new version of the file's format.

mod feature_map;

use serde::{Deserialize, Serialize};

pub use self::feature_map::{BLOCK, FeatureMap, Halo, Residual, Window};
use crate::steps::Step;

/// Memory layout of an input tensor of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TensorLayout {
    /// Batch, rows, columns, channels.
    Nhwc,
    /// Batch, channels, rows, columns.
    Nchw,
}

/// A network that is ready to run, without its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Shapes of the input tensors.
    pub inputs: Vec<Vec<usize>>,
    /// Shapes of the output tensors.
    pub outputs: Vec<Vec<usize>>,
    /// Steps in the order in which they run. Each reads feature maps that earlier steps wrote, and writes one feature
    /// map or one output tensor.
    pub steps: Vec<Step>,
    /// Length of the arena in floats.
    pub arena_len: usize,
    /// Length of the packed weights in floats.
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

    #[test]
    fn strides_and_offsets_of_a_feature_map_count_the_halo() {
        assert_eq!(MAP.row_stride(), 7 * BLOCK);
        assert_eq!(MAP.block_stride(), 4 * 7 * BLOCK);
        assert_eq!(MAP.len(), 2 * 4 * 7 * BLOCK);
        assert_eq!(MAP.offset_of(0, 0, 0), 100 + (7 + 1) * BLOCK);
        assert_eq!(MAP.offset_of(1, 2, 3), 100 + (4 * 7 + 3 * 7 + 4) * BLOCK);
    }

    #[test]
    fn a_view_begins_at_its_first_block() {
        let view = MAP.view(1, 1);
        assert_eq!(view.offset_of(0, 2, 3), MAP.offset_of(1, 2, 3));
        assert_eq!(view.len(), MAP.len() / 2);
    }
}
