//! Predictions that wait for their commit.

use std::{sync::Arc, time::Duration};

use super::Progress;
use crate::{
    error::Error,
    ledger::Written,
    outcome::{Outcome, Timings},
    prediction::Prediction,
};

/// A prediction that waits for its commit.
pub(super) struct Member {
    /// Position in the batch.
    pub(super) index: usize,
    pub(super) prediction: Box<Prediction>,
    pub(super) timings: Timings,
}

/// Position in the batch, progress, and result of a committed prediction.
pub(super) type Committed = (usize, Progress, Result<Outcome, Arc<Error>>);

impl Member {
    pub(super) fn committed(
        self,
        result: Result<Written<u64>, Arc<Error>>,
        elapsed: Duration,
    ) -> Committed {
        let prediction = *self.prediction;
        let outcome = result.map(|written| match written {
            Written::Now(count) => Outcome::Recorded {
                class: prediction.class().clone(),
                probability: prediction.probability(),
                date: prediction.date(),
                count,
            },
            Written::Before(entry) => Outcome::Duplicate(entry),
        });
        let progress = Progress {
            object: prediction.created.object,
            timings: Timings {
                commit: Some(elapsed),
                ..self.timings
            },
        };
        (self.index, progress, outcome)
    }
}

/// Splits `members` into groups of at most `size`.
pub(super) fn groups_of(mut members: Vec<Member>, size: usize) -> Vec<Vec<Member>> {
    let mut groups = Vec::new();
    while members.len() > size {
        let rest = members.split_off(size);
        groups.push(std::mem::replace(&mut members, rest));
    }
    groups.push(members);
    groups
}
