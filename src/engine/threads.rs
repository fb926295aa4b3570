//! The number of threads that the engine uses for a run.
//!
//! tract calls an operator with its tensors and nothing else, so the number reaches the operator through a
//! thread-local variable. Only this file touches the variable. It holds for the thread that calls tract: tract runs
//! the operators of a plan on that thread.

use std::cell::Cell;

thread_local! {
    static THREADS: Cell<usize> = const { Cell::new(1) };
}

/// Runs `work`; engine operators in it use `threads` threads each. 0 counts as 1.
///
/// The previous number is restored when `work` returns and when it panics.
pub fn with_threads<T>(threads: usize, work: impl FnOnce() -> T) -> T {
    let _restore = Restore(THREADS.replace(threads.max(1)));
    work()
}

/// The number of threads for a run that this thread starts: 1 outside [`with_threads`], never 0.
pub(crate) fn current() -> usize {
    THREADS.get()
}

/// Restores the previous number of threads on drop, so that unwinding restores it too.
struct Restore(usize);

impl Drop for Restore {
    fn drop(&mut self) {
        THREADS.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::panic;

    use super::*;

    #[test]
    fn the_number_holds_inside_and_is_restored_after() {
        assert_eq!(current(), 1);
        with_threads(4, || {
            assert_eq!(current(), 4);
            with_threads(2, || assert_eq!(current(), 2));
            assert_eq!(current(), 4);
        });
        assert_eq!(current(), 1);
    }

    #[test]
    fn the_number_is_restored_after_a_panic() {
        with_threads(3, || {
            let result = panic::catch_unwind(|| with_threads(7, || panic!("on purpose")));
            assert!(result.is_err());
            assert_eq!(current(), 3);
        });
        assert_eq!(current(), 1);
    }

    #[test]
    fn zero_threads_are_one() {
        assert_eq!(with_threads(0, current), 1);
    }
}
