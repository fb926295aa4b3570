//! Retries with exponential back-off and full jitter until a deadline.

use std::time::{Duration, Instant};

use tracing::debug;

use crate::error::{Error, Source, chain};

/// Time reserved at the end of an invocation for the report of failures.
const REPORT_MARGIN: Duration = Duration::from_millis(500);
/// Time reserved for commits: several attempts under contention, or one that times out and another.
const COMMIT_RESERVE: Duration = Duration::from_secs(8);
/// First and largest bound of a pause. Full jitter draws each pause uniformly between 0 and a bound that
/// doubles with each attempt:
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
const FIRST_BOUND: Duration = Duration::from_millis(50);
const LAST_BOUND: Duration = Duration::from_secs(1);

/// The time by which an invocation must have answered.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// `remaining` from now, less a margin for the report.
    pub fn after(remaining: Duration) -> Self {
        Self(Instant::now() + remaining.saturating_sub(REPORT_MARGIN))
    }

    /// Deadline of classification. It leaves time to commit the predictions.
    pub fn before_commit(self) -> Self {
        let left = self.0.saturating_duration_since(Instant::now());
        let reserve = COMMIT_RESERVE.min(left / 4);
        Self(self.0 - reserve)
    }

    /// Runs `work`, at most until the deadline. `action` names it in the error, as in "classify the photo".
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] if it does not end in time.
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

/// The attempts at one action, and the pauses between them.
#[derive(Debug)]
pub struct Backoff {
    action: &'static str,
    deadline: Deadline,
    attempts: u32,
    /// The failure of the last attempt.
    last: Option<Source>,
}

impl Backoff {
    /// Attempts until `deadline`. `action` is named in errors, as in "read the object".
    pub fn new(action: &'static str, deadline: Deadline) -> Self {
        Self {
            action,
            deadline,
            attempts: 0,
            last: None,
        }
    }

    /// Makes one attempt, which ends at the deadline at the latest.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] if it does not end in time. Its effect is then unknown.
    pub async fn attempt<T>(&mut self, attempt: impl Future<Output = T>) -> Result<T, Error> {
        self.attempts += 1;
        tokio::time::timeout_at(self.deadline.0.into(), attempt)
            .await
            .map_err(|_| self.expired())
    }

    /// Waits before another attempt, after one that failed with `source`. Logs one `debug` line.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] if the pause would end after the deadline.
    pub async fn pause(&mut self, source: impl Into<Source>) -> Result<(), Error> {
        let source = source.into();
        let pause = bound(self.attempts).mul_f64(fastrand::f64());
        if Instant::now() + pause >= self.deadline.0 {
            self.last = Some(source);
            return Err(self.expired());
        }
        debug!(
            action = self.action,
            attempt = self.attempts,
            pause_ms = pause.as_millis() as u64,
            reason = chain(source.as_ref()),
            "retry"
        );
        self.last = Some(source);
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The error of the deadline, with the failure of the last attempt that ended.
    fn expired(&mut self) -> Error {
        Error::Deadline {
            action: self.action,
            attempts: self.attempts,
            source: self.last.take(),
        }
    }
}

/// Upper bound of the pause after `attempts` attempts.
fn bound(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_BOUND.saturating_mul(1 << doublings).min(LAST_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_double_up_to_the_last() {
        let bounds: Vec<u128> = (1..=7)
            .map(|attempts| bound(attempts).as_millis())
            .collect();
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(bound(u32::MAX), LAST_BOUND);
    }

    #[tokio::test]
    async fn a_pause_past_the_deadline_is_an_error_with_the_last_failure() {
        let mut backoff = Backoff::new("read the object", Deadline::after(Duration::ZERO));
        let attempt = backoff.attempt(std::future::pending::<()>()).await;
        assert!(matches!(
            attempt.unwrap_err(),
            Error::Deadline {
                attempts: 1,
                source: None,
                ..
            }
        ));
        let pause = backoff.pause("connection reset").await;
        assert_eq!(
            chain(&pause.unwrap_err()),
            "no time left after 1 attempts to read the object: connection reset"
        );
    }

    #[test]
    fn time_for_commits_is_reserved() {
        let long = Deadline::after(Duration::from_secs(60));
        assert_eq!(long.0 - long.before_commit().0, COMMIT_RESERVE);
        let short = Deadline::after(Duration::from_secs(4));
        let reserve = short.0 - short.before_commit().0;
        assert!((Duration::from_millis(800)..Duration::from_secs(1)).contains(&reserve));
    }
}
