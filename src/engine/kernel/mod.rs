//! Runs programs. The one folder with unsafe code.
//!
//! Its invariants:
//!
//! 1. A [`Runnable`] is only made of a program that [`check`] found sound: every address of every step, whatever
//!    its item, is inside the arena, the workspace, the weights or an input or output; the planes that a step
//!    reads do not overlap the one it writes.
//! 2. The items of a step write places of their own, and read none that another item of the step writes. So
//!    threads may work on the items of one step at once.
//! 3. All threads finish a step before one begins the next ([`Barrier`]). An item does not panic: the others would
//!    wait for its thread.
//! 4. Instructions are only used where [`Isa::is_here`] found them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod barrier;
mod check;
mod convolve;
mod memory;
mod peak;
mod plain;
mod portable;
mod steps;
mod tile;
mod winograd;

use std::{
    iter,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use self::{barrier::Barrier, plain::Fold, tile::Tile};
use crate::isa::Isa;
use crate::program::{Clamp, Program, Step, Window};

pub use memory::{ALIGNMENT, Floats, MappedFile};
pub use peak::multiply_and_add;

type Run = unsafe fn(&Tile);

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
    /// Output rows of an item.
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
            threads,
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
    threads: usize,
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
            let items = match step {
                Step::Winograd(step) => convolve::tiles_items(step, self.threads),
                _ => prepared.items,
            };
            loop {
                let item = next.fetch_add(1, Ordering::Relaxed);
                if item >= items {
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
}
