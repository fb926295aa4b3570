//! A verified program with its weights.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    barrier::Barrier,
    context::Context,
    memory::{AlignedFloats, PackedWeights},
    profile::{Clock, Profile},
    program_error::ProgramError,
    run::{Run, Task},
};
use crate::{
    isa::Isa,
    kernels::Kernels,
    program::Program,
    steps::{
        Step, Work,
        verify::{MAX_FLOATS, verify},
    },
};

/// A program with its weights, verified and prepared for this CPU.
pub struct Runnable {
    kernels: &'static Kernels,
    program: Program,
    weights: PackedWeights,
    /// By step.
    works: Vec<Box<dyn Work>>,
    /// Length of a thread's workspace in floats: every step has room in it.
    workspace_len: usize,
    /// Memory of finished runs, which the next runs use again.
    free: Mutex<Vec<AlignedFloats>>,
    /// Length of the largest memory of a run so far, in floats.
    largest: AtomicUsize,
}

impl Runnable {
    /// Verifies a program and prepares its steps.
    ///
    /// # Errors
    ///
    /// A [`ProgramError`] if the program is not sound, or the CPU does not have `isa`.
    pub fn new(program: Program, weights: PackedWeights, isa: Isa) -> Result<Self, ProgramError> {
        if !isa.is_here() {
            return Err(ProgramError::MissingIsa(isa));
        }
        verify(&program, weights.len())?;
        let kernels = Kernels::of(isa);
        let prepare = |step: &Step| step.kind().prepare(kernels);
        let works: Vec<Box<dyn Work>> = program.steps.iter().map(prepare).collect();
        let lens = works.iter().map(|work| work.workspace_len());
        let workspace_len = lens.fold(0, usize::max);
        if workspace_len > MAX_FLOATS {
            return Err(ProgramError::Memory(workspace_len));
        }
        Ok(Self {
            kernels,
            workspace_len,
            program,
            weights,
            works,
            free: Mutex::default(),
            largest: AtomicUsize::new(0),
        })
    }

    /// The instruction set that the kernels use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// The program that runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Runs the program with `threads` threads, of which the calling thread is one.
    ///
    /// # Panics
    ///
    /// If `threads` is 0, or inputs or outputs have other lengths than the program's shapes.
    pub fn run(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]], threads: usize) {
        self.with_run(inputs, outputs, threads, Clock::default(), |run| {
            // SAFETY: Verified: `new` did. `with_run` made workspaces for `threads` threads, and each of the numbers 0
            // to `threads` − 1 is given to one thread.
            let work = |thread: usize| unsafe { run.work(thread, || ()) };
            thread::scope(|scope| {
                // A thread that cannot be spawned is a panic, after which the others must not wait.
                let _guard = run.barrier.break_on_unwind();
                for thread in 1..threads {
                    scope.spawn(move || work(thread));
                }
                work(0);
            });
        });
    }

    /// Runs the program with one thread, and adds the times of its steps to `profile`.
    ///
    /// # Panics
    ///
    /// If inputs or outputs have other lengths than the program's shapes, or `profile` has times of another program.
    pub fn profile(&self, inputs: &[&[f32]], outputs: &mut [&mut [f32]], profile: &mut Profile) {
        // SAFETY: Verified: `new` did. `with_run` made the workspace of the only thread.
        let timed = |run: &Run| unsafe { run.timed() };
        profile.add(self.with_run(inputs, outputs, 1, Clock::running(), timed));
    }

    /// Calls `work` with a run that has not started.
    fn with_run<T>(
        &self,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        threads: usize,
        products: Clock,
        work: impl FnOnce(&Run) -> T,
    ) -> T {
        assert!(threads > 0, "a run has at least one thread");
        let lens: Vec<usize> = inputs.iter().map(|input| input.len()).collect();
        assert_eq!(lens, tensor_lens(&self.program.inputs), "input lengths");
        let lens: Vec<usize> = outputs.iter().map(|output| output.len()).collect();
        assert_eq!(lens, tensor_lens(&self.program.outputs), "output lengths");

        let memory = self.memory(self.program.arena_len + threads * self.workspace_len);
        let outputs: Vec<*mut f32> = outputs
            .iter_mut()
            .map(|output| output.as_mut_ptr())
            .collect();
        let run = Run {
            context: Context {
                kernels: self.kernels,
                arena: memory.as_ptr(),
                weights: &self.weights,
                inputs,
                outputs: &outputs,
                threads,
                products,
            },
            tasks: self.works.iter().map(|work| Task::new(&**work)).collect(),
            barrier: Barrier::new(threads),
            // SAFETY: the arena is the first part of the memory.
            workspaces: unsafe { memory.as_ptr().add(self.program.arena_len) },
            workspace_len: self.workspace_len,
        };
        let result = work(&run);
        drop(run);
        self.lock_free().push(memory);
        result
    }

    /// Memory of at least `len` floats: that of a finished run if it is large enough.
    fn memory(&self, len: usize) -> AlignedFloats {
        // All have the length of the largest, so runs with few and with many threads do not take turns in allocating it.
        let len = self.largest.fetch_max(len, Ordering::Relaxed).max(len);
        let free = self.lock_free().pop();
        // A smaller one is from before the largest run, and is dropped.
        let large_enough = free.filter(|memory| memory.len() >= len);
        large_enough.unwrap_or_else(|| AlignedFloats::zeroed(len))
    }

    /// Locks the free list. No panic leaves it half changed, so poisoning is ignored.
    fn lock_free(&self) -> MutexGuard<'_, Vec<AlignedFloats>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tensor_lens(shapes: &[Vec<usize>]) -> Vec<usize> {
    shapes.iter().map(|shape| shape.iter().product()).collect()
}
