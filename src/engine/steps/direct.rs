//! Convolutions as direct sums.
//!
//! The output is taken as a sequence of pixels, row after row, and cut into tiles that may cross the end of a row. The
//! loops are, from the outermost: chunks of pixels (work items), groups of segments, panels of output channels, tiles,
//! and in the micro-kernel segments and their floats. A chunk's input stays in the L2 cache, and the weights of a panel
//! and a group in the L1 cache. Partial sums between two groups are in the output.

mod prepared;

pub(super) use self::prepared::Prepared;
use super::{
    Kind, Work,
    verify::{Checked, Verifier, activation_is_valid, ensure, window_fits},
};
use crate::{
    activation::{Activation, present},
    graph::{Convolution, NodeId},
    kernels::Kernels,
    pack::{self, Filter},
    plan::Planner,
    program::{BLOCK, FeatureMap, Residual, Window},
    runtime::Fault,
};
use serde::{Deserialize, Serialize};

/// A convolution as a direct sum over its window: activation(Σ weight × gate × input + bias + residual).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Direct {
    /// Feature map that is read.
    pub input: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Windows over the input.
    pub window: Window,
    /// Offset of the packed weights. Their axes are, from the slowest to the fastest: panels, segments of the window,
    /// floats of the segment, output channels of the panel.
    pub weights: usize,
    /// Offset of the biases: one for each output channel, those that fill up the last block included.
    pub bias: usize,
    /// Residual to add.
    #[serde(deserialize_with = "present")]
    pub residual: Option<Residual>,
    /// One factor for each input channel, by which the weights are multiplied. Only for 1×1 windows.
    #[serde(deserialize_with = "present")]
    pub gate: Option<FeatureMap>,
    /// Activation.
    pub activation: Activation,
}

impl Direct {
    pub(super) fn plan(planner: &mut Planner, node: NodeId, convolution: &Convolution) -> Self {
        let input = planner.input_map(node, 0);
        let output = planner.feature_map(node);
        let filter = Filter::of(planner.graph, node, convolution);
        let packed = pack::direct(&filter, input.lanes);
        Self {
            input,
            output,
            window: planner.window(node, convolution),
            weights: planner.push_weights(&packed, packed.len()),
            bias: planner.push_weights(&convolution.bias, output.blocks * BLOCK),
            residual: convolution.residual_stride.map(|stride| Residual {
                feature_map: planner.input_map(node, 1),
                stride,
            }),
            gate: convolution.has_gate.then(|| {
                let last = planner.graph.nodes[node].inputs.len() - 1;
                planner.input_map(node, last)
            }),
            activation: convolution.activation,
        }
    }

    /// The segments of a window: the offset of each from the window's first float, and the length of all.
    ///
    /// A segment is a run of contiguous input floats: the lanes of one pixel in one channel block or, where the
    /// input has fewer than [`BLOCK`] lanes, a whole row of the window.
    fn segments(&self) -> (Vec<usize>, usize) {
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

    /// Offset of the window of an output pixel, in the arena.
    fn input_offset(&self, [y, x]: [usize; 2]) -> usize {
        let Window { stride, origin, .. } = self.window;
        self.input.offset
            + (y * stride[0] + origin[0]) * self.input.row_stride()
            + (x * stride[1] + origin[1]) * self.input.lanes
    }

    /// Checks all but the memory of the output.
    pub(super) fn verify_sums(&self, verifier: &mut Verifier) -> Checked {
        let (input, output) = (&self.input, &self.output);
        verifier.size("output", output)?;
        ensure(output.lanes == BLOCK, "output", Fault::Lanes)?;
        verifier.read("input", input)?;
        if let Some(residual) = &self.residual {
            verifier.read_residual("residual", residual, output)?;
        }
        if let Some(gate) = &self.gate {
            verifier.read_blocks("gate", gate)?;
            ensure(gate.blocks == input.blocks, "gate", Fault::Blocks)?;
            ensure(gate.is_pixel(), "gate", Fault::OnePixel)?;
            // One factor for each float of a window.
            ensure(input.lanes == BLOCK, "gate", Fault::Lanes)?;
            ensure(self.window.kernel == [1, 1], "gate", Fault::WindowRange)?;
        }
        ensure(
            input.lanes == BLOCK || input.blocks == 1,
            "input",
            Fault::Lanes,
        )?;
        window_fits(input, output, &self.window)?;
        let channels = output.blocks * BLOCK;
        let [rows, columns] = self.window.kernel;
        // Fits in 64 bits: the window is inside the input, which is inside the arena of at most `MAX_FLOATS` floats.
        let weights = input.blocks * input.lanes * rows * columns * channels;
        verifier.weights("weights", self.weights, weights)?;
        verifier.weights("bias", self.bias, channels)?;
        activation_is_valid(self.activation)
    }

    /// Whether the stride between two pixels is constant over the whole feature maps, also from the end of a row to the
    /// next.
    fn is_flat(&self) -> bool {
        let rows = self.window.stride[0] * self.input.row_stride();
        let is_input_flat = rows == self.output.width * self.window.stride[1] * self.input.lanes;
        let is_output_flat = self.output.row_stride() == self.output.width * BLOCK;
        let is_residual_flat = self.residual.is_none_or(
            |Residual {
                 feature_map,
                 stride,
             }| {
                stride * feature_map.row_stride() == self.output.width * stride * BLOCK
            },
        );
        is_input_flat && is_output_flat && is_residual_flat
    }
}

impl Kind for Direct {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        self.verify_sums(verifier)?;
        verifier.write_blocks("output", &self.output)
    }

    fn operations(&self) -> usize {
        let (segments, segment_len) = self.segments();
        let Direct { output, .. } = self;
        2 * segments.len() * segment_len * output.blocks * BLOCK * output.height * output.width
    }

    fn prepare(&self, kernels: &'static Kernels) -> Box<dyn Work> {
        Box::new(Prepared::new(self, kernels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::Halo;

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

    fn step(input: FeatureMap) -> Direct {
        Direct {
            input,
            output: MAP,
            window: Window {
                kernel: [2, 2],
                stride: [1, 1],
                origin: [0, 0],
            },
            weights: 0,
            bias: 0,
            residual: None,
            gate: None,
            activation: Activation::NONE,
        }
    }

    #[test]
    fn a_segment_is_a_pixel_of_a_block_or_a_row_of_a_narrow_window() {
        let (segments, len) = step(MAP).segments();
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
        assert_eq!(step(narrow).segments(), (vec![0, 7 * 3], 2 * 3));
    }

    #[test]
    fn a_step_in_json_may_neither_lack_a_field_nor_have_another() {
        let whole = serde_json::to_value(step(MAP)).unwrap();
        assert!(serde_json::from_value::<Direct>(whole.clone()).is_ok());
        for field in ["residual", "gate", "activation", "weights"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(field);
            let error = serde_json::from_value::<Direct>(without).unwrap_err();
            assert!(error.to_string().contains("missing field"), "{error}");
        }
        let mut more = whole.clone();
        more["dilation"] = 2.into();
        let error = serde_json::from_value::<Direct>(more).unwrap_err();
        assert!(error.to_string().contains("unknown field"), "{error}");
    }
}
