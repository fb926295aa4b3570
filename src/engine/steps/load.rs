//! Load: an input tensor is copied into the arena.

use std::slice;

use super::{
    Kind, Work,
    verify::{Checked, Verifier},
};
use crate::{
    graph::{NodeId, Op},
    kernels::Kernels,
    plan::Planner,
    program::{FeatureMap, TensorLayout},
    runtime::Context,
};
use serde::{Deserialize, Serialize};

/// Copies an input tensor into the arena, and normalises its values on the way: scale × x + shift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Index of the input tensor.
    pub input: usize,
    /// Layout of the input tensor.
    pub layout: TensorLayout,
    /// Channels of the input tensor.
    pub channels: usize,
    /// Offset of the scales in the weights, and of the shifts: for each block, one for each float of a row. `None` if
    /// values are copied as they are.
    #[serde(deserialize_with = "crate::activation::present")]
    pub affine: Option<[usize; 2]>,
    /// Feature map that is written.
    pub output: FeatureMap,
}

impl Load {
    pub(super) fn plan(planner: &mut Planner, node: NodeId) -> Self {
        let description = &planner.graph.nodes[node];
        let Op::Input {
            index,
            layout,
            affine,
        } = &description.op
        else {
            unreachable!("`Step::plan` calls this for inputs only");
        };
        let output = planner.feature_map(node);
        let affine = affine.as_ref().map(|affine| {
            [&affine.scale, &affine.shift].map(|values| {
                let rows = rows(values, &output);
                planner.push_weights(&rows, rows.len())
            })
        });
        Self {
            input: *index,
            layout: *layout,
            channels: description.shape.channels,
            affine,
            output,
        }
    }
}

impl Kind for Load {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        verifier.load(self.input, &self.output, self.channels)?;
        for offset in self.affine.into_iter().flatten() {
            let rows = self.output.blocks * self.output.width * self.output.lanes;
            verifier.weights("affine", offset, rows)?;
        }
        verifier.write("output", &self.output)
    }

    fn prepare(&self, _: &'static Kernels) -> Box<dyn Work> {
        Box::new(self.clone())
    }
}

impl Work for Load {
    fn items(&self, _phase: usize, _threads: usize) -> usize {
        self.output.blocks * self.output.height
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, _workspace: *mut f32) {
        let output = &self.output;
        let (block, y) = (item / output.height, item % output.height);
        let lanes = output.lanes;
        // SAFETY: Verified: the row is in the arena, and scales and shifts in the weights. Disjoint: the row and its
        // halo belong to this work item.
        let (row, affine) = unsafe {
            context.clear_halo(output, block, y..y + 1);
            let row = context.at(output.offset_of(block, y, 0));
            let row_of = |offset| {
                let len = output.width * lanes;
                slice::from_raw_parts(context.weights_at(offset + block * len), len)
            };
            (
                slice::from_raw_parts_mut(row, output.width * lanes),
                self.affine.map(|offsets| offsets.map(row_of)),
            )
        };
        self.copy(context.input(self.input), [block, y], row);
        if let Some([scale, shift]) = affine {
            // Not fused: without the instruction, `mul_add` would be a call for each value.
            for (value, (scale, shift)) in row.iter_mut().zip(scale.iter().zip(shift)) {
                *value = *value * scale + shift;
            }
        }
    }
}

/// A value for each float of a row of each block, from one for each channel. 0 for lanes without a channel.
fn rows(values: &[f32], output: &FeatureMap) -> Vec<f32> {
    let blocks = values.chunks(output.lanes);
    blocks
        .flat_map(|block| {
            let mut pixel = block.to_vec();
            pixel.resize(output.lanes, 0.0);
            pixel.repeat(output.width)
        })
        .collect()
}

impl Load {
    /// Copies a row of a channel block. Lanes without a channel become 0.
    fn copy(&self, input: &[f32], [block, y]: [usize; 2], row: &mut [f32]) {
        let FeatureMap {
            lanes,
            height,
            width,
            ..
        } = self.output;
        let channels = self.channels;
        // Verified: the last channel is in the last block.
        let present = (channels - block * lanes).min(lanes);
        match self.layout {
            TensorLayout::Nhwc if channels == lanes => {
                row.copy_from_slice(&input[y * row.len()..][..row.len()]);
            }
            TensorLayout::Nhwc => {
                let pixels =
                    input[y * width * channels..][..width * channels].chunks_exact(channels);
                for (to, from) in row.chunks_exact_mut(lanes).zip(pixels) {
                    to[..present].copy_from_slice(&from[block * lanes..][..present]);
                    to[present..].fill(0.0);
                }
            }
            TensorLayout::Nchw => {
                if present < lanes {
                    row.fill(0.0);
                }
                for lane in 0..present {
                    let channel = block * lanes + lane;
                    let from = &input[(channel * height + y) * width..][..width];
                    for (to, from) in row[lane..].iter_mut().step_by(lanes).zip(from) {
                        *to = *from;
                    }
                }
            }
        }
    }
}
