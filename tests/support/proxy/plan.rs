//! The faults that a proxy is going to inject.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;

use super::{fault::Fault, request::Request};

#[derive(Default)]
pub(super) struct Plan {
    next: Vec<Next>,
    chance: Option<Chance>,
    /// Time to the service and back.
    pub(super) latency: Duration,
    /// Whether transactions ask what they consume.
    pub(super) measures_capacity: bool,
    /// The Last-Modified of objects, by key, in place of the service's own.
    pub(super) dates: BTreeMap<String, String>,
}

/// A fault of the next calls of an operation.
struct Next {
    operation: String,
    fault: Fault,
    /// Calls that are still to fail.
    left: usize,
}

/// Faults at random.
struct Chance {
    /// One call in this number fails.
    calls: u64,
    faults: Vec<Fault>,
    random: Rng,
}

impl Plan {
    pub(super) fn next(&mut self, operation: &str, fault: Fault, count: usize) {
        self.next.push(Next {
            operation: operation.to_owned(),
            fault,
            left: count,
        });
    }

    pub(super) fn by_chance(&mut self, calls: u64, faults: &[Fault], seed: u64) {
        self.chance = Some(Chance {
            calls,
            faults: faults.to_vec(),
            random: Rng::with_seed(seed),
        });
    }

    pub(super) fn heal(&mut self) {
        self.next.clear();
        self.chance = None;
    }

    /// Draws the fault of a call of `operation`. Planned faults come before random ones.
    pub(super) fn draw(&mut self, operation: &str) -> Option<Fault> {
        let mut planned = self.next.iter_mut();
        if let Some(next) = planned.find(|next| next.operation == operation && next.left > 0) {
            next.left -= 1;
            return Some(next.fault);
        }
        let chance = self.chance.as_mut()?;
        if chance.random.u64(..chance.calls) > 0 {
            return None;
        }
        let fault = chance.faults[chance.random.usize(..chance.faults.len())];
        Some(fault).filter(|fault| fault.happens_to(operation))
    }

    /// The Last-Modified that the answer to `request` is to have, if not the service's own.
    pub(super) fn date_of(&self, request: &Request) -> Option<String> {
        self.dates.get(request.key()?).cloned()
    }
}
