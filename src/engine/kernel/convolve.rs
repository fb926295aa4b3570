//! Convolutions, directly and by Winograd's algorithm: which tile works on what.

use std::ptr;

use super::{
    Prepared, Run, Running, portable,
    tile::Tile,
    winograd::{Form, Four, Transform, Two},
};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::isa::Isa;
use crate::program::{BLOCK, Convolution, PANEL, Residual, Step, Winograd};

/// What the input of the rows that are computed together may take: half of a core's second cache of 1 MiB or more.
const CHUNK_BYTES: usize = 512 * 1024;

/// With fewer panels than that, rows are shared between threads: a function has 6 CPUs at most.
const FEW_PANELS: usize = 6;

impl Running<'_> {
    fn weights(&self) -> &[f32] {
        let length = self.runnable.program.weights;
        self.runnable.weights.floats(length).unwrap_or_default()
    }

    /// The tile for so many pixels, of which some are in the first row.
    fn find(&self, pixels: usize, in_first: usize, blocks: usize, stride: usize) -> Run {
        match self.runnable.isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::find(pixels, in_first, blocks, stride),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::find(pixels, in_first, stride),
            _ => portable::find(pixels),
        }
    }

    /// From one of the vectors that a tile has for a pixel to the next.
    fn vector_step(&self, block: usize) -> usize {
        match self.runnable.isa {
            Isa::Avx2 => 8,
            Isa::Avx512 | Isa::Portable => block,
        }
    }

    /// Some rows of one panel.
    ///
    /// # Safety
    ///
    /// As [`Self::item`].
    pub(super) unsafe fn convolution(&self, step: &Convolution, prepared: &Prepared, item: usize) {
        let (input, output) = (&step.input, &step.output);
        let panel = panel(self.runnable.isa);
        let panels = output.blocks.div_ceil(panel);
        let (chunk, first) = (item / panels, item % panels * panel);
        let blocks = panel.min(output.blocks - first);
        let rows = chunk * prepared.rows..((chunk + 1) * prepared.rows).min(output.height);
        let [low, high] = step.clamp.ends();
        let stride = step.window.stride[1] * input.lanes;
        let floats = prepared.segments.len() * prepared.length;
        let (start, weights_step) = block_weights(first, output.blocks, floats);
        let weights = self.weights();
        // SAFETY: these rows of these blocks are this item's; the check found windows, weights, biases and
        // residuals inside what they are in.
        unsafe {
            for block in first..first + blocks {
                self.clear_halo(output, block, rows.clone());
            }
            let residual = |y: usize, x: usize| {
                step.residual
                    .map_or(ptr::null(), |Residual { plane, stride }| {
                        let at = plane.at(first, y * stride, x * stride);
                        self.arena.add(at).cast_const()
                    })
            };
            let mut arguments = Tile {
                input: [ptr::null(); 2],
                segments: prepared.segments.as_ptr(),
                count: prepared.segments.len(),
                length: prepared.length,
                stride,
                weights: weights.as_ptr().add(step.weights + start),
                weights_step,
                bias: weights.as_ptr().add(step.bias + first * BLOCK),
                residual: [ptr::null(); 2],
                residual_stride: step.residual.map_or(0, |residual| residual.stride * BLOCK),
                output: [ptr::null_mut(); 2],
                residual_step: step
                    .residual
                    .map_or(0, |residual| self.vector_step(residual.plane.block())),
                output_step: self.vector_step(output.block()),
                low,
                high,
            };
            let mut y = rows.start;
            while y < rows.end {
                let is_pair = !prepared.pair.is_empty() && y + 1 < rows.end;
                let tiles = if is_pair {
                    &prepared.pair
                } else {
                    &prepared.row
                };
                let mut pixel = 0;
                for &pixels in tiles {
                    let (row, x) = (y + pixel / output.width, pixel % output.width);
                    // The rest is at the beginning of the row after.
                    let in_first = pixels.min(output.width - x);
                    let places = [(row, x), (row + usize::from(in_first < pixels), 0)];
                    arguments.input = places.map(|(y, x)| {
                        let [top, left] = step.window.origin;
                        let row = y * step.window.stride[0] + top;
                        let at = input.offset + row * input.row() + x * stride + left * input.lanes;
                        self.arena.add(at).cast_const()
                    });
                    arguments.residual = places.map(|(y, x)| residual(y, x));
                    arguments.output = places.map(|(y, x)| self.arena.add(output.at(first, y, x)));
                    self.find(pixels, in_first, blocks, stride)(&arguments);
                    pixel += pixels;
                }
                y += 1 + usize::from(is_pair);
            }
        }
    }

    /// Some tiles, all channels.
    ///
    /// # Safety
    ///
    /// As [`Self::item`].
    pub(super) unsafe fn winograd(&self, step: &Winograd, item: usize, workspace: *mut f32) {
        let (input, output) = (&step.input, &step.output);
        let isa = self.runnable.isa;
        let [rows, columns] = step.tiles();
        let items = tiles_items(step, self.threads);
        let share = |item: usize| rows * columns * item / items;
        let own = share(item)..share(item + 1);
        let tiles = own.len();
        let at = |tile: usize| (tile / columns * step.tile, tile % columns * step.tile);
        let [low, high] = step.clamp.ends();
        let (into, out_of) = (input.blocks * tiles * BLOCK, output.blocks * tiles * BLOCK);
        let transform = |arguments: &Transform| {
            // SAFETY: as below.
            unsafe {
                match step.tile {
                    2 => transform::<Two>(isa, arguments),
                    _ => transform::<Four>(isa, arguments),
                }
            }
        };
        let weights = self.weights();
        // SAFETY: these tiles of all blocks are this item's, and the workspace is long enough for all places before
        // and after; the check found windows, weights and biases inside what they are in.
        unsafe {
            let products = workspace.add(step.places() * into);
            for block in 0..input.blocks {
                for (tile, (y, x)) in own.clone().map(at).enumerate() {
                    let from = input.offset
                        + block * input.block()
                        + (y + step.origin[0]) * input.row()
                        + (x + step.origin[1]) * BLOCK;
                    transform(&Transform::Input {
                        from: self.arena.add(from),
                        row: input.row(),
                        to: workspace.add((block * tiles + tile) * BLOCK),
                        place: into,
                    });
                }
            }

            let segments: Vec<usize> = (0..input.blocks)
                .map(|block| block * tiles * BLOCK)
                .collect();
            let widths = widths(tiles, pixels(isa));
            let none = [0.0; 2 * BLOCK];
            let panel = panel(isa);
            let one_place = output.blocks * BLOCK * input.blocks * BLOCK;
            for place in 0..step.places() {
                for first in (0..output.blocks).step_by(panel) {
                    let blocks = panel.min(output.blocks - first);
                    let (start, weights_step) =
                        block_weights(first, output.blocks, input.blocks * BLOCK);
                    let offset = step.weights + place * one_place + start;
                    let mut tile = 0;
                    for &width in &widths {
                        let from = workspace.add(place * into + tile * BLOCK).cast_const();
                        let to = products.add(place * out_of + (first * tiles + tile) * BLOCK);
                        let arguments = Tile {
                            input: [from; 2],
                            segments: segments.as_ptr(),
                            count: segments.len(),
                            length: BLOCK,
                            stride: BLOCK,
                            weights: weights.as_ptr().add(offset),
                            weights_step,
                            bias: none.as_ptr(),
                            residual: [ptr::null(); 2],
                            residual_stride: 0,
                            residual_step: 0,
                            output: [to; 2],
                            output_step: self.vector_step(tiles * BLOCK),
                            low: f32::NEG_INFINITY,
                            high: f32::INFINITY,
                        };
                        self.find(width, width, blocks, BLOCK)(&arguments);
                        tile += width;
                    }
                }
            }

            // What is around a row belongs to the row's first tile.
            let [first, end] = [own.start, own.end]
                .map(|tile| (tile.div_ceil(columns) * step.tile).min(output.height));
            for block in 0..output.blocks {
                if first < end {
                    self.clear_halo(output, block, first..end);
                }
                for (tile, (y, x)) in own.clone().map(at).enumerate() {
                    transform(&Transform::Output {
                        from: products.add((block * tiles + tile) * BLOCK),
                        place: out_of,
                        to: self.arena.add(output.at(block, y, x)),
                        row: output.row(),
                        size: [output.height - y, output.width - x].map(|left| left.min(step.tile)),
                        bias: weights.as_ptr().add(step.bias + block * BLOCK),
                        low,
                        high,
                    });
                }
            }
        }
    }
}

