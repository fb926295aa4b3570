//! Back-off until a deadline.

use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::error::{Error, Source};

/// Time kept back at the end of an invocation, to report what was not done.
const REPORT_MARGIN: Duration = Duration::from_millis(500);
/// First and largest pause. Full jitter draws each pause evenly between 0 and a bound that doubles:
/// <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>
const FIRST_BOUND: Duration = Duration::from_millis(25);
const LAST_BOUND: Duration = Duration::from_secs(2);

/// When an invocation must have answered.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Instant);

impl Deadline {
    /// The point `remaining` from now, less a margin for the report.
    pub fn after(remaining: Duration) -> Self {
        Self(Instant::now() + remaining.saturating_sub(REPORT_MARGIN))
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

    /// Waits before another attempt, after one that failed with `source`.
    ///
    /// # Errors
    ///
    /// [`Error::Deadline`] where the pause would reach past the deadline.
    pub async fn pause(&mut self, source: Option<Source>) -> Result<(), Error> {
        let bound = FIRST_BOUND
            .saturating_mul(1 << self.attempts.min(16))
            .min(LAST_BOUND);
        let pause = bound.mul_f64(random_fraction());
        self.attempts += 1;
        if Instant::now() + pause >= self.deadline.0 {
            return Err(Error::Deadline {
                action: self.action,
                attempts: self.attempts,
                source,
            });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Evenly from 0 up to 1: the 53 bits of a double's mantissa out of a random UUID's low half.
fn random_fraction() -> f64 {
    let bits = Uuid::new_v4().as_u128() as u64 & ((1 << 53) - 1);
    bits as f64 / (1u64 << 53) as f64
}
