//! Lets one test at a time have the machine.
//!
//! The harness runs as many tests at once as there are CPUs. A test that starts many processes, or that measures
//! time or memory, takes a turn, so that two of them do not disturb each other.

use tokio::sync::{Mutex, MutexGuard};

static MACHINE: Mutex<()> = Mutex::const_new(());

/// Waits for the turn of this test. It ends when the guard is dropped, also by a panic.
pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    MACHINE.lock().await
}

/// [`turn`] of a test outside of an asynchronous runtime.
pub(crate) fn blocking_turn() -> MutexGuard<'static, ()> {
    MACHINE.blocking_lock()
}
