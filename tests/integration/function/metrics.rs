//! The metrics in the log.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{
    event::{event, queue_event},
    photo::photo,
    stack::{BUCKET, Options, Stack},
};

/// The metrics of one log line.
struct Metrics {
    /// Values of the dimensions, joined by a slash.
    dimensions: String,
    values: BTreeMap<String, Value>,
}

impl Metrics {
    /// Reads a log line, and checks that it keeps to CloudWatch's embedded metric format:
    /// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>.
    fn read(line: &Value) -> Self {
        assert!(line["_aws"]["Timestamp"].is_u64(), "{line}");
        let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
        assert_eq!(directives.len(), 1);
        assert_eq!(directives[0]["Namespace"], "MothClassifier");
        let sets = directives[0]["Dimensions"].as_array().unwrap();
        assert_eq!(sets.len(), 1);
        let dimensions = sets[0].as_array().unwrap().iter();
        let dimensions = dimensions.map(|name| line[name.as_str().unwrap()].as_str().unwrap());
        let metrics = directives[0]["Metrics"].as_array().unwrap().iter();
        let metrics = metrics.map(|metric| {
            assert!(["Count", "Milliseconds"].contains(&metric["Unit"].as_str().unwrap()));
            let name = metric["Name"].as_str().unwrap();
            let values = match &line[name] {
                Value::Array(values) => values.as_slice(),
                value => std::slice::from_ref(value),
            };
            assert!(!values.is_empty() && values.len() <= 100);
            assert!(values.iter().all(Value::is_number), "{line}");
            (name.to_owned(), line[name].clone())
        });
        Self {
            dimensions: dimensions.collect::<Vec<_>>().join("/"),
            values: metrics.collect(),
        }
    }

    fn counts(&self, names: &[&str]) -> Vec<u64> {
        let values = names.iter().map(|name| &self.values[*name]);
        values.map(|value| value.as_u64().unwrap()).collect()
    }
}

#[tokio::test]
async fn metrics_are_embedded_in_the_log() {
    let stack = Stack::with(Options {
        processes: 1,
        ..Options::invoked_by_hand()
    })
    .await;
    let mut messages = Vec::new();
    for (key, bytes) in [
        ("1.png", photo("FAW")),
        ("2.png", photo("FAW")),
        ("3.png", photo("AAW")),
        ("4.png", b"%PDF-".to_vec()),
    ] {
        let version = stack.upload(key, bytes).await;
        messages.push((key.to_owned(), event(&[(BUCKET, key, Some(&version))])));
    }
    messages.push(("lost".into(), event(&[("no-such-bucket", "a", None)])));
    messages.push(("odd".into(), json!({"hello": "world"})));
    for _ in 0..2 {
        stack.invoke(&queue_event(&messages)).await.unwrap();
    }
    let lines = stack.stop_and_read_log().await;
    let lines = lines.iter().filter(|line| line.get("_aws").is_some());
    let lines: Vec<Metrics> = lines.map(Metrics::read).collect();
    let dimensions: Vec<&str> = lines.iter().map(|line| line.dimensions.as_str()).collect();
    let function = "moth-classifier";
    assert_eq!(
        dimensions,
        [
            function,
            "moth-classifier/$LATEST",
            "moth-classifier/AAW",
            "moth-classifier/FAW",
            "moth-classifier/Unsupported",
            function
        ]
    );
    let outcomes = [
        "Recorded",
        "Rejected",
        "Duplicate",
        "Failed",
        "Conflicts",
        "ColdStart",
    ];
    assert_eq!(lines[0].counts(&outcomes), [3, 1, 0, 2, 0, 1]);
    assert_eq!(lines[1].counts(&["Recorded", "Rejected"]), [3, 1]);
    assert_eq!(lines[2].counts(&["Recorded", "CountToday"]), [1, 1]);
    assert_eq!(lines[3].counts(&["Recorded", "CountToday"]), [2, 2]);
    assert_eq!(lines[4].counts(&["Rejected"]), [1]);
    assert_eq!(lines[5].counts(&outcomes), [0, 0, 4, 2, 0, 0]);
    for (step, values) in [("Fetch", 4), ("Decode", 3), ("Inference", 3), ("Commit", 3)] {
        assert_eq!(
            lines[0].values[step].as_array().unwrap().len(),
            values,
            "{step}"
        );
        assert!(!lines[5].values.contains_key(step));
    }
}
