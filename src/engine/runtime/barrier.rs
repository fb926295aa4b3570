//! A barrier between phases.

use super::sync::{
    AtomicUsize, Condvar, Mutex, Ordering, PoisonError, SPINS, is_panicking, spin_loop,
};

/// Value of `round` after a thread panicked.
const BROKEN: usize = usize::MAX;

/// A barrier that spins before it sleeps, and that breaks when a thread panics.
///
/// The standard library's barrier sleeps at once, which takes longer than many phases, and waits forever for a
/// thread that panicked.
pub(super) struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    /// Number of sleeping threads. No panic leaves it half changed, so poisoning is ignored.
    sleepers: Mutex<usize>,
    next_round: Condvar,
}

impl Barrier {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            threads,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            sleepers: Mutex::new(0),
            next_round: Condvar::new(),
        }
    }

    /// Waits until all threads have arrived. What a thread wrote before is visible to all threads after.
    ///
    /// # Panics
    ///
    /// If a thread panicked under [`Self::break_on_unwind`].
    pub(super) fn wait(&self) {
        if self.threads == 1 {
            return;
        }
        let round = self.round.load(Ordering::Acquire);
        assert_not_broken(round);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.begin(round + 1);
            return;
        }
        for _ in 0..SPINS {
            let now = self.round.load(Ordering::Acquire);
            if now != round {
                return assert_not_broken(now);
            }
            spin_loop();
        }
        let mut sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        *sleepers += 1;
        while self.round.load(Ordering::Acquire) == round {
            sleepers = self
                .next_round
                .wait(sleepers)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *sleepers -= 1;
        drop(sleepers);
        assert_not_broken(self.round.load(Ordering::Acquire));
    }

    /// Breaks the barrier if the calling thread panics before the guard is dropped.
    pub(super) fn break_on_unwind(&self) -> impl Drop {
        BreakOnUnwind(self)
    }

    /// Breaks the barrier: threads that wait, or come later, panic.
    pub(super) fn break_now(&self) {
        self.begin(BROKEN);
    }

    /// Begins a round, and wakes the threads that sleep.
    fn begin(&self, round: usize) {
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        // A broken barrier stays broken.
        if self.round.load(Ordering::Acquire) != BROKEN {
            self.round.store(round, Ordering::Release);
        }
        if *sleepers > 0 {
            self.next_round.notify_all();
        }
    }
}

/// A thread that waited must not go on after a panic: the others' work is not complete.
fn assert_not_broken(round: usize) {
    assert_ne!(round, BROKEN, "another thread of the run panicked");
}

struct BreakOnUnwind<'a>(&'a Barrier);

impl Drop for BreakOnUnwind<'_> {
    fn drop(&mut self) {
        if is_panicking() {
            self.0.break_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{panic, thread, time::Duration};

    use super::*;

    #[test]
    fn no_thread_is_a_round_ahead() {
        const THREADS: usize = 4;
        let (barrier, count) = (Barrier::new(THREADS), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for round in 1..=1000 {
                        count.fetch_add(1, Ordering::Relaxed);
                        barrier.wait();
                        assert_eq!(count.load(Ordering::Relaxed), round * THREADS);
                        barrier.wait();
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_threads_that_wait_awake_or_asleep() {
        for pause in [Duration::ZERO, Duration::from_millis(50)] {
            let barrier = Barrier::new(3);
            let waiting = || {
                panic::catch_unwind(panic::AssertUnwindSafe(|| {
                    let _guard = barrier.break_on_unwind();
                    barrier.wait();
                }))
            };
            thread::scope(|scope| {
                let waiters = [scope.spawn(waiting), scope.spawn(waiting)];
                let panicking = panic::catch_unwind(panic::AssertUnwindSafe(|| {
                    let _guard = barrier.break_on_unwind();
                    thread::sleep(pause);
                    panic!("on purpose");
                }));
                assert!(panicking.is_err());
                for waiter in waiters {
                    assert!(waiter.join().unwrap().is_err());
                }
            });
        }
    }
}
