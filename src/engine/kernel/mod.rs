//! Runs programs. The one folder with unsafe code.
//!
//! Its invariants:
//!
//! 1. A [`Runnable`] is only made of a program that [`check`] found sound: every address of every step, whatever
//!    its item, is inside the arena, the workspace, the weights or an input or output; the planes that a step
//!    reads do not overlap the one it writes.
//! 2. The items of a step write places of their own, and read none that another item of the step writes. So
//!    threads may work on the items of one step at once.
//! 3. All threads finish a step before one begins the next ([`Barrier`]).
//! 4. Instructions are only used where [`Isa::is_here`] found them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod barrier;
mod check;
mod memory;
mod plain;
mod portable;
mod tile;
mod winograd;

use std::{
    iter,
    ops::Range,
    ptr, slice,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use self::{
    barrier::Barrier,
    plain::{Fold, Plain},
    tile::Tile,
    winograd::Transform,
};
use crate::isa::Isa;
use crate::program::{
    BLOCK, Clamp, Convolution, Order, PANEL, Plane, Program, Residual, Step, Window, Winograd,
};

pub use memory::{ALIGNMENT, Floats, MappedFile};

type Run = unsafe fn(&Tile);

/// What the input of the rows that are computed together may take: half of a core's second cache of 1 MiB or more.
const CHUNK_BYTES: usize = 512 * 1024;

/// With fewer panels than that, rows are shared between threads: a function has 6 CPUs at most.
const FEW_PANELS: usize = 6;

/// The weights of a program.
pub enum Weights {
    /// Made just now.
    Owned(Floats),
    /// In a file, from this byte on.
    Mapped(MappedFile, usize),
}

impl Weights {
    fn floats(&self, length: usize) -> Option<&[f32]> {
        match self {
            Self::Owned(floats) => floats.get(..length),
            Self::Mapped(file, start) => file.floats(*start, length),
        }
    }
}

/// A program with its weights, checked.
pub struct Runnable {
    isa: Isa,
    program: Program,
    weights: Weights,
    /// What each step is computed by.
    prepared: Vec<Prepared>,
    /// Floats of the workspace of each thread.
    workspace: usize,
    /// Memory of runs that ended, for the next.
    free: Mutex<Vec<Floats>>,
}

/// What follows from a step, and is not computed each time anew.
#[derive(Default)]
struct Prepared {
    /// Parts that threads can work on at once.
    items: usize,
    /// Output rows (of tiles, with Winograd) of an item.
    rows: usize,
    segments: Vec<usize>,
    length: usize,
    /// The pixels of each tile of a row.
    row: Vec<usize>,
    /// The pixels of each tile of two rows, where these make fuller tiles.
    pair: Vec<usize>,
}

impl Runnable {
    /// # Errors
    ///
    /// Says what is wrong with the program, or that this CPU cannot run it.
    pub fn new(program: Program, weights: Weights, isa: Isa) -> Result<Self, String> {
        if !isa.is_here() {
            return Err(format!("this CPU has no {isa}"));
        }
        let floats = weights
            .floats(program.weights)
            .ok_or("the weights are not all there")?;
        check::check(&program, floats.len())?;
        let prepared: Vec<Prepared> = program
            .steps
            .iter()
            .map(|step| Prepared::new(step, isa))
            .collect();
        let workspaces = program.steps.iter().map(|step| match step {
            Step::Winograd(step) => step.workspace(),
            _ => 0,
        });
        Ok(Self {
            isa,
            workspace: workspaces.max().unwrap_or(0),
            program,
            weights,
            prepared,
            free: Mutex::default(),
        })
    }

    /// What it runs on.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// What it runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the program on its inputs with so many threads, this one among them.
    ///
    /// # Panics
    ///
    /// Where inputs or outputs have other lengths than the program's shapes.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]], threads: usize) {
        let lengths = |shapes: &[Vec<usize>]| -> Vec<usize> {
            shapes.iter().map(|shape| shape.iter().product()).collect()
        };
        let given: Vec<usize> = inputs.iter().map(|input| input.len()).collect();
        assert_eq!(given, lengths(&self.program.inputs), "inputs");
        let given: Vec<usize> = outputs.iter().map(|output| output.len()).collect();
        assert_eq!(given, lengths(&self.program.outputs), "outputs");

        let threads = threads.max(1);
        let needed = self.program.arena + threads * self.workspace;
        let free = || self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = free().pop().filter(|memory| memory.len() >= needed);
        let memory = memory.unwrap_or_else(|| Floats::zeroed(needed));
        let outputs: Vec<*mut f32> = outputs
            .iter_mut()
            .map(|output| output.as_mut_ptr())
            .collect();
        let run = Running {
            runnable: self,
            arena: memory.as_ptr(),
            inputs,
            outputs: &outputs,
            next: self.prepared.iter().map(|_| AtomicUsize::new(0)).collect(),
            barrier: Barrier::new(threads),
        };
        thread::scope(|scope| {
            let run = &run;
            for thread in 1..threads {
                scope.spawn(move || run.work(thread));
            }
            run.work(0);
        });
        drop(run);
        free().push(memory);
    }
}

