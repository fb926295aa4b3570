//! The engine's barrier under loom, which runs a test in all orders in which its threads can run, and with all values
//! that the memory model allows: `cargo run --locked --package loom-tests`.
//!
//! The program has the barrier's source, and another `sync` module. The engine itself would take minutes to build for
//! loom.

#![forbid(unsafe_code)]

#[allow(
    dead_code,
    reason = "the guard that breaks the barrier on unwinding is std's business"
)]
#[path = "../../src/engine/runtime/barrier.rs"]
mod barrier;
mod sync;

use std::panic::{AssertUnwindSafe, catch_unwind};

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use self::barrier::Barrier;

fn main() {
    what_was_written_before_the_barrier_is_seen_after();
    a_broken_barrier_lets_no_thread_pass();
}

/// Runs `test` in all orders with at most [`PREEMPTIONS`] switches at places where a thread could go on.
fn model(test: impl Fn() + Sync + Send + 'static) {
    /// Bugs need few switches: loom's documentation recommends 2 or 3. All orders take minutes.
    const PREEMPTIONS: usize = 3;
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(test);
}

fn what_was_written_before_the_barrier_is_seen_after() {
    model(|| {
        let shared = Arc::new((Barrier::new(2), AtomicUsize::new(0)));
        let rounds = |(barrier, count): &(Barrier, AtomicUsize)| {
            for round in 1..=2 {
                // The barrier alone orders the accesses.
                count.fetch_add(1, Ordering::Relaxed);
                barrier.wait();
                assert_eq!(count.load(Ordering::Relaxed), 2 * round);
                barrier.wait();
            }
        };
        let other = Arc::clone(&shared);
        let thread = thread::spawn(move || rounds(&other));
        rounds(&shared);
        thread.join().expect("the other thread saw the same");
    });
    println!("what was written before the barrier is seen after: ok");
}

/// A thread that waits, or comes later, neither goes on after another has panicked, nor waits forever.
fn a_broken_barrier_lets_no_thread_pass() {
    std::panic::set_hook(Box::new(|_| ()));
    model(|| {
        let barrier = Arc::new(Barrier::new(2));
        let waiting = Arc::clone(&barrier);
        let thread = thread::spawn(move || {
            let wait = AssertUnwindSafe(|| waiting.wait());
            catch_unwind(wait).is_err()
        });
        barrier.break_now();
        let has_panicked = thread.join().expect("the panic was caught");
        if !has_panicked {
            eprintln!("a thread went on behind a broken barrier");
            std::process::exit(1);
        }
    });
    println!("a broken barrier lets no thread pass: ok");
}
