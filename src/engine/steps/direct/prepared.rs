//! A direct convolution that is prepared to run: its work items, panels and tiles.

mod tile;

use std::ops::Range;

use super::{
    super::{
        Work,
        tiles::{Form, TileKernels, Tiles, groups, share},
    },
    Direct,
};
use crate::{
    kernels::{Kernels, convolution::Tile},
    plan::tuning,
    program::{BLOCK, FeatureMap},
    runtime::Context,
};

/// A direct convolution that is prepared to run.
pub(in crate::steps) struct Prepared {
    step: Direct,
    /// Offset of each segment from the first float of a window.
    segments: Vec<usize>,
    /// Length of a segment in floats.
    segment_len: usize,
    /// Segments of each group.
    groups: Vec<Range<usize>>,
    /// The tiles into which the output pixels are cut.
    tiles: Tiles,
    /// Number of chunks if one thread runs.
    chunks: usize,
    /// Number of panels, or of pairs of panels if the micro-kernel computes two.
    panel_groups: usize,
    /// Panels of a tile.
    max_panels: usize,
    /// See [`Direct::is_flat`].
    is_flat: bool,
    /// Strides between two pixels of a row, in input, output and residual.
    strides: [usize; 3],
    /// Strides between the last pixel of a row and the first of the next.
    strides_to_row: [usize; 3],
    kernels: TileKernels,
}

impl Prepared {
    pub(in crate::steps) fn new(step: &Direct, kernels: &Kernels) -> Self {
        let (segments, segment_len) = step.segments();
        let stride = step.window.stride[1] * step.input.lanes;
        let pixels = step.output.height * step.output.width;
        let residual = step.residual.as_ref();
        let strides = [
            stride,
            BLOCK,
            residual.map_or(0, |residual| residual.stride * BLOCK),
        ];
        // Strides between two rows.
        let rows = [
            step.window.stride[0] * step.input.row_stride(),
            step.output.row_stride(),
            residual.map_or(0, |residual| {
                residual.stride * residual.feature_map.row_stride()
            }),
        ];
        Self {
            groups: groups(segments.len(), tuning::SEGMENTS_PER_GROUP),
            segments,
            segment_len,
            tiles: Tiles::new(pixels, kernels.max_pixels),
            chunks: pixels.div_ceil(tuning::PIXELS_PER_CHUNK),
            panel_groups: step.output.blocks.div_ceil(kernels.max_panels),
            max_panels: kernels.max_panels,
            is_flat: step.is_flat(),
            strides,
            strides_to_row: std::array::from_fn(|map| {
                let back = (step.output.width - 1) * strides[map];
                rows[map].wrapping_sub(back)
            }),
            kernels: TileKernels::new(kernels, stride, segment_len),
            step: step.clone(),
        }
    }

    /// Number of chunks, and of work items that share the panels of each.
    ///
    /// With many chunks, threads take the same number of them; with few, they share panels, so that each weight is read
    /// by one thread. If the weights are few, threads share what they can share more evenly.
    fn chunks_and_splits(&self, threads: usize) -> [usize; 2] {
        // Parts that the busiest thread computes, relative to an equal share.
        let busiest = |parts: usize| (parts.div_ceil(threads) * threads) as f64 / parts as f64;
        let has_few_weights = self.panel_len() * self.step.output.blocks <= tuning::FEW_WEIGHTS;
        let shares_tiles = self.chunks >= 2 * threads
            || has_few_weights && busiest(self.tiles.count) < busiest(self.panel_groups);
        match threads == 1 || shares_tiles {
            true => [
                self.chunks.next_multiple_of(threads).min(self.tiles.count),
                1,
            ],
            false => [self.chunks, threads.min(self.panel_groups)],
        }
    }

    /// Row and column of an output pixel.
    fn position(&self, pixel: usize) -> [usize; 2] {
        let width = self.step.output.width;
        [pixel / width, pixel % width]
    }
}

impl Work for Prepared {
    fn items(&self, _phase: usize, threads: usize) -> usize {
        let [chunks, splits] = self.chunks_and_splits(threads);
        chunks * splits
    }

    /// Room for the weights of a group and a tile's panels, multiplied by the gate.
    fn workspace_len(&self) -> usize {
        let longest = self.groups.iter().map(Range::len).fold(0, usize::max);
        match self.step.gate {
            Some(_) => longest * self.segment_len * BLOCK * self.max_panels,
            None => 0,
        }
    }

    unsafe fn run(&self, context: &Context, _phase: usize, item: usize, workspace: *mut f32) {
        let output = &self.step.output;
        let [chunks, splits] = self.chunks_and_splits(context.threads());
        let tiles = share(self.tiles.count, chunks, item / splits);
        let panels = share(self.panel_groups, splits, item % splits);
        let blocks =
            panels.start * self.max_panels..(panels.end * self.max_panels).min(output.blocks);
        let pixels = [tiles.start, tiles.end].map(|tile| self.tiles.start(tile));
        let area = Area {
            top: 0,
            tiles: self.tiles,
            range: tiles,
        };
        // The halo of a row belongs to the work item with the row's first pixel.
        let rows = pixels.map(|pixel| pixel.div_ceil(output.width));
        // SAFETY: Verified: all windows, residuals and outputs are inside their feature maps, these in the arena, and
        // weights and biases of all panels in the weights. Disjoint: these pixels of these blocks, and the halo of the
        // rows, belong to this work item. Instructions: the CPU has them.
        unsafe {
            if rows[0] < rows[1] {
                for block in blocks.clone() {
                    context.clear_halo(output, block, rows[0]..rows[1]);
                }
            }
            for group in 0..self.groups.len() {
                let mut first = blocks.start;
                while first < blocks.end {
                    let next = first + self.max_panels;
                    let map = output.view(first, self.max_panels);
                    let mut tile = self.tile(context, group, first, &map);
                    if let Some(gate) = &self.step.gate {
                        let panels = next.min(blocks.end) - first;
                        self.gate(context, gate, group, panels, workspace, &mut tile);
                    }
                    self.panel(context, tile, group, first..blocks.end, &area, &map);
                    // The outputs of the panel are still in the cache.
                    if group + 1 == self.groups.len() {
                        for block in first..next.min(blocks.end) {
                            self.curve(context, block, pixels);
                        }
                    }
                    first = next;
                }
            }
        }
    }
}

