//! What the barrier is made of under loom.

pub(super) use std::{sync::PoisonError, thread::panicking as is_panicking};

pub(super) use loom::{
    hint::spin_loop,
    sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Each spin is one more order to try.
pub(super) const SPINS: usize = 1;
