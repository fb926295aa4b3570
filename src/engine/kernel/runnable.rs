//! A verified program with its weights.

use std::{
    iter,
    sync::{Mutex, PoisonError},
    thread,
};

use super::{
    barrier::Barrier,
    context::Context,
    memory::{AlignedFloats, PackedWeights},
    plan::Plan,
    program_error::ProgramError,
    run::{Run, Task},
    verify,
};
use crate::{
    isa::Isa,
    program::{Operation, Program},
};

/// A program with its weights, verified and planned for this CPU.
pub struct Runnable {
    isa: Isa,
    program: Program,
    weights: PackedWeights,
    /// By operation.
    plans: Vec<Plan>,
    /// Length of a thread's workspace in floats.
    workspace_len: usize,
    /// Memory of finished runs, which the next runs use again.
    free: Mutex<Vec<AlignedFloats>>,
}

impl Runnable {
    /// Verifies a program and plans its operations.
    ///
    /// # Errors
    ///
    /// A [`ProgramError`] if the program is not sound, or the CPU does not have `isa`.
    pub fn new(program: Program, weights: PackedWeights, isa: Isa) -> Result<Self, ProgramError> {
        if !isa.is_here() {
            return Err(ProgramError::MissingIsa(isa));
        }
        verify::verify(&program, weights.len())?;
        let operations = program.operations.iter();
        let plans = operations.map(|operation| Plan::new(operation, isa));
        let plans = plans.collect();
        Ok(Self {
            isa,
            workspace_len: workspace_len(&program),
            program,
            weights,
            plans,
            free: Mutex::default(),
        })
    }

    /// The instruction set that the kernels use.
    pub fn isa(&self) -> Isa {
        self.isa
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
        assert!(threads > 0, "a run has at least one thread");
        let lens: Vec<usize> = inputs.iter().map(|input| input.len()).collect();
        assert_eq!(lens, tensor_lens(&self.program.inputs), "input lengths");
        let lens: Vec<usize> = outputs.iter().map(|output| output.len()).collect();
        assert_eq!(lens, tensor_lens(&self.program.outputs), "output lengths");
        let operations = &self.program.operations;
        assert_eq!(operations.len(), self.plans.len(), "one plan per operation");

        let memory = self.memory(self.program.arena_len + threads * self.workspace_len);
        let outputs: Vec<*mut f32> = outputs
            .iter_mut()
            .map(|output| output.as_mut_ptr())
            .collect();
        let tasks = iter::zip(operations, &self.plans);
        let run = Run {
            context: Context {
                isa: self.isa,
                arena: memory.as_ptr(),
                weights: &self.weights,
                inputs,
                outputs: &outputs,
                threads,
            },
            tasks: tasks
                .map(|(operation, plan)| Task::new(operation, plan))
                .collect(),
            barrier: Barrier::new(threads),
        };
        let work = |thread: usize| {
            let workspace = self.program.arena_len + thread * self.workspace_len;
            // SAFETY: Verified: `new` did. The memory has room for the arena and the workspaces of `threads` threads,
            // and each of the numbers 0 to `threads` − 1 is given to one thread.
            unsafe { run.work(run.context.arena.add(workspace)) };
        };
        thread::scope(|scope| {
            for thread in 1..threads {
                scope.spawn(move || work(thread));
            }
            work(0);
        });
        drop(run);
        self.lock_free().push(memory);
    }

    /// Memory of at least `len` floats: that of a finished run if it is large enough.
    fn memory(&self, len: usize) -> AlignedFloats {
        let free = self.lock_free().pop();
        // A smaller one was for fewer threads, and is dropped.
        let large_enough = free.filter(|memory| memory.len() >= len);
        large_enough.unwrap_or_else(|| AlignedFloats::zeroed(len))
    }

    /// Locks the free list. A panic cannot leave it half changed, so a poisoned lock is as good.
    fn lock_free(&self) -> std::sync::MutexGuard<'_, Vec<AlignedFloats>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Length of a workspace in which every operation has room.
fn workspace_len(program: &Program) -> usize {
    let operations = program.operations.iter();
    let lens = operations.map(|operation| match operation {
        Operation::Winograd(convolution) => convolution.workspace_len(),
        _ => 0,
    });
    lens.fold(0, usize::max)
}

fn tensor_lens(shapes: &[Vec<usize>]) -> Vec<usize> {
    shapes.iter().map(|shape| shape.iter().product()).collect()
}