/// # Safety
///
/// As [`winograd::run`], on a CPU with `isa`.
unsafe fn transform<F: Form>(isa: Isa, arguments: &Transform) {
    // SAFETY: the caller's promise.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::winograd::<F>(arguments),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::winograd::<F>(arguments),
            _ => portable::winograd::<F>(arguments),
        }
    }
}

/// Into how many items the tiles of Winograd's algorithm are divided: each thread has one at least.
pub(super) fn tiles_items(step: &Winograd, threads: usize) -> usize {
    let [rows, columns] = step.tiles();
    let tiles = rows * columns;
    tiles
        .div_ceil(step.together)
        .next_multiple_of(threads)
        .min(tiles)
}

/// Blocks of output channels that a tile has.
fn panel(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => PANEL,
        Isa::Avx2 | Isa::Portable => 1,
    }
}

/// Where the weights of a block begin, of so many blocks with so many floats each, and how far it is from those of a
/// float to those of the next: weights lie in panels.
fn block_weights(block: usize, blocks: usize, floats: usize) -> (usize, usize) {
    let first = block - block % PANEL;
    let together = PANEL.min(blocks - first);
    let start = first * BLOCK * floats + block % PANEL * BLOCK;
    (start, together * BLOCK)
}

/// The most pixels of a tile.
fn pixels(isa: Isa) -> usize {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => avx512::PIXELS,
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => avx2::PIXELS,
        _ => portable::PIXELS,
    }
}

