//! A 1×1 convolution fused with the depthwise convolution that reads it, as in an inverted residual block.
//!
//! A block of the depthwise convolution reads one block of the expanded feature map. So the expanded feature map is never
//! complete in memory: a work item computes some rows of one or two blocks into its workspace, and reads them from the L2
//! cache.

use std::ops::Range;

use super::{
    Depthwise, Direct, Kind, Work, direct,
    tiles::share,
    verify::{Checked, MAX_FLOATS, Verifier, ensure},
};
use crate::{
    kernels::Kernels,
    plan::tuning,
    program::{BLOCK, FeatureMap, Halo},
    runtime::{Context, Fault},
};
use serde::{Deserialize, Serialize};

/// A 1×1 convolution and the depthwise convolution that reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpandedDepthwise {
    /// The convolution that expands. Its output has the offset 0, for it has no place in the arena.
    pub expansion: Direct,
    /// The depthwise convolution. Its input is the expansion's output.
    pub depthwise: Depthwise,
}

impl ExpandedDepthwise {
    /// Rows of the expanded feature map that the windows of the output rows `rows` read, and the halo rows that they read
    /// above and below.
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
            panel_groups: blocks.div_ceil(expansion.max_panels()),
            max_panels: expansion.max_panels().min(blocks),
            expansion,
        })
    }
}

/// An expanded depthwise convolution that is prepared to run.
struct Prepared {
    step: ExpandedDepthwise,
    expansion: direct::Prepared,
    /// Number of panels, or of pairs of panels if a tile of the expansion has two.
    panel_groups: usize,
    /// Panels, and channel blocks, that are computed at once.
    max_panels: usize,
}

impl Prepared {
    /// Number of bands and of splits. A band is a range of output rows whose expanded rows fit [`tuning::BAND`]; a split is
    /// a share of the panels.
    fn bands_and_splits(&self, threads: usize) -> [usize; 2] {
        let FeatureMap { height, .. } = self.step.depthwise.output;
        let fewest = self
            .step
            .expansion
            .output
            .block_stride()
            .div_ceil(tuning::BAND);
        match threads {
            1 => [fewest.min(height), 1],
            _ => {
                let items = (tuning::ITEMS_PER_THREAD * threads).div_ceil(self.panel_groups);
                let bands = fewest.max(items).min(height);
                [
                    bands,
                    (tuning::ITEMS_PER_THREAD * threads)
                        .div_ceil(bands)
                        .min(self.panel_groups),
                ]
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
        self.max_panels * reached * depthwise.input.row_stride()
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, workspace: *mut f32) {
        let ExpandedDepthwise {
            expansion,
            depthwise,
        } = &self.step;
        let [bands, splits] = self.bands_and_splits(context.threads());
        let rows = share(depthwise.output.height, bands, item / splits);
        let panels = share(self.panel_groups, splits, item % splits);
        let max_panels = self.max_panels;
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
            // SAFETY: Verified: the step was, so the band has all rows that the windows read. Disjoint: these rows of the blocks belong to this work item, and the workspace to this thread.
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
