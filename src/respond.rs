//! What the function tells the world about an event: its answer, its log lines and its metrics. All of
//! them are functions of the photos' results, and are made once, after the pipeline has run.

mod answer;
mod log;
mod metrics;
mod report;
mod settle;

pub use answer::{Answer, FailedMessage, InvocationError, ResultCode, TaskResult, answer};
pub(crate) use log::{log_failure, log_outcome};
pub use metrics::{Invocation, NAMESPACE, metric_lines};
pub use report::{AnswerError, Report, Word, read_outcomes};
pub use settle::{Settled, SettledPart, settle};
