//! Metrics: after each invocation, log lines in CloudWatch's embedded metric format.
//!
//! CloudWatch extracts the metrics from the log: no API call is needed. Dimensions come from
//! closed lists (the function's name and version, the model's labels, the kinds of
//! [`Rejection`](crate::photo::Rejection)), never from a key, so the number of metrics is bounded.
//!
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::{Map, Value, json};

use super::settle::{Settled, SettledPart};
use crate::outcome::{Outcome, Timings};

/// Namespace of all metrics.
pub(crate) const NAMESPACE: &str = "MothClassifier";
/// Maximum number of values of one metric in one line.
const MAX_VALUES: usize = 100;

/// Kind of rejection of an archived object version.
const ARCHIVED: &str = "Archived";

/// One invocation, apart from its photos.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invocation<'a> {
    /// Name of the function.
    pub function: &'a str,
    /// Version of the function.
    pub version: &'a str,
    /// Whether this is the first invocation of the function instance.
    pub is_cold: bool,
    /// Number of commit attempts that lost to another writer.
    pub conflicts: u64,
    /// Today's date in TIME_ZONE.
    pub today: NaiveDate,
    /// The time of the metrics.
    pub now: DateTime<Utc>,
}

/// A duration in milliseconds, rounded to tenths.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

const RECORDED: &str = "Recorded";
const REJECTED: &str = "Rejected";
const DUPLICATE: &str = "Duplicate";
const FAILED: &str = "Failed";

/// Sums over the photos of an invocation.
#[derive(Default)]
struct Sums {
    stages: BTreeMap<&'static str, Vec<f64>>,
    outcomes: BTreeMap<&'static str, u64>,
    /// For each class: the number recorded, and today's highest ordinal.
    classes: BTreeMap<String, (u64, Option<u64>)>,
    rejections: BTreeMap<&'static str, u64>,
}

impl Sums {
    fn of(parts: &[SettledPart], today: NaiveDate) -> Self {
        let mut sums = Self::default();
        for record in parts.iter().flat_map(|part| &part.records) {
            match record {
                Settled::Ended {
                    outcome, timings, ..
                } => sums.add(outcome, timings, today),
                Settled::Failed { .. } => sums.count(FAILED),
            }
        }
        sums
    }

