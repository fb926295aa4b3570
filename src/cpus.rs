//! CPU policy: how photos share the CPUs and the memory of one process.
//!
//! - Lambda grants CPUs by memory ([`granted_cpus`]). `local` divides the machine's CPUs between its
//!   function instances ([`share`]).
//! - As many photos are decoded and classified at once as there are CPUs. More would need memory and gain nothing. The
//!   others wait in a queue, and a thread that is done with a photo takes the next: it need not be woken, and stays on its
//!   CPU.
//! - `READ_AHEAD` more photos may be in progress, so that no CPU waits for a download.
//! - A photo alone uses all CPUs for inference. With several photos, also with some that wait, each uses its share, which
//!   is fixed when its inference starts. So threads seldom wait for each other.
//! - All photos together decode at most MAX_IMAGE_PIXELS at a time. So the memory of decoding
//!   has the same bound for every batch and number of CPUs.

use std::{
    collections::VecDeque,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::oneshot;

use crate::error::Error;

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
    queue: Mutex<Queue>,
    pixels: PixelBudget,
    /// Photos in the queue and on its threads.
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
            queue: Mutex::default(),
            pixels: PixelBudget::new(max_pixels),
            in_turn: Arc::default(),
            computing: AtomicUsize::new(0),
        }
    }

    /// Photos that a caller keeps in progress at a time.
    pub(crate) fn photos_in_progress(&self) -> usize {
        self.count + READ_AHEAD
    }

    /// Runs `work` on a thread of tokio's blocking pool once a CPU is free, in the order of the calls. If the caller stops waiting
    /// before that, `work` is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Aborted`] if `work` panics.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let counted = Counted::one_more(&self.in_turn);
        let job = Arc::new(Mutex::new(Some((work, counted, sender))));
        let _withdraw = Withdraw(Arc::clone(&job));
        self.enqueue(Box::new(move || {
            let Some((work, counted, sender)) = lock(&job).take() else {
                return;
            };
            // Unwind safety: what `work` shares with others is behind locks and guards.
            let result = panic::catch_unwind(AssertUnwindSafe(work));
            drop(counted);
            // It fails if the caller no longer waits.
            let _ = sender.send(result);
        }));
        match receiver.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_panic)) => Err(Error::Aborted("it panicked: the log has the reason".into())),
            Err(closed) => Err(Error::Aborted(closed.into())),
        }
    }

    fn enqueue(self: &Arc<Self>, job: Job) {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back(job);
        if queue.threads < self.count {
            queue.threads += 1;
            drop(queue);
            let cpus = Arc::clone(self);
            tokio::task::spawn_blocking(move || cpus.work());
        }
    }

    /// Runs the jobs of the queue until it is empty.
    fn work(&self) {
        loop {
            let mut queue = lock(&self.queue);
            let Some(job) = queue.waiting.pop_front() else {
                queue.threads -= 1;
                return;
            };
            drop(queue);
            job();
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

/// Work that waits for a CPU.
type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Job>,
    /// Threads that take jobs.
    threads: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a job's content back when the caller stops waiting, so that a photo which nobody waits for takes no memory.
struct Withdraw<T>(Arc<Mutex<Option<T>>>);

impl<T> Drop for Withdraw<T> {
    fn drop(&mut self) {
        let content = lock(&self.0).take();
        drop(content);
    }
}

/// A photo in the queue or on one of its threads; counted until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_more(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

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
        let cpus = Arc::new(Cpus::new(2, 10));
        let (inner, outer) = (Arc::clone(&cpus), Arc::clone(&cpus));
        let alone = outer.run(move || inner.start().threads()).await;
        assert_eq!(alone.unwrap(), 2);
        // A photo that has not begun to compute has its share too.
        let (release, released) = mpsc::channel::<()>();
        let (start, started) = oneshot::channel();
        let outer = Arc::clone(&cpus);
        let work = move || {
            start.send(()).unwrap();
            released.recv().unwrap();
        };
        let first = tokio::spawn(async move { outer.run(work).await });
        started.await.unwrap();
        let inner = Arc::clone(&cpus);
        let second = cpus.run(move || inner.start().threads()).await;
        assert_eq!(second.unwrap(), 1);
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        assert_eq!(cpus.in_turn.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_queue_is_worked_off_in_its_order() {
        let cpus = Arc::new(Cpus::new(1, 10));
        let (release, released) = mpsc::channel::<()>();
        let order = Arc::new(Mutex::new(Vec::new()));
        let run = |number: usize, wait: Option<mpsc::Receiver<()>>| {
            let (cpus, order) = (Arc::clone(&cpus), Arc::clone(&order));
            async move {
                let work = move || {
                    if let Some(wait) = wait {
                        wait.recv().unwrap();
                    }
                    order.lock().unwrap().push(number);
                };
                cpus.run(work).await.unwrap();
            }
        };
        let photos = tokio::join!(run(0, Some(released)), run(1, None), async {
            // Nobody waits for this one.
            let withdrawn = tokio::time::timeout(Duration::ZERO, run(2, None)).await;
            assert!(withdrawn.is_err());
            release.send(()).unwrap();
        });
        let ((), (), ()) = photos;
        run(3, None).await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 3]);
        assert_eq!(cpus.in_turn.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_frees_the_cpu() {
        let cpus = Arc::new(Cpus::new(1, 10));
        for _ in 0..3 {
            let failed = cpus.run(|| panic!("as a defect would")).await;
            assert!(matches!(failed, Err::<(), _>(Error::Aborted(_))));
        }
        assert_eq!(cpus.run(|| 7).await.unwrap(), 7);
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
