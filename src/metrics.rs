//! What CloudWatch counts: after each invocation, lines of its embedded metric format in the log.
//!
//! CloudWatch makes metrics of them by itself: nothing waits for a call, and nothing is lost where one
//! would fail. Dimensions come from closed lists (the function's name and version, the model's labels, the kinds of
//! [`Rejection`](crate::error::Rejection)), never from a key, so there are no more metrics than these.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{
    collections::BTreeMap,
    io::{self, Write},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use crate::outcome::{Outcome, Report};

/// Namespace of all metrics.
pub const NAMESPACE: &str = "MothClassifier";
/// The format takes no more values of one metric in one line.
const MAX_VALUES: usize = 100;

/// Gathers what happens during an invocation.
#[derive(Default)]
pub struct Metrics(Mutex<Gathered>);

/// How long each step of one image took; `None` where it was not reached.
#[derive(Debug, Default)]
pub struct Timings {
    /// Reading the object.
    pub fetch: Option<Duration>,
    /// Decoding, resizing and scaling.
    pub decode: Option<Duration>,
    /// Running the model.
    pub inference: Option<Duration>,
    /// The transaction that counted it, with its repeats.
    pub commit: Option<Duration>,
}

/// Milliseconds, in tenths: that is all a reader needs.
pub fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[derive(Default)]
struct Gathered {
    is_warm: bool,
    steps: BTreeMap<&'static str, Vec<f64>>,
    outcomes: BTreeMap<&'static str, u64>,
    conflicts: u64,
    /// For each class how many were recorded, and the highest count of today.
    classes: BTreeMap<String, (u64, Option<u64>)>,
    rejections: BTreeMap<&'static str, u64>,
}

impl Metrics {
    /// An image has its outcome. `today` is the day in TIME_ZONE, `YYYY-MM-DD`.
    pub fn ended(&self, report: &Report, timings: &Timings, today: &str) {
        let Some(name) = name(report.outcome) else {
            return;
        };
        let mut gathered = self.lock();
        *gathered.outcomes.entry(name).or_default() += 1;
        for (step, duration) in [
            ("Fetch", timings.fetch),
            ("Decode", timings.decode),
            ("Inference", timings.inference),
            ("Commit", timings.commit),
        ] {
            if let Some(duration) = duration {
                gathered.steps.entry(step).or_default().push(ms(duration));
            }
        }
        if let (Outcome::Recorded, Some(class)) = (report.outcome, &report.class_name) {
            let (recorded, count) = gathered.classes.entry(class.clone()).or_default();
            *recorded += 1;
            if report.date.as_deref() == Some(today) {
                *count = (*count).max(report.count);
            }
        }
    }

    /// An object was rejected for a reason of this [kind](crate::error::Rejection::kind).
    pub fn rejected(&self, kind: &'static str) {
        *self.lock().rejections.entry(kind).or_default() += 1;
    }

    /// An object did not get its outcome.
    pub fn failed(&self) {
        *self.lock().outcomes.entry(FAILED).or_default() += 1;
    }

    /// So many attempts at a commit lost to another writer.
    pub fn conflicts(&self, conflicts: u64) {
        self.lock().conflicts += conflicts;
    }

    /// Writes what was gathered of a version of `function` to standard output, which Lambda sends to CloudWatch,
    /// and begins anew.
    pub fn flush(&self, function: &str, version: &str) {
        let gathered = {
            let mut gathered = self.lock();
            let is_warm = true;
            mem::replace(
                &mut *gathered,
                Gathered {
                    is_warm,
                    ..Gathered::default()
                },
            )
        };
        let lines: String = lines(function, version, &gathered, Utc::now())
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        // Where standard output is gone there is nobody to tell.
        let _ = io::stdout().lock().write_all(lines.as_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const RECORDED: &str = "Recorded";
const REJECTED: &str = "Rejected";
const DUPLICATE: &str = "Duplicate";
const FAILED: &str = "Failed";

/// The metric that counts this outcome. A folder marker is no photo: no metric counts it.
fn name(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Recorded => Some(RECORDED),
        Outcome::Rejected => Some(REJECTED),
        Outcome::Duplicate => Some(DUPLICATE),
        Outcome::Failed => Some(FAILED),
        Outcome::Folder => None,
    }
}

/// One line for the function, one for its version, and one for each class and each kind of rejection that
/// occurred.
fn lines(function: &str, version: &str, gathered: &Gathered, now: DateTime<Utc>) -> Vec<Value> {
    let mut whole = Line::new(function, now, None);
    // While two versions share the events, this tells whether the new one rejects what the old one takes.
    let mut of_version = Line::new(function, now, Some(("FunctionVersion", version)));
    for name in [RECORDED, REJECTED, DUPLICATE, FAILED] {
        let count = json!(gathered.outcomes.get(name).copied().unwrap_or_default());
        if let RECORDED | REJECTED = name {
            of_version.metric(name, "Count", count.clone());
        }
        whole.metric(name, "Count", count);
    }
    whole.metric("Conflicts", "Count", json!(gathered.conflicts));
    whole.metric("ColdStart", "Count", json!(u8::from(!gathered.is_warm)));
    for (step, values) in &gathered.steps {
        // A batch of more than that is rare, and the first hundred tell enough.
        let values = &values[..values.len().min(MAX_VALUES)];
        whole.metric(step, "Milliseconds", json!(values));
    }
    let mut lines = vec![whole.finish()];
    if [RECORDED, REJECTED]
        .iter()
        .any(|name| gathered.outcomes.contains_key(name))
    {
        lines.push(of_version.finish());
    }
    for (class, (recorded, count)) in &gathered.classes {
        let mut line = Line::new(function, now, Some(("Class", class)));
        line.metric("Recorded", "Count", json!(recorded));
        if let Some(count) = count {
            line.metric("CountToday", "Count", json!(count));
        }
        lines.push(line.finish());
    }
    for (kind, rejected) in &gathered.rejections {
        let mut line = Line::new(function, now, Some(("Reason", kind)));
        line.metric("Rejected", "Count", json!(rejected));
        lines.push(line.finish());
    }
    lines
}

/// One line of the format, as it grows.
struct Line {
    time: i64,
    dimensions: Vec<&'static str>,
    metrics: Vec<Value>,
    members: Map<String, Value>,
}

impl Line {
    fn new(function: &str, now: DateTime<Utc>, more: Option<(&'static str, &str)>) -> Self {
        let mut members = Map::from_iter([("FunctionName".to_owned(), json!(function))]);
        let mut dimensions = vec!["FunctionName"];
        if let Some((dimension, value)) = more {
            dimensions.push(dimension);
            members.insert(dimension.into(), json!(value));
        }
        Self {
            time: now.timestamp_millis(),
            dimensions,
            metrics: Vec::new(),
            members,
        }
    }

    fn metric(&mut self, name: &str, unit: &str, value: Value) {
        self.metrics.push(json!({"Name": name, "Unit": unit}));
        self.members.insert(name.into(), value);
    }

    fn finish(mut self) -> Value {
        let directive = json!({
            "Namespace": NAMESPACE,
            "Dimensions": [self.dimensions],
            "Metrics": self.metrics,
        });
        let metadata = json!({"Timestamp": self.time, "CloudWatchMetrics": [directive]});
        self.members.insert("_aws".into(), metadata);
        Value::Object(self.members)
    }
}
