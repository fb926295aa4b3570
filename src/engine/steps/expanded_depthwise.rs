//! Depthwise convolutions of a feature map that a 1×1 convolution expands.
//!
//! Each channel block of the expanded feature map is read by one block of the depthwise convolution. So it is never whole
//! in memory: some rows of a few blocks are computed into the workspace, and read from the L2 cache.

use std::ops::Range;

use super::{
    Depthwise, Direct, Kind, Work, direct,
    tiles::share,
    verify::{Checked, MAX_FLOATS, Verifier, ensure},
};
use crate::{
    graph::{NodeId, Op},
    kernels::Kernels,
    plan::{Planner, tuning},
    program::{BLOCK, FeatureMap, Halo},
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// A depthwise convolution of an expanded feature map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpandedDepthwise {
    /// The convolution that expands. Its output has the offset 0, for it has no place in the arena.
    pub expansion: Direct,
    /// The depthwise convolution. Its input is the expansion's output.
    pub depthwise: Depthwise,
}

impl ExpandedDepthwise {
    /// Plans the expansion of a depthwise convolution. `None` if its input is no expansion, and computed before.
    pub(super) fn plan(planner: &mut Planner, node: NodeId, depthwise: &Depthwise) -> Option<Self> {
        let graph = planner.graph;
        let expansion = graph.nodes[node].inputs[0];
        match &graph.nodes[expansion].op {
            Op::Convolution(of) if planner.depthwise_of(expansion) == Some(node) => Some(Self {
                expansion: Direct::plan(planner, expansion, of),
                depthwise: depthwise.clone(),
            }),
            _ => None,
        }
    }

    /// The rows of the expanded feature map that the windows of some output rows reach, and what they reach outside.
    fn expanded(&self, rows: &Range<usize>) -> (Range<usize>, Halo) {
        let FeatureMap { height, halo, .. } = self.expansion.output;
        let window = &self.depthwise.window;
        let start = rows.start * window.stride[0] + window.origin[0];
        let end = (rows.end - 1) * window.stride[0] + window.origin[0] + window.kernel[0];
        let inside = |row: usize| row.saturating_sub(halo.top).min(height);
        let expanded = inside(start)..inside(end);
        let reached = Halo {
            top: end.min(halo.top).saturating_sub(start),
            bottom: end.saturating_sub(start.max(halo.top + height)),
            ..halo
        };
        (expanded, reached)
    }
}

impl Kind for ExpandedDepthwise {
    fn verify(&self, verifier: &mut Verifier) -> Checked {
        let Self {
            expansion,
            depthwise,
        } = self;
        expansion.verify_sums(verifier)?;
        let between = &expansion.output;
        let is_small = between.len() <= MAX_FLOATS;
        ensure(is_small, "expansion", Fault::LargeMap)?;
        let reads_one = expansion.residual.is_none() && expansion.gate.is_none();
        let is_between = *between == depthwise.input && between.offset == 0 && reads_one;
        ensure(is_between, "expansion", Fault::Expansion)?;
        verifier.write_blocks("output", &depthwise.output)?;
        depthwise.verify_windows(verifier)
    }

    fn operations(&self) -> usize {
        self.expansion.operations() + self.depthwise.operations()
    }

    fn prepare(&self, kernels: &'static Kernels) -> Box<dyn Work> {
        let expansion = direct::Prepared::new(&self.expansion, kernels);
        let FeatureMap { blocks, .. } = self.depthwise.output;
        Box::new(Prepared {
            step: self.clone(),
            panels: blocks.div_ceil(expansion.max_panels()),
            expansion,
        })
    }
}

/// An expanded depthwise convolution that is prepared to run.
struct Prepared {
    step: ExpandedDepthwise,
    expansion: direct::Prepared,
    /// Number of panels, or of pairs of panels if a tile of the expansion has two.
    panels: usize,
}

impl Prepared {
    /// Number of bands of output rows, and of work items that share the panels of each: the rows of the expanded feature
    /// map that a band reads stay in the cache, and each thread has some work items.
    fn bands_and_splits(&self, threads: usize) -> [usize; 2] {
        /// Work items for each thread, at least.
        const ITEMS: usize = 4;
        let FeatureMap { height, .. } = self.step.depthwise.output;
        let fewest = self
            .step
            .expansion
            .output
            .block_stride()
            .div_ceil(tuning::MAX_BAND);
        match threads {
            1 => [fewest.min(height), 1],
            _ => {
                let items = (ITEMS * threads).div_ceil(self.panels);
                let bands = fewest.max(items).min(height);
                [bands, (ITEMS * threads).div_ceil(bands).min(self.panels)]
            }
        }
    }
}

impl Work for Prepared {
    fn items(&self, _phase: usize, threads: usize) -> usize {
        let [bands, splits] = self.bands_and_splits(threads);
        bands * splits
    }

    /// Room for the expanded rows of a band, in the blocks of a tile.
    fn workspace_len(&self) -> usize {
        let depthwise = &self.step.depthwise;
        // With more threads there are more bands, of fewer rows.
        let [bands, _] = self.bands_and_splits(1);
        let rows = depthwise.output.height.div_ceil(bands);
        let reached = (rows - 1) * depthwise.window.stride[0] + depthwise.window.kernel[0];
        self.expansion.max_panels() * reached * depthwise.input.row_stride()
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, workspace: *mut f32) {
        let ExpandedDepthwise {
            expansion,
            depthwise,
        } = &self.step;
        let [bands, splits] = self.bands_and_splits(context.threads());
        let rows = share(depthwise.output.height, bands, item / splits);
        let panels = share(self.panels, splits, item % splits);
        let max_panels = self.expansion.max_panels();
        let end = (panels.end * max_panels).min(depthwise.output.blocks);
        let (expanded, halo) = self.step.expanded(&rows);
        let band = FeatureMap {
            offset: context.offset(workspace),
            blocks: max_panels,
            height: expanded.len(),
            halo,
            ..expansion.output
        };
        let window = depthwise.window.origin[1] * BLOCK;
        for block in 0..max_panels {
            // SAFETY: the workspace has room for the band, and belongs to this thread.
            unsafe { context.clear_halo(&band, block, 0..expanded.len()) };
        }
        for first in (panels.start * max_panels..end).step_by(max_panels) {
            // SAFETY: Verified: both steps were, and all windows are inside the band, which has their rows. Disjoint:
            // these rows of the blocks belong to this work item, and the workspace to this thread.
            unsafe {
                self.expansion
                    .rows(context, first..end, expanded.clone(), &band);
                for block in 0..max_panels.min(end - first) {
                    let input = band.view(block, 1).offset + window;
                    depthwise.rows(context, first + block, rows.clone(), input);
                }
            }
        }
    }
}
