//! CPU policy: how photos share the CPUs and the memory of one process.
//!
//! - Lambda grants CPUs by memory ([`granted_cpus`]). `local` divides the machine's CPUs between its
//!   function instances ([`share`]).
//! - A photo needs a permit before it is decoded, and there is one permit for each CPU. More photos at
//!   once would need memory and gain nothing.
//! - `READ_AHEAD` more photos may be in progress, so that no CPU waits for a download.
//! - A photo alone uses all CPUs for inference. With several photos, also with some that wait, each uses its share, which
//!   is fixed when its inference starts. So threads seldom wait for each other.
//! - All photos together decode at most MAX_IMAGE_PIXELS at a time. So the memory of decoding
//!   has the same bound for every batch and number of CPUs.

use std::sync::{
    Arc, Condvar, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory in MB for which Lambda grants one CPU:
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>.
const MEMORY_OF_A_CPU: u64 = 1769;

/// Photos in progress in addition to those on a CPU: enough to hide a download of some tens of
/// milliseconds. Each of them may hold MAX_IMAGE_BYTES.
const READ_AHEAD: usize = 3;

/// CPUs that Lambda grants for `memory` MB, rounded to whole CPUs, at least 1 and at most `visible`. Lambda shows two CPUs to
/// a function that may use only one.
pub(crate) fn granted_cpus(memory: u64, visible: usize) -> usize {
    let granted = memory.saturating_add(MEMORY_OF_A_CPU / 2) / MEMORY_OF_A_CPU;
    usize::try_from(granted).map_or(visible, |granted| granted.clamp(1, visible))
}

/// Memory in MB for which Lambda grants `cpus`: the inverse of [`granted_cpus`].
pub(crate) fn memory_of_cpus(cpus: usize) -> u64 {
    cpus as u64 * MEMORY_OF_A_CPU
}

/// CPUs for each of `parts` that share `cpus`; at least 1.
pub(crate) fn share(cpus: usize, parts: usize) -> usize {
    (cpus / parts.max(1)).max(1)
}

/// The CPUs of one process.
pub(crate) struct Cpus {
    count: usize,
    permits: Arc<Semaphore>,
    pixels: PixelBudget,
    /// Photos that wait for a CPU or have one.
    in_turn: Arc<AtomicUsize>,
    /// Photos that are being decoded or classified, also those that did not wait.
    computing: AtomicUsize,
}

impl Cpus {
    /// `count` CPUs, on which at most `max_pixels` are decoded at a time.
    pub(crate) fn new(count: usize, max_pixels: u64) -> Self {
        assert!(count > 0, "at least one CPU");
        Self {
            count,
            permits: Arc::new(Semaphore::new(count)),
            pixels: PixelBudget::new(max_pixels),
            in_turn: Arc::default(),
            computing: AtomicUsize::new(0),
        }
    }

    /// Photos that a caller keeps in progress at a time.
    pub(crate) fn photos_in_progress(&self) -> usize {
        self.count + READ_AHEAD
    }

    /// Waits for a free CPU.
    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    pub(crate) async fn acquire(&self) -> Turn {
        self.in_turn.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.in_turn));
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        Turn {
            _permit: permit.expect("the semaphore is open"),
            _counted: counted,
        }
    }

    /// Counts one more photo that is being decoded or classified.
    pub(crate) fn start(&self) -> Computation<'_> {
        self.computing.fetch_add(1, Ordering::Relaxed);
        Computation(self)
    }

    /// Waits until `pixels` may be decoded. `pixels` must not exceed the budget, or the call
    /// never returns.
    pub(crate) fn reserve_pixels(&self, pixels: u64) -> ReservedPixels<'_> {
        self.pixels.reserve(pixels)
    }
}

/// The CPU of a photo, until it is dropped.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
    _counted: Counted,
}

/// A photo that waits for a CPU or has one; counted until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A photo that is being decoded or classified; counted until it is dropped.
pub(crate) struct Computation<'a>(&'a Cpus);

