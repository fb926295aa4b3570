//! Bytes → probabilities: the part that needs a CPU and no network.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    classifier::{Classifier, Way},
    config::Limits,
    error::{Error, Rejection},
    format::sniff,
    manifest::Manifest,
    prediction::Probabilities,
    preprocess::{self, Encoded, InputTensor},
};

/// A model, and the limits of what it is shown.
pub struct Predictor {
    classifier: Classifier,
    limits: Limits,
    cpus: usize,
    budget: Budget,
    /// Pictures that are being decoded or classified.
    in_hand: AtomicUsize,
}

/// What the model says of one picture, and how long it took.
#[derive(Debug)]
pub struct Predicted {
    /// What the model says.
    pub probabilities: Probabilities,
    /// Decoding, resizing and scaling.
    pub decode: Duration,
    /// Running the model.
    pub inference: Duration,
}

impl Predictor {
    /// Shows `classifier` pictures within `limits`, on `cpus` CPUs.
    pub fn new(classifier: Classifier, limits: Limits, cpus: usize) -> Self {
        Self {
            classifier,
            limits,
            cpus,
            budget: Budget::new(limits.pixels),
            in_hand: AtomicUsize::new(0),
        }
    }

    /// CPUs that it has.
    pub fn cpus(&self) -> usize {
        self.cpus
    }

    /// How the model is run.
    pub fn way(&self) -> &Way {
        self.classifier.way()
    }

    /// What the model expects and what its outputs mean.
    pub fn manifest(&self) -> &Manifest {
        self.classifier.manifest()
    }

    /// Classifies an encoded picture. Takes about a hundred milliseconds of one CPU.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] where the bytes are no picture for us, [`Error::Model`] where the model fails.
    pub fn predict(&self, bytes: &[u8]) -> Result<Predicted, Error> {
        // One picture has all CPUs, those of a batch have one each: so little waits for anything.
        let in_hand = InHand::one_more(&self.in_hand);
        let started = Instant::now();
        let input = self.input(bytes)?;
        let decode = started.elapsed();

        let started = Instant::now();
        let probabilities = self
            .classifier
            .classify(&input, self.cpus / in_hand.all())?;
        Ok(Predicted {
            probabilities,
            decode,
            inference: started.elapsed(),
        })
    }

    /// Decodes a picture and makes it the tensor that the model asks for.
    ///
    /// All threads together decode [`Limits::pixels`] at most at a time: memory has the same bound
    /// whatever a batch holds and however many CPUs there are.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] that says why these bytes are no picture for us. A panic inside a decoder is
    /// caught and is one.
    pub fn input(&self, bytes: &[u8]) -> Result<InputTensor, Rejection> {
        let manifest = self.manifest();
        let (picture, _reserved) = guarded(bytes, || {
            let encoded = Encoded::open(bytes, self.limits)?;
            let reserved = self.budget.reserve(encoded.pixels());
            Ok((encoded.decode(&manifest.input)?, reserved))
        })?;
        Ok(preprocess::tensor(
            &picture,
            &manifest.input,
            &manifest.preprocess,
        ))
    }
}

/// Runs `work` on `bytes`; a panic in it is a fact about them. The panic hook has logged it.
fn guarded<T>(bytes: &[u8], work: impl FnOnce() -> Result<T, Rejection>) -> Result<T, Rejection> {
    // What `work` leaves half done is dropped with it; the budget is given back.
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(Rejection::Damaged {
            format: sniff(bytes)?,
            reason: "the decoder panicked".into(),
        })
    })
}

/// A picture, counted until its end.
struct InHand<'a>(&'a AtomicUsize);

impl<'a> InHand<'a> {
    fn one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }

    /// How many there are, this one among them.
    fn all(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Pixels that may be in memory at once.
struct Budget {
    free: Mutex<u64>,
    freed: Condvar,
}

impl Budget {
    fn new(pixels: u64) -> Self {
        Self {
            free: Mutex::new(pixels),
            freed: Condvar::new(),
        }
    }

    /// Waits until `pixels`, which are not more than all, are free.
    fn reserve(&self, pixels: u64) -> Reserved<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let enough = self.freed.wait_while(free, |free| *free < pixels);
        *enough.unwrap_or_else(PoisonError::into_inner) -= pixels;
        Reserved {
            budget: self,
            pixels,
        }
    }
}

/// Gives its pixels back at its end.
struct Reserved<'a> {
    budget: &'a Budget,
    pixels: u64,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let free = self.budget.free.lock();
        *free.unwrap_or_else(PoisonError::into_inner) += self.pixels;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn a_panic_is_a_rejection_and_gives_its_pixels_back() {
        let budget = Budget::new(10);
        let png = b"\x89PNG\r\n\x1a\n";
        for _ in 0..3 {
            let rejection = guarded::<()>(png, || {
                let _reserved = budget.reserve(10);
                panic!("as a decoder would")
            });
            assert_eq!(
                rejection.unwrap_err().to_string(),
                "the PNG file is damaged: the decoder panicked"
            );
        }
    }

    #[test]
    fn pixels_beyond_the_budget_wait() {
        let budget = Budget::new(10);
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
