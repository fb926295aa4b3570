//! Each object version is counted once, in one class, on one day, whatever happens.

mod concurrency;
mod histories;
mod history;
mod later;
mod storm;

use serde_json::Value;

/// The outcome in the answer to an event of one object.
fn outcome(answer: &Value) -> &Value {
    &crate::support::event::outcome(answer)["outcome"]
}