/// Output pixels of a work item.
struct Area {
    /// Output row at which tile 0 begins.
    top: usize,
    tiles: Tiles,
    /// Those of the tiles that the work item computes.
    range: Range<usize>,
}

impl Prepared {
    /// Blocks of a tile.
    pub(in crate::steps) fn max_panels(&self) -> usize {
        self.max_panels
    }

    /// Computes `rows` of the first [`Self::max_panels`] blocks of `blocks`. Row 0 of `output` is row `rows.start`. The
    /// other blocks decide only what is prefetched.
    ///
    /// # Safety
    ///
    /// The step was verified and has no gate. `output` has this step's lanes, columns and halo beside them, and as many
    /// blocks as a tile; it is in the arena or in this thread's workspace, and no other thread accesses it.
    pub(in crate::steps) unsafe fn rows(
        &self,
        context: &Context,
        blocks: Range<usize>,
        rows: Range<usize>,
        output: &FeatureMap,
    ) {
        if rows.is_empty() {
            return;
        }
        let tiles = Tiles::new(rows.len() * output.width, self.kernels.max_pixels());
        let area = Area {
            top: rows.start,
            tiles,
            range: 0..tiles.count,
        };
        for group in 0..self.groups.len() {
            // The next weights are those of the next group, and only after the last those of the next panel.
            let end = match group + 1 == self.groups.len() {
                true => blocks.end,
                false => blocks.end.min(blocks.start + self.max_panels),
            };
            // SAFETY: the caller ensures what both functions require.
            unsafe {
                let tile = self.tile(context, group, blocks.start, output);
                self.panel(context, tile, group, blocks.start..end, &area, output);
            }
        }
        for block in 0..self.max_panels.min(blocks.len()) {
            // SAFETY: the caller ensures that the feature map belongs to this thread.
            unsafe { context.curve(self.step.activation, output, block, 0..rows.len()) };
        }
    }

    /// Adds up one group of segments in all tiles of an area, for the first of `blocks`, and writes to `output`, which
    /// begins with the first block. `tile` has the arguments that all tiles share.
    ///
    /// # Safety
    ///
    /// The step was verified. No other thread accesses these tiles of these blocks.
    unsafe fn panel(
        &self,
        context: &Context,
        mut tile: Tile,
        group: usize,
        blocks: Range<usize>,
        area: &Area,
        output: &FeatureMap,
    ) {
        let Self { step, kernels, .. } = self;
        let Area { tiles, range, .. } = area;
        let first = blocks.start;
        let panels = self.max_panels.min(blocks.len());
        let segments = &self.groups[group];
        let (mut prefetching, lines) = kernels.prefetch(range.len());
        let next = self.next_panel(context, group, first, &blocks);
        let mut number = range.start;
        let [mut y, mut x] = self.position(tiles.start(number));
        while number < range.end {
            let pixels = tiles.pixels(number);
            let left = step.output.width - x;
            let form = kernels.form(self.is_flat || pixels <= left, panels);
            let mut repeat = tiles.same(number, range.end);
            match form {
                Form::Indirect => repeat = 1,
                Form::Strided if !self.is_flat => repeat = repeat.min(left / pixels),
                Form::Strided => {}
            }
            if prefetching > 0 {
                repeat = repeat.min(prefetching);
            }
            // SAFETY: Verified: the windows, the residuals and the outputs of the pixels are in the arena.
            unsafe {
                let [inputs, residuals] = self.reads(first, [area.top + y, x]);
                let at = [inputs, output.offset_of(0, y, x), residuals];
                self.address(context, form, x, pixels, at, &mut tile);
            }
            tile.repeat = repeat;
            let lines = if prefetching > 0 { lines } else { 0 };
            prefetching -= repeat.min(prefetching);
            for (panel, address) in tile.prefetch.iter_mut().enumerate().take(panels) {
                let panel = next.wrapping_add(panel * self.panel_len());
                let done = (number - range.start) * lines * segments.len() * BLOCK;
                *address = panel.wrapping_add(done);
            }
            // SAFETY: Verified: the segments of the windows are in the arena. The caller ensures the rest.
            unsafe { kernels.get(pixels, panels, form, lines)(&tile) };
            number += repeat;
            x += pixels * repeat;
            if x >= step.output.width {
                [y, x] = [y + x / step.output.width, x % step.output.width];
            }
        }
    }

    /// Applies the curve of the activation to some pixels of a block.
    ///
    /// # Safety
    ///
    /// The step was verified. No other thread accesses these pixels of this block.
    unsafe fn curve(&self, context: &Context, block: usize, [start, end]: [usize; 2]) {
        let Direct {
            output, activation, ..
        } = &self.step;
        let mut pixel = start;
        while pixel < end && activation.curve().is_some() {
            let [y, x] = self.position(pixel);
            let pixels = (output.width - x).min(end - pixel);
            // SAFETY: the caller ensures that the pixels are in the arena and belong to this thread.
            unsafe { context.curve_pixels(*activation, output, block, [y, x], pixels) };
            pixel += pixels;
        }
    }
}
