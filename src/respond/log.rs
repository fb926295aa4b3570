//! Log lines: one for each photo. On AWS they are JSON in CloudWatch Logs.

use tracing::{error, info};

use super::{metrics::milliseconds, report::Report};
use crate::{
    object::{Escaped, ObjectVersion},
    outcome::{Outcome, Timings},
};

/// Logs the `outcome` of a photo.
pub(crate) fn log_outcome(object: &ObjectVersion, outcome: &Outcome, timings: &Timings) {
    let report = Report::new(object, outcome);
    info!(
        outcome = report.outcome.as_str(),
        bucket = object.bucket,
        // JSON leaves characters unescaped that a terminal interprets.
        key = %Escaped(&report.key),
        version = report.version_id,
        class = report.class_name,
        probability = report.probability,
        date = report.date,
        count = report.count,
        reason = report.reason,
        fetch_ms = timings.fetch.map(milliseconds),
        decode_ms = timings.decode.map(milliseconds),
        inference_ms = timings.inference.map(milliseconds),
        commit_ms = timings.commit.map(milliseconds),
        "photo"
    );
}

/// Logs why a photo has no outcome. `code` is stable, `reason` is for people and names the photo.
pub(crate) fn log_failure(code: &str, reason: &str) {
    error!(code, reason, "failed");
}
