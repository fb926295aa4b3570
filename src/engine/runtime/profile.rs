//! Times of the steps of a run, for benchmarks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Times of the steps of the runs so far, the shortest of each.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// By step.
    pub steps: Vec<StepTime>,
}

/// Times of one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTime {
    /// Time of the whole step.
    pub whole: Duration,
    /// Time of its matrix products, for a step that has other parts as well: Winograd's algorithm. Else zero.
    pub products: Duration,
}

impl Profile {
    /// Adds the times of one run.
    ///
    /// # Panics
    ///
    /// If the runs before were of a program with another number of steps.
    pub(super) fn add(&mut self, run: Vec<StepTime>) {
        if self.steps.is_empty() {
            self.steps = run;
            return;
        }
        assert_eq!(self.steps.len(), run.len(), "a profile is of one program");
        for (least, time) in self.steps.iter_mut().zip(run) {
            if time.whole < least.whole {
                *least = time;
            }
        }
    }
}

/// Adds up the times of a part of a step. `None` in runs that are not profiled.
#[derive(Debug, Default)]
pub(crate) struct Clock(Option<AtomicU64>);

impl Clock {
    pub(super) fn running() -> Self {
        Self(Some(AtomicU64::new(0)))
    }

    /// Does `work`, and adds the time that it takes.
    pub(crate) fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(nanoseconds) = &self.0 else {
            return work();
        };
        let start = Instant::now();
        let result = work();
        let elapsed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        nanoseconds.fetch_add(elapsed, Ordering::Relaxed);
        result
    }

    /// The time since the last call.
    pub(super) fn take(&self) -> Duration {
        let nanoseconds = self
            .0
            .as_ref()
            .map_or(0, |sum| sum.swap(0, Ordering::Relaxed));
        Duration::from_nanos(nanoseconds)
    }
}
