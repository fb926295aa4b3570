//! What the function tells the world about an event: its answer, its log lines and its metrics. All of
//! them are functions of the photos' results, and are made once, after the pipeline has run.

mod answer;
mod log;
mod metrics;
mod report;
mod settle;

pub(crate) use answer::{Answer, InvocationError, answer};
pub(crate) use log::{log_failure, log_outcome};
pub(crate) use metrics::{Invocation, metric_lines};
pub(crate) use report::{AnswerError, Report, read_outcomes};
pub(crate) use settle::{Settled, SettledPart, settle};
