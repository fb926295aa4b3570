//! Output for an event: answer, log lines and metrics. All of them are functions of the photos' results, and are
//! made once, after the pipeline has run. So the log has the photos in the order of the event.

mod answer;
mod log;
mod metrics;
#[cfg(any(feature = "local", feature = "stack"))]
mod read_outcomes;
mod report;
mod settle;

pub(crate) use answer::{Answer, InvocationError, answer};
pub(crate) use log::{log_failure, log_outcome};
pub(crate) use metrics::{Invocation, http_metric_lines, metric_lines, milliseconds};
#[cfg(feature = "stack")]
pub(crate) use read_outcomes::AnswerError;
#[cfg(any(feature = "local", feature = "stack"))]
pub(crate) use read_outcomes::read_outcomes;
#[cfg(any(feature = "local", feature = "stack"))]
pub(crate) use report::Report;
pub(crate) use settle::{Settled, SettledPart, settle};