/// Tiles of nearly the same width, `most` at most, that make up `width`.
fn widths(width: usize, most: usize) -> Vec<usize> {
    let tiles = width.div_ceil(most);
    (0..tiles)
        .map(|tile| width * (tile + 1) / tiles - width * tile / tiles)
        .collect()
}

/// The pixels of the tiles that two rows make, for widths whose rows fill tiles badly.
fn pair(width: usize, isa: Isa) -> &'static [usize] {
    match (isa, width) {
        (Isa::Avx512, 7) => &[14],
        (Isa::Avx2, 7) => &[5, 5, 4],
        (Isa::Avx2, 14) => &[6, 6, 6, 6, 4],
        _ => &[],
    }
}

impl Prepared {
    pub(super) fn new(step: &Step, isa: Isa) -> Self {
        match step {
            Step::Convolution(step) => {
                let (segments, length) = step.segments();
                let (input, output) = (&step.input, &step.output);
                let bytes = input.blocks * input.row() * step.window.stride[0] * size_of::<f32>();
                let panels = output.blocks.div_ceil(panel(isa));
                // With few panels threads share the rows too; with many, the weights would be read anew for them.
                let shared = match panels < FEW_PANELS {
                    true => output.height * panels / (2 * FEW_PANELS),
                    false => output.height,
                };
                let rows = match (CHUNK_BYTES / bytes).min(shared) {
                    rows if rows >= output.height => output.height,
                    rows => (rows & !1).max(2),
                };
                Self {
                    items: output.height.div_ceil(rows.max(1)) * panels,
                    rows,
                    segments,
                    length,
                    row: widths(output.width, pixels(isa)),
                    pair: pair(output.width, isa).to_vec(),
                }
            }
            // How many items depends on the threads.
            Step::Winograd(_) => Self::default(),
            Step::Load { output, .. }
            | Step::MaxPool { output, .. }
            | Step::Mean { output, .. }
            | Step::Add { output, .. } => Self {
                items: output.blocks * output.height,
                ..Self::default()
            },
            Step::Softmax { .. } => Self {
                items: 1,
                ..Self::default()
            },
            Step::Store { channels, .. } => Self {
                items: *channels,
                ..Self::default()
            },
        }
    }
}
