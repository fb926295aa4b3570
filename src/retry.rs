//! Back-off until a deadline.

use std::time::{Duration, Instant};

use crate::error::{Error, Source};

/// Time kept back at the end of an invocation, to report what was not done.
const REPORT_MARGIN: Duration = Duration::from_millis(500);
/// Time kept back for commits: some attempts under contention, or one that times out and another.
const COMMIT_RESERVE: Duration = Duration::from_secs(8);
/// First and largest pause. Full jitter draws each pause evenly between 0 and a bound that doubles:
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
const FIRST_BOUND: Duration = Duration::from_millis(50);
const LAST_BOUND: Duration = Duration::from_secs(1);

/// When an invocation must have answered.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The point `remaining` from now, less a margin for the report.
    pub fn after(remaining: Duration) -> Self {
        Self(Instant::now() + remaining.saturating_sub(REPORT_MARGIN))
    }

    /// When work on new predictions ends, so that those there are can still be committed.
    pub fn before_commit(self) -> Self {
        let left = self.0.saturating_duration_since(Instant::now());
        let reserve = COMMIT_RESERVE.min(left / 4);
        Self(self.0 - reserve)
    }

    /// Runs `work`, as in "classify the picture", until the deadline and no longer.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] where it did not end in time.
    pub async fn bound<T>(
        self,
        action: &'static str,
        work: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let expired = |_| Error::Deadline {
            action,
            attempts: 1,
            source: None,
        };
        tokio::time::timeout_at(self.0.into(), work)
            .await
            .map_err(expired)
    }
}

/// The pauses between the attempts at one thing.
#[derive(Debug)]
pub struct Backoff {
    action: &'static str,
    deadline: Deadline,
    attempts: u32,
}

impl Backoff {
    /// Attempts at `action`, as in "read the object", until `deadline`.
    pub fn new(action: &'static str, deadline: Deadline) -> Self {
        Self {
            action,
            deadline,
            attempts: 0,
        }
    }

    /// Makes one attempt, which ends at the deadline at the latest.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] where it did not end in time: what it was to do may be done or not.
    pub async fn attempt<T>(&mut self, attempt: impl Future<Output = T>) -> Result<T, Error> {
        self.attempts += 1;
        tokio::time::timeout_at(self.deadline.0.into(), attempt)
            .await
            .map_err(|_| self.expired(None))
    }

    /// Waits before another attempt, after one that failed with `source`.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] where the pause would reach past the deadline.
    pub async fn pause(&mut self, source: impl Into<Source>) -> Result<(), Error> {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let bound = FIRST_BOUND.saturating_mul(1 << doublings).min(LAST_BOUND);
        let pause = bound.mul_f64(fastrand::f64());
        if Instant::now() + pause >= self.deadline.0 {
            return Err(self.expired(Some(source.into())));
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    fn expired(&self, source: Option<Source>) -> Error {
        Error::Deadline {
            action: self.action,
            attempts: self.attempts,
            source,
        }
    }
}