impl Computation<'_> {
    /// Threads for this photo's inference: its share of the CPUs.
    pub(crate) fn threads(&self) -> usize {
        let in_turn = self.0.in_turn.load(Ordering::Relaxed);
        let computing = self.0.computing.load(Ordering::Relaxed);
        share(self.0.count, in_turn.max(computing))
    }
}

impl Drop for Computation<'_> {
    fn drop(&mut self) {
        self.0.computing.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pixels that may be in memory at a time.
struct PixelBudget {
    total: u64,
    free: Mutex<u64>,
    freed: Condvar,
}

impl PixelBudget {
    fn new(pixels: u64) -> Self {
        Self {
            total: pixels,
            free: Mutex::new(pixels),
            freed: Condvar::new(),
        }
    }

    fn reserve(&self, pixels: u64) -> ReservedPixels<'_> {
        debug_assert!(pixels <= self.total, "`Encoded::open` checks the limit");
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.freed.wait_while(free, |free| *free < pixels);
        *enough.unwrap_or_else(PoisonError::into_inner) -= pixels;
        ReservedPixels {
            budget: self,
            pixels,
        }
    }
}

/// A part of the budget, returned when it is dropped.
pub(crate) struct ReservedPixels<'a> {
    budget: &'a PixelBudget,
    pixels: u64,
}

impl Drop for ReservedPixels<'_> {
    fn drop(&mut self) {
        let free = self.budget.free.lock();
        *free.unwrap_or_else(PoisonError::into_inner) += self.pixels;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    #[test]
    fn lambda_grants_cpus_by_memory() {
        for (memory, cpus) in [
            (128, 1),
            (1769, 1),
            (2048, 1),
            (3008, 2),
            (3538, 2),
            (10_240, 6),
        ] {
            assert_eq!(granted_cpus(memory, 6), cpus, "{memory} MB");
            assert_eq!(granted_cpus(memory, 1), 1);
        }
        for cpus in 1..=6 {
            assert_eq!(granted_cpus(memory_of_cpus(cpus), 6), cpus);
        }
        assert_eq!(granted_cpus(u64::MAX, 4), 4);
    }

    #[test]
    fn photos_share_the_cpus() {
        let cpus = Cpus::new(4, 10);
        let first = cpus.start();
        assert_eq!(first.threads(), 4);
        let second = cpus.start();
        assert_eq!((first.threads(), second.threads()), (2, 2));
        let more = [cpus.start(), cpus.start(), cpus.start()];
        assert_eq!(more[2].threads(), 1);
        drop((first, more));
        assert_eq!(second.threads(), 4);
    }

    #[tokio::test]
    async fn photos_that_wait_have_a_share() {
        let cpus = Cpus::new(2, 10);
        let first = cpus.acquire().await;
        let computation = cpus.start();
        assert_eq!(computation.threads(), 2);
        let second = cpus.acquire().await;
        let third = tokio::time::timeout(Duration::ZERO, cpus.acquire());
        assert_eq!(computation.threads(), 1);
        // It no longer waits.
        assert!(third.await.is_err());
        drop(second);
        assert_eq!(computation.threads(), 2);
        drop(first);
        assert_eq!(computation.threads(), 2);
    }

    #[test]
    fn pixels_beyond_the_budget_wait() {
        let budget = PixelBudget::new(10);
        let first = budget.reserve(6);
        drop(budget.reserve(4));
        thread::scope(|scope| {
            let (sender, reserved) = mpsc::channel();
            let budget = &budget;
            scope.spawn(move || {
                let second = budget.reserve(5);
                sender.send(()).unwrap();
                drop(second);
            });
            assert!(reserved.try_recv().is_err());
            drop(first);
            reserved.recv().unwrap();
        });
        assert_eq!(*budget.free.lock().unwrap(), 10);
    }
}
