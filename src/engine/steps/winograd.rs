//! 3×3 convolutions by Winograd's minimal filtering algorithm: the input transform of some tiles, a matrix product for
//! each position, the output transform.
//!
//! With one thread, or many tiles, a work item does all three for a share of the tiles. With several threads and few
//! tiles, each would read all weights: then the three parts are phases, in which threads share the blocks or positions.

mod part;

use std::ops::Range;

use self::part::Part;
use super::{
    Kind, Work,
    tiles::{TileKernels, groups, share},
    verify::{Checked, MAX_FLOATS, Verifier, activation_is_valid, ensure, window_fits},
};
use crate::{
    activation::Activation,
    graph::{Convolution, NodeId},
    kernels::{Kernels, transform::Transform},
    pack::{self, Filter},
    plan::{Planner, tuning},
    program::{BLOCK, FeatureMap, Window},
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// A 3×3 convolution with stride 1 by Winograd's minimal filtering algorithm, <https://arxiv.org/abs/1509.09308>.
///
/// F(4×4, 3×3) needs 36 products for 16 pixels instead of 144, F(2×2, 3×3) 16 products for 4 pixels instead of 36.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Winograd {
    /// Rows and columns of an output tile: 4 or 2.
    pub output_tile: usize,
    /// Feature map that is read. Its halo covers the input of whole tiles, also at the lower and right edge.
    pub input: FeatureMap,
    /// Feature map that is written.
    pub output: FeatureMap,
    /// Row and column of the first window's first pixel. Both count the halo.
    pub origin: [usize; 2],
    /// Offset of the transformed and packed weights. Their axes are, from the slowest to the fastest: positions in
    /// the transformed tile, panels, input channels, output channels of the panel.
    pub weights: usize,
    /// Offset of the biases: one for each output channel, those that fill up the last block included.
    pub bias: usize,
    /// Activation.
    pub activation: Activation,
}

impl Winograd {
    pub(super) fn plan(
        planner: &mut Planner,
        node: NodeId,
        convolution: &Convolution,
        output_tile: usize,
    ) -> Self {
        let output = planner.feature_map(node);
        let filter = Filter::of(planner.graph, node, convolution);
        let packed = pack::winograd(&filter, output_tile);
        Self {
            output_tile,
            input: planner.input_map(node, 0),
            output,
            origin: planner.window(node, convolution).origin,
            weights: planner.push_weights(&packed, packed.len()),
            bias: planner.push_weights(&convolution.bias, output.blocks * BLOCK),
            activation: convolution.activation,
        }
    }

    /// Rows and columns of the grid of tiles.
    fn tile_grid(&self) -> [usize; 2] {
        [
            self.output.height.div_ceil(self.output_tile),
            self.output.width.div_ceil(self.output_tile),
        ]
    }

    /// Number of tiles.
    fn tiles(&self) -> usize {
        let [rows, columns] = self.tile_grid();
        rows * columns
    }

    /// Positions of a transformed tile: products for each input and output channel.
    fn positions(&self) -> usize {
        (self.output_tile + 2).pow(2)
    }

    /// Length of the transformed input and output of `tiles` tiles, in floats.
    fn transformed_len(&self, tiles: usize) -> usize {
        self.positions() * tiles * BLOCK * (self.input.blocks + self.output.blocks)
    }
}

