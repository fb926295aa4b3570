//! A run: its threads take the work items of one phase after the other.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use super::{barrier::Barrier, context::Context, profile::StepTime};
use crate::steps::{MAX_PHASES, Work};

/// A step and its progress.
pub(super) struct Task<'a> {
    work: &'a dyn Work,
    /// The next work item of each phase.
    next: [AtomicUsize; MAX_PHASES],
}

impl<'a> Task<'a> {
    /// A step of which no work item was taken.
    pub(super) fn new(work: &'a dyn Work) -> Self {
        Self {
            work,
            next: Default::default(),
        }
    }
}

/// One run of a program.
pub(super) struct Run<'a> {
    pub(super) context: Context<'a>,
    pub(super) tasks: Vec<Task<'a>>,
    pub(super) barrier: Barrier,
    /// First float of the workspaces of all threads, one after the other.
    pub(super) workspaces: *mut f32,
    /// Length of a workspace in floats.
    pub(super) workspace_len: usize,
}

// SAFETY: `work` gives each thread a workspace of its own, except in steps of several phases, whose work items are
// disjoint as the invariant Disjoint says. The other fields are `Sync`.
unsafe impl Sync for Run<'_> {}

impl Run<'_> {
    /// Takes part in the run as the thread with this number. Calls `finished` after each step.
    ///
    /// # Panics
    ///
    /// If another thread of the run panicked.
    ///
    /// # Safety
    ///
    /// The program was verified and the context is as its fields say. The run has as many threads as its barrier, each
    /// with a number of its own, and workspaces for all of them that are as long as every step needs.
    pub(super) unsafe fn work(&self, thread: usize, mut finished: impl FnMut()) {
        let guard = self.barrier.break_on_unwind();
        let threads = self.context.threads();
        for task in &self.tasks {
            let phases = task.work.phases(threads);
            // All threads share the first workspace in a step of several phases.
            let own = if phases > 1 { 0 } else { thread };
            // SAFETY: the caller ensures that there are workspaces for all threads.
            let workspace = unsafe { self.workspaces.add(own * self.workspace_len) };
            for phase in 0..phases {
                let items = task.work.items(phase, threads);
                loop {
                    let item = task.next[phase].fetch_add(1, Ordering::Relaxed);
                    if item >= items {
                        break;
                    }
                    // SAFETY: Verified: by the caller. Disjoint: `fetch_add` gives this work item to this thread only.
                    // Ordered: the barrier below.
                    unsafe { task.work.run(&self.context, phase, item, workspace) };
                }
                self.barrier.wait();
            }
            finished();
        }
        drop(guard);
    }

    /// The run, by one thread, with the time of each step.
    ///
    /// # Safety
    ///
    /// As for [`Self::work`], with one thread.
    pub(super) unsafe fn timed(&self) -> Vec<StepTime> {
        let mut times = Vec::with_capacity(self.tasks.len());
        let mut start = Instant::now();
        let finished = || {
            times.push(StepTime {
                whole: start.elapsed(),
                products: self.context.products().take(),
            });
            start = Instant::now();
        };
        // SAFETY: the caller ensures what `work` requires.
        unsafe { self.work(0, finished) };
        times
    }
}