/// One run, as its threads share it.
struct Running<'a> {
    runnable: &'a Runnable,
    arena: *mut f32,
    inputs: &'a [&'a [f32]],
    outputs: &'a [*mut f32],
    /// The next item of each step.
    next: Vec<AtomicUsize>,
    barrier: Barrier,
}

// SAFETY: the pointers are to memory that this run has to itself, and threads use it as invariants 2 and 3 say.
unsafe impl Sync for Running<'_> {}

impl Running<'_> {
    fn work(&self, thread: usize) {
        let runnable = self.runnable;
        let workspace = runnable.program.arena + thread * runnable.workspace;
        // SAFETY: the memory is as long as the arena and the workspaces of all threads.
        let workspace = unsafe { self.arena.add(workspace) };
        let steps = iter::zip(&runnable.program.steps, &runnable.prepared);
        for ((step, prepared), next) in iter::zip(steps, &self.next) {
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= prepared.items {
                    break;
                }
                // SAFETY: invariants 1 to 4; nobody else has this item, and this workspace.
                unsafe { self.item(step, prepared, item, workspace) };
            }
            self.barrier.wait();
        }
    }

    /// # Safety
    ///
    /// The step is the program's, the item one of its, and no other thread works on it; nobody uses the workspace.
    unsafe fn item(&self, step: &Step, prepared: &Prepared, item: usize, workspace: *mut f32) {
        // SAFETY: the caller's promise, and that the program was checked.
        unsafe {
            match step {
                Step::Load {
                    input,
                    order,
                    channels,
                    output,
                } => self.load(self.inputs[*input], *order, *channels, output, item),
                Step::Convolution(step) => self.convolution(step, prepared, item),
                Step::Winograd(step) => self.winograd(step, item, workspace),
                Step::MaxPool {
                    input,
                    output,
                    window,
                    clamp,
                } => self.plain(input, output, window, Fold::Max, None, *clamp, item),
                Step::Mean { input, output } => {
                    let whole = Window {
                        kernel: [input.height, input.width],
                        stride: [1, 1],
                        origin: [input.halo.top, input.halo.left],
                    };
                    let fold = Fold::Sum(1.0 / (input.height * input.width) as f32);
                    self.plain(input, output, &whole, fold, None, Clamp::NONE, item);
                }
                Step::Add {
                    input,
                    residual,
                    output,
                    clamp,
                } => {
                    let each = Window {
                        kernel: [1, 1],
                        stride: [1, 1],
                        origin: [input.halo.top, input.halo.left],
                    };
                    let (fold, residual) = (Fold::Sum(1.0), Some(residual));
                    self.plain(input, output, &each, fold, residual, *clamp, item);
                }
                Step::Softmax {
                    input,
                    channels,
                    output,
                } => self.softmax(input, *channels, output),
                Step::Store {
                    input,
                    channels,
                    output,
                } => self.store(input, *channels, self.outputs[*output], item),
            }
        }
    }

    /// # Safety
    ///
    /// The plane is in the arena, and nobody else writes these rows of its block, nor the halo at them.
    unsafe fn clear_halo(&self, plane: &Plane, block: usize, rows: Range<usize>) {
        let Plane { halo, height, .. } = plane;
        let first = plane.at(block, 0, 0) - halo.top * plane.row() - halo.left * plane.lanes;
        let clear = |start: usize, length: usize| {
            // SAFETY: a part of the plane.
            unsafe { ptr::write_bytes(self.arena.add(start), 0, length) }
        };
        let row = |y: usize| first + y * plane.row();
        if rows.start == 0 {
            clear(first, halo.top * plane.row());
        }
        if halo.left + halo.right > 0 {
            for y in rows.clone() {
                let right = halo.right * plane.lanes;
                clear(row(halo.top + y), halo.left * plane.lanes);
                clear(row(halo.top + y) + plane.row() - right, right);
            }
        }
        if rows.end == *height {
            clear(row(halo.top + height), halo.bottom * plane.row());
        }
    }

    /// One row of one block.
    ///
    /// # Safety
    ///
    /// As [`Self::item`].
    unsafe fn load(
        &self,
        input: &[f32],
        order: Order,
        channels: usize,
        output: &Plane,
        item: usize,
    ) {
        let (block, y) = (item / output.height, item % output.height);
        // SAFETY: a row of the output, which is this item's.
        let row = unsafe {
            self.clear_halo(output, block, y..y + 1);
            slice::from_raw_parts_mut(
                self.arena.add(output.at(block, y, 0)),
                output.width * output.lanes,
            )
        };
        let present = channels
            .saturating_sub(block * output.lanes)
            .min(output.lanes);
        match order {
            Order::Nhwc if present == channels && channels == output.lanes => {
                row.copy_from_slice(&input[y * row.len()..][..row.len()]);
            }
            _ => {
                for (x, pixel) in row.chunks_exact_mut(output.lanes).enumerate() {
                    pixel.fill(0.0);
                    for (lane, value) in pixel[..present].iter_mut().enumerate() {
                        let channel = block * output.lanes + lane;
                        *value = input[match order {
                            Order::Nhwc => (y * output.width + x) * channels + channel,
                            Order::Nchw => (channel * output.height + y) * output.width + x,
                        }];
                    }
                }
            }
        }
    }

    /// One channel.
    ///
    /// # Safety
    ///
    /// As [`Self::item`]; the output is `channels × height × width` long.
    unsafe fn store(&self, input: &Plane, channels: usize, output: *mut f32, item: usize) {
        debug_assert!(item < channels);
        for y in 0..input.height {
            for x in 0..input.width {
                let from = input.at(item / input.lanes, y, x) + item % input.lanes;
                let to = (item * input.height + y) * input.width + x;
                // SAFETY: a pixel of the input, and its place in the output.
                unsafe { *output.add(to) = *self.arena.add(from) };
            }
        }
    }

    /// # Safety
    ///
    /// As [`Self::item`].
    unsafe fn softmax(&self, input: &Plane, channels: usize, output: &Plane) {
        // SAFETY: both planes have one pixel in each block, so the channels lie one after the other; they do not
        // overlap.
        let (from, to) = unsafe {
            (
                slice::from_raw_parts(self.arena.add(input.offset), channels),
                slice::from_raw_parts_mut(self.arena.add(output.offset), output.len()),
            )
        };
        to.fill(0.0);
        let largest = from.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for (to, from) in iter::zip(&mut *to, from) {
            *to = (from - largest).exp();
        }
        let sum: f32 = to.iter().sum();
        to.iter_mut().for_each(|value| *value /= sum);
    }

    /// One row of one block.
    ///
    /// # Safety
    ///
    /// As [`Self::item`].
    #[expect(
        clippy::too_many_arguments,
        reason = "three steps meet here, each with most of them"
    )]
    unsafe fn plain(
        &self,
        input: &Plane,
        output: &Plane,
        window: &Window,
        fold: Fold,
        residual: Option<&Residual>,
        clamp: Clamp,
        item: usize,
    ) {
        let (block, y) = (item / output.height, item % output.height);
        let [low, high] = clamp.ends();
        // SAFETY: a row of the output, which is this item's; the check found its windows and residuals inside
        // their planes.
        unsafe {
            self.clear_halo(output, block, y..y + 1);
            let from = input.offset
                + block * input.block()
                + (y * window.stride[0] + window.origin[0]) * input.row()
                + window.origin[1] * BLOCK;
            let arguments = Plain {
                input: self.arena.add(from),
                kernel: window.kernel,
                row: input.row(),
                stride: window.stride[1] * BLOCK,
                fold,
                residual: residual.map_or(ptr::null(), |residual| {
                    let at = residual.plane.at(block, y * residual.stride, 0);
                    self.arena.add(at).cast_const()
                }),
                residual_stride: residual.map_or(0, |residual| residual.stride * BLOCK),
                output: self.arena.add(output.at(block, y, 0)),
                pixels: output.width,
                low,
                high,
            };
            match self.runnable.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512 => avx512::plain(&arguments),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => avx2::plain(&arguments),
                _ => portable::plain(&arguments),
            }
        }
    }

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
    unsafe fn convolution(&self, step: &Convolution, prepared: &Prepared, item: usize) {
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

    /// Some rows of tiles, all channels.
    ///
    /// # Safety
    ///
    /// As [`Self::item`].
    unsafe fn winograd(&self, step: &Winograd, item: usize, workspace: *mut f32) {
        let (input, output) = (&step.input, &step.output);
        let isa = self.runnable.isa;
        let [rows, columns] = step.tiles();
        let rows = item * step.rows..((item + 1) * step.rows).min(rows);
        let tiles = rows.len() * columns;
        let [low, high] = step.clamp.ends();
        let (into, out_of) = (input.blocks * tiles * BLOCK, output.blocks * tiles * BLOCK);
        let transform = |arguments: &Transform| {
            // SAFETY: as below.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => avx512::winograd(arguments),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => avx2::winograd(arguments),
                    _ => portable::winograd(arguments),
                }
            }
        };
        let weights = self.weights();
        // SAFETY: these rows of all blocks are this item's, and the workspace is long enough for 36 places before and
        // after; the check found windows, weights and biases inside what they are in.
        unsafe {
            let products = workspace.add(36 * into);
            for block in 0..input.blocks {
                for (tile, (y, x)) in rows
                    .clone()
                    .flat_map(|y| (0..columns).map(move |x| (y, x)))
                    .enumerate()
                {
                    let from = input.offset
                        + block * input.block()
                        + (4 * y + step.origin[0]) * input.row()
                        + (4 * x + step.origin[1]) * BLOCK;
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
            for place in 0..36 {
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

            let end = (4 * rows.end).min(output.height);
            for block in 0..output.blocks {
                self.clear_halo(output, block, 4 * rows.start..end);
                for (tile, (y, x)) in rows
                    .clone()
                    .flat_map(|y| (0..columns).map(move |x| (y, x)))
                    .enumerate()
                {
                    transform(&Transform::Output {
                        from: products.add((block * tiles + tile) * BLOCK),
                        place: out_of,
                        to: self.arena.add(output.at(block, 4 * y, 4 * x)),
                        row: output.row(),
                        size: [output.height - 4 * y, output.width - 4 * x].map(|left| left.min(4)),
                        bias: weights.as_ptr().add(step.bias + block * BLOCK),
                        low,
                        high,
                    });
                }
            }
        }
    }
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
    fn new(step: &Step, isa: Isa) -> Self {
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
            Step::Winograd(step) => Self {
                items: step.tiles()[0].div_ceil(step.rows),
                ..Self::default()
            },
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