impl Kind for Winograd {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        let (input, output) = (&self.input, &self.output);
        verifier.read_blocks("input", input)?;
        verifier.write_blocks("output", output)?;
        let size = self.output_tile;
        ensure(matches!(size, 2 | 4), "output_tile", Fault::OutputTile)?;
        let workspace = self.transformed_len(tuning::MAX_WINOGRAD_TILES.min(self.tiles()));
        ensure(workspace <= MAX_FLOATS, "output", Fault::LargeMap)?;
        let [rows, columns] = self.tile_grid();
        // The input transform reads whole tiles, as a window for each tile would.
        let tiles = FeatureMap {
            height: rows,
            width: columns,
            ..*output
        };
        let window = Window {
            kernel: [size + 2; 2],
            stride: [size; 2],
            origin: self.origin,
        };
        window_fits(input, &tiles, &window)?;
        let channels = output.blocks * BLOCK;
        let weights = self.positions() * input.blocks * BLOCK * channels;
        verifier.weights("weights", self.weights, weights)?;
        verifier.weights("bias", self.bias, channels)?;
        activation_is_valid(self.activation)
    }

    fn operations(&self) -> usize {
        let channels = self.input.blocks * BLOCK * self.output.blocks * BLOCK;
        2 * self.positions() * self.tiles() * channels
    }

    fn prepare(&self, kernels: &'static Kernels) -> Box<dyn Work> {
        Box::new(Prepared {
            transform: match self.output_tile {
                2 => kernels.transform_2,
                _ => kernels.transform_4,
            },
            groups: groups(self.input.blocks, tuning::SEGMENTS_PER_GROUP),
            max_pixels: kernels.max_pixels,
            max_panels: kernels.max_panels,
            kernels: TileKernels::new(kernels, BLOCK, BLOCK),
            step: self.clone(),
        })
    }
}

/// A convolution by Winograd's algorithm that is prepared to run.
struct Prepared {
    step: Winograd,
    transform: unsafe fn(&Transform),
    /// Input blocks of each group. Partial products between two groups are in the workspace.
    groups: Vec<Range<usize>>,
    max_pixels: usize,
    max_panels: usize,
    kernels: TileKernels,
}

impl Prepared {
    /// Number of work items that do all three parts for a share of the tiles: a multiple of the number of threads, if
    /// there are enough tiles.
    fn shares(&self, threads: usize) -> usize {
        let tiles = self.step.tiles();
        tiles
            .div_ceil(tuning::MAX_WINOGRAD_TILES)
            .next_multiple_of(threads)
            .min(tiles)
    }
}

/// Parts into which the panels of a position are cut in the phase of the products.
const SPLITS: usize = 2;

impl Work for Prepared {
    fn phases(&self, threads: usize) -> usize {
        match threads > 1 && self.step.tiles() <= tuning::MAX_PHASED_TILES {
            true => 3,
            false => 1,
        }
    }

    fn items(&self, phase: usize, threads: usize) -> usize {
        match (self.phases(threads), phase) {
            (1, _) => self.shares(threads),
            (_, 0) => self.step.input.blocks,
            (_, 1) => self.step.positions() * SPLITS,
            _ => self.step.output.blocks,
        }
    }

    fn workspace_len(&self) -> usize {
        let tiles = tuning::MAX_WINOGRAD_TILES.min(self.step.tiles());
        self.step.transformed_len(tiles)
    }

    unsafe fn run(&self, context: &Context, phase: usize, item: usize, workspace: *mut f32) {
        let step = &self.step;
        let [inputs, outputs] = [0..step.input.blocks, 0..step.output.blocks];
        let positions = 0..step.positions();
        // SAFETY: Verified, Instructions: as below. Disjoint: a share of the tiles, or the blocks or positions of a phase,
        // belong to this work item. The workspace has room for `MAX_WINOGRAD_TILES` tiles; a share has at most that
        // many, and so has a step of phases.
        unsafe {
            if self.phases(context.threads()) == 1 {
                let tiles = share(step.tiles(), self.shares(context.threads()), item);
                let part = Part::new(self, context, tiles, workspace);
                part.transform_inputs(inputs);
                context
                    .products()
                    .time(|| part.multiply(positions, outputs.clone()));
                part.transform_outputs(outputs);
                return;
            }
            let part = Part::new(self, context, 0..step.tiles(), workspace);
            match phase {
                0 => part.transform_inputs(item..item + 1),
                1 => {
                    let position = item / SPLITS;
                    let pairs = outputs.end.div_ceil(self.max_panels);
                    let pairs = share(pairs, SPLITS, item % SPLITS);
                    let end = (pairs.end * self.max_panels).min(outputs.end);
                    part.multiply(position..position + 1, pairs.start * self.max_panels..end);
                }
                _ => part.transform_outputs(item..item + 1),
            }
        }
    }
}
