//! What the barrier is made of. `tests/loom` replaces this file to try all orders in which threads can run.

pub(super) use std::{
    hint::spin_loop,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::panicking as is_panicking,
};

/// Spins before a waiting thread sleeps: some ten microseconds, about as long as a work item.
pub(super) const SPINS: usize = 1_000;
