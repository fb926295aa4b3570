//! UNKNOWN is one class in every place: table, counts, queue, list, export, log and metrics.

use serde_json::{Value, json};

use super::{json, photos, run};
use crate::support::{
    command::stdout,
    item::string,
    photo::COLOR_MODEL,
    stack::{Options, Stack},
};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_agrees_everywhere() {
    let stack = Stack::with(Options {
        variables: &[COLOR_MODEL, ("UNKNOWN_BELOW", "1")],
        ..Options::invoked_by_hand()
    })
    .await;
    let photos = photos(&stack, &["FAW", "AAW", "FAW"]).await;
    // A person knows one of them, and cannot tell one that the model may know.
    json(&stack, &["review", &photos[0].1, "--class", "FAW"]).await;
    json(&stack, &["review", &photos[1].1, "--unknown"]).await;

    let records = stack.records().await;
    assert!(
        records
            .iter()
            .all(|record| string(record, "ClassName") == "UNKNOWN")
    );
    for by in ["night", "date"] {
        let days = json(&stack, &["counts", "--by", by]).await;
        let day = days.iter().find(|day| day["total"] != 0).unwrap();
        assert_eq!(day["classes"], json!({"FAW": 1, "UNKNOWN": 2}), "{by}");
    }
    let listed = json(&stack, &["records", "--class", "UNKNOWN"]).await;
    assert_eq!(listed.len() - 1, 2);
    let queue = json(&stack, &["records", "--order", "leastCertain"]).await;
    assert_eq!(queue[0]["className"], "UNKNOWN");
    assert_eq!(queue[0]["predictedClassName"], "FAW");
    assert_eq!(queue.len() - 1, 1);
    let csv = stdout(&run(&stack, &["export", "--format", "csv"]).await);
    let rows = csv.lines().filter(|row| row.contains(",UNKNOWN,"));
    assert_eq!(rows.count(), 2, "{csv}");
    let training = run(&stack, &["export", "--format", "training"]).await;
    assert_eq!(
        stdout(&training).lines().count(),
        1,
        "an unknown photo has no label"
    );
    let drift = json(&stack, &["drift"]).await;
    assert_eq!(drift[0]["now"]["unknown"], 3, "what the model said");

    let log = stack.stop_and_read_log().await;
    let of_photos: Vec<&Value> = log
        .iter()
        .filter(|line| line["message"] == "photo")
        .collect();
    assert_eq!(of_photos.len(), 3);
    assert!(
        of_photos.iter().all(|line| line["class"] == "UNKNOWN"),
        "{of_photos:?}"
    );
    let counted: Vec<&Value> = log.iter().filter(|line| !line["Class"].is_null()).collect();
    assert_eq!(counted.len(), 3);
    assert!(
        counted.iter().all(|line| line["Class"] == "UNKNOWN"),
        "{counted:?}"
    );
}