    fn count(&mut self, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    fn add(&mut self, outcome: &Outcome, timings: &Timings, today: NaiveDate) {
        match outcome {
            Outcome::Recorded {
                class, date, count, ..
            } => {
                self.count(RECORDED);
                let (recorded, highest) = self.classes.entry(class.to_string()).or_default();
                *recorded += 1;
                if *date == today {
                    *highest = (*highest).max(Some(*count));
                }
            }
            Outcome::Rejected { rejection, .. } => self.reject(rejection.kind()),
            Outcome::Archived => self.reject(ARCHIVED),
            Outcome::Duplicate(_) => self.count(DUPLICATE),
            // A folder marker is no photo: no metric counts it.
            Outcome::Folder => return,
        }
        for (stage, duration) in [
            ("Fetch", timings.fetch),
            ("Decode", timings.decode),
            ("Inference", timings.inference),
            ("Commit", timings.commit),
        ] {
            if let Some(duration) = duration {
                self.stages
                    .entry(stage)
                    .or_default()
                    .push(milliseconds(duration));
            }
        }
    }

    fn reject(&mut self, kind: &'static str) {
        self.count(REJECTED);
        *self.rejections.entry(kind).or_default() += 1;
    }
}

/// The metrics of an invocation: a line for the function, one for its version, and one for each class and
/// each kind of rejection that occurred.
pub(crate) fn metric_lines(invocation: &Invocation<'_>, parts: &[SettledPart]) -> Vec<Value> {
    let &Invocation {
        function,
        version,
        is_cold,
        conflicts,
        today,
        now,
    } = invocation;
    let sums = Sums::of(parts, today);
    let mut whole = Line::new(function, now, None);
    // During a canary deployment two versions share the events. This line tells whether the new version rejects
    // photos that the old one accepts.
    let mut of_version = Line::new(function, now, Some(("FunctionVersion", version)));
    for name in [RECORDED, REJECTED, DUPLICATE, FAILED] {
        let count = json!(sums.outcomes.get(name).copied().unwrap_or(0));
        if let RECORDED | REJECTED = name {
            of_version.metric(name, "Count", count.clone());
        }
        whole.metric(name, "Count", count);
    }
    whole.metric("Conflicts", "Count", json!(conflicts));
    whole.metric("ColdStart", "Count", json!(u8::from(is_cold)));
    for (stage, values) in &sums.stages {
        // Larger batches are rare, and the first hundred values are a sample of the batch.
        let values = &values[..values.len().min(MAX_VALUES)];
        whole.metric(stage, "Milliseconds", json!(values));
    }
    let mut lines = vec![whole.finish()];
    if [RECORDED, REJECTED]
        .iter()
        .any(|name| sums.outcomes.contains_key(name))
    {
        lines.push(of_version.finish());
    }
    for (class, (recorded, highest)) in &sums.classes {
        let mut line = Line::new(function, now, Some(("Class", class)));
        line.metric("Recorded", "Count", json!(recorded));
        if let Some(highest) = highest {
            line.metric("CountToday", "Count", json!(highest));
        }
        lines.push(line.finish());
    }
    for (kind, rejected) in &sums.rejections {
        let mut line = Line::new(function, now, Some(("Reason", kind)));
        line.metric("Rejected", "Count", json!(rejected));
        lines.push(line.finish());
    }
    lines
}

/// The metrics of an HTTP request: a line for the function, and one for the route.
pub(crate) fn http_metric_lines(
    function: &str,
    route: &str,
    status: u16,
    duration: Duration,
    now: DateTime<Utc>,
) -> [Value; 2] {
    [None, Some(("Route", route))].map(|dimension| {
        let mut line = Line::new(function, now, dimension);
        line.metric("Requests", "Count", json!(1));
        line.metric("Latency", "Milliseconds", json!(milliseconds(duration)));
        line.metric(
            "4xx",
            "Count",
            json!(u8::from((400..500).contains(&status))),
        );
        line.metric("5xx", "Count", json!(u8::from(status >= 500)));
        line.finish()
    })
}

/// One line of the embedded metric format.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Error,
        event::{Event, Part, Source},
        model::Label,
        object::{ObjectCreated, ObjectVersion},
        outcome::Processed,
        photo::Rejection,
        respond::settle,
    };

    fn invocation() -> Invocation<'static> {
        Invocation {
            function: "moths",
            version: "7",
            is_cold: true,
            conflicts: 3,
            today: "2026-11-20".parse().unwrap(),
            now: DateTime::from_timestamp(1, 0).unwrap(),
        }
    }

    /// Metric lines of an invocation with these results, without `_aws`.
    fn lines(results: Vec<Result<Outcome, Error>>) -> Vec<Value> {
        let object = ObjectVersion {
            bucket: "moths".into(),
            key: "a.jpg".into(),
            version: None,
        };
        let created = ObjectCreated::new(object.clone(), "r".into(), None);
        let event = Event {
            source: Source::Notification,
            parts: vec![Part {
                id: String::new(),
                records: vec![Ok(created.clone()); results.len()],
            }],
        };
        let photos = results.into_iter().map(|result| Processed {
            created: created.clone(),
            object: object.clone(),
            result: result.map_err(Into::into),
            timings: Timings {
                fetch: Some(Duration::from_micros(1250)),
                ..Timings::default()
            },
        });
        let (_, parts) = settle(event, photos.collect());
        let mut lines = metric_lines(&invocation(), &parts);
        for line in &mut lines {
            let metadata = line.as_object_mut().unwrap().remove("_aws").unwrap();
            let declared = metadata["CloudWatchMetrics"][0]["Metrics"]
                .as_array()
                .unwrap();
            let dimensions = metadata["CloudWatchMetrics"][0]["Dimensions"][0]
                .as_array()
                .unwrap();
            assert_eq!(
                declared.len() + dimensions.len(),
                line.as_object().unwrap().len()
            );
        }
        lines
    }

    fn recorded(date: &str, count: u64) -> Outcome {
        Outcome::Recorded {
            class: Label::try_from("FAW".to_owned()).unwrap(),
            probability: 0.5,
            date: date.parse().unwrap(),
            count,
        }
    }

    #[test]
    fn every_outcome_is_counted() {
        let rejected = Outcome::Rejected {
            rejection: Rejection::NotAPhoto,
            date: None,
        };
        let lines = lines(vec![
            Ok(recorded("2026-11-20", 4)),
            Ok(recorded("2026-11-20", 3)),
            Ok(recorded("2026-11-19", 90)),
            Ok(rejected.clone()),
            Ok(rejected.of_repeat()),
            Ok(Outcome::Archived),
            Ok(Outcome::Folder),
            Err(Error::Model("any".into())),
        ]);
        assert_eq!(
            lines,
            [
                json!({
                    "FunctionName": "moths", "Recorded": 3, "Rejected": 2, "Duplicate": 1, "Failed": 1,
                    "Conflicts": 3, "ColdStart": 1, "Fetch": [1.3, 1.3, 1.3, 1.3, 1.3, 1.3],
                }),
                json!({
                    "FunctionName": "moths", "FunctionVersion": "7", "Recorded": 3, "Rejected": 2,
                }),
                json!({"FunctionName": "moths", "Class": "FAW", "Recorded": 3, "CountToday": 4}),
                json!({"FunctionName": "moths", "Reason": "Archived", "Rejected": 1}),
                json!({"FunctionName": "moths", "Reason": "NotAPicture", "Rejected": 1}),
            ]
        );
    }

    #[test]
    fn an_invocation_without_photos_counts_nothing() {
        assert_eq!(
            lines(Vec::new()),
            [json!({
                "FunctionName": "moths", "Recorded": 0, "Rejected": 0, "Duplicate": 0, "Failed": 0,
                "Conflicts": 3, "ColdStart": 1,
            })]
        );
    }

    #[test]
    fn a_request_counts_for_the_function_and_for_its_route() {
        let now = DateTime::from_timestamp(1, 0).unwrap();
        let lines = http_metric_lines(
            "moths-api",
            "/v1/counts",
            503,
            Duration::from_micros(1_250),
            now,
        );
        assert_eq!(lines[0]["FunctionName"], "moths-api");
        assert_eq!(lines[0].get("Route"), None);
        assert_eq!(lines[1]["Route"], "/v1/counts");
        for line in lines {
            let values = ["Requests", "Latency", "4xx", "5xx"].map(|name| line[name].clone());
            assert_eq!(values, [json!(1), json!(1.3), json!(0), json!(1)]);
        }
    }

    #[test]
    fn a_line_has_at_most_a_hundred_values_of_a_metric() {
        let lines = lines((0..150).map(|_| Ok(recorded("2026-11-19", 1))).collect());
        assert_eq!(lines[0]["Recorded"], 150);
        assert_eq!(lines[0]["Fetch"].as_array().unwrap().len(), MAX_VALUES);
    }
}
