//! Review, withdrawal, deletion and restore.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{json, photos, rejected_photo, run};
use crate::support::{
    command::{json_lines, stderr},
    event::outcome,
    item::string,
    promise::deliver,
    reviews,
    stack::{Options, Stack},
};

/// The counts of today's only date with records.
async fn counts(stack: &Stack) -> Value {
    let days = json(stack, &["counts", "--by", "date"]).await;
    let mut days = days.into_iter().filter(|day| day["total"] != 0);
    let day = days.next().unwrap_or(json!({"classes": {}}));
    assert_eq!(days.next(), None);
    day["classes"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_goes_through_the_hands_of_people() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "FAW", "AAW"]).await;
    let (version, id) = &photos[0];
    assert_eq!(counts(&stack).await, json!({"AAW": 1, "FAW": 2}));

    json(&stack, &["review", id, "--class", "ECLW", "--note", "wing"]).await;
    assert_eq!(counts(&stack).await, json!({"AAW": 1, "ECLW": 1, "FAW": 1}));
    json(&stack, &["review", id, "--not-a-moth"]).await;
    assert_eq!(
        counts(&stack).await,
        json!({"AAW": 1, "FAW": 1, "NOT_A_MOTH": 1})
    );
    json(
        &stack,
        &["review", id, "--unknown", "--by", "Ben", "--revision", "2"],
    )
    .await;
    assert_eq!(
        counts(&stack).await,
        json!({"AAW": 1, "FAW": 1, "UNKNOWN": 1})
    );
    json(&stack, &["delete", id, "--revision", "3"]).await;
    assert_eq!(counts(&stack).await, json!({"AAW": 1, "FAW": 1}));

    // A later delivery finds the deletion, and counts nothing.
    let answer = deliver(&stack, version).await.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "duplicate");
    assert_eq!(outcome(&answer)["reason"], "its record was deleted");
    assert_eq!(counts(&stack).await, json!({"AAW": 1, "FAW": 1}));
    assert_eq!(stack.records().await.len(), 2);

    let deleted = json(&stack, &["records", "--deleted"]).await;
    assert_eq!(deleted.len(), 1);
    assert_eq!(deleted[0]["id"], id.as_str());
    assert_eq!(deleted[0]["className"], "UNKNOWN");
    json(&stack, &["restore", &format!("FAW-{id}")]).await;
    assert!(json(&stack, &["records", "--deleted"]).await.is_empty());
    assert_eq!(
        counts(&stack).await,
        json!({"AAW": 1, "FAW": 1, "UNKNOWN": 1})
    );
    let changed = json(&stack, &["review", id, "--withdraw", "--revision", "5"]).await;
    assert_eq!(changed[0]["record"]["className"], "FAW");
    assert_eq!(changed[0]["record"]["revision"], 6);
    assert_eq!(counts(&stack).await, json!({"AAW": 1, "FAW": 2}));

    let shown = json(&stack, &["records", id]).await;
    let history = shown[0]["history"].as_array().unwrap();
    let said = history.iter().map(|entry| {
        [&entry["kind"], &entry["className"], &entry["by"]].map(|text| text.as_str().unwrap())
    });
    assert_eq!(
        said.collect::<Vec<_>>(),
        [
            ["relabelled", "ECLW", "Ada"],
            ["relabelled", "NOT_A_MOTH", "Ada"],
            ["unknown", "UNKNOWN", "Ben"],
            ["deleted", "UNKNOWN", "Ada"],
            ["restored", "UNKNOWN", "Ada"],
            ["withdrawn", "FAW", "Ada"],
        ]
    );
    assert_eq!(history[0]["note"], "wing");
    let classes = photos.iter().zip(["FAW", "FAW", "AAW"]);
    let classes: BTreeMap<String, &str> = classes
        .map(|((_, id), class)| (id.clone(), class))
        .collect();
    reviews::check(&stack, &classes).await;
    assert!(run(&stack, &["audit"]).await.status.success());
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_made_says_why() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "AAW"]).await;
    let (id, other) = (&photos[0].1, &photos[1].1);
    json(&stack, &["review", id, "--confirm", "--by", "Ben"]).await;
    json(&stack, &["delete", other, "--by", "Ben"]).await;
    let nobody = uuid::Uuid::nil().to_string();
    for (arguments, reason) in [
        // Somebody else was faster.
        (
            &["review", id, "--confirm", "--revision", "0"][..],
            "Ben changed the record",
        ),
        (
            &["review", id, "--confirm", "--revision", "7"],
            "has revision 1, not 7",
        ),
        (&["restore", id], "is not deleted"),
        (&["delete", other], "Ben deleted the record"),
        (&["review", other, "--withdraw"], "Ben deleted the record"),
        (
            &["review", other, "--confirm", "--revision", "0"],
            "(deleted AAW): look at it",
        ),
        // Nobody overwrites a review that they have not seen.
        (
            &["review", id, "--class", "AAW"],
            "(confirmed FAW): look at it",
        ),
        (&["delete", id], "Ben changed the record"),
        (&["delete", &nobody], "there is no record"),
    ] {
        let output = run(&stack, &[arguments, &["--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let lines = json_lines(&output);
        assert_eq!(lines[0]["changed"], false);
        let said = lines[0]["reason"].as_str().unwrap();
        assert!(said.contains(reason), "{arguments:?}: {said}");
    }
    // One failure does not keep the other record from being changed.
    let output = run(
        &stack,
        &["review", &nobody, id, "--withdraw", "--revision", "1"],
    )
    .await;
    assert_eq!(output.status.code(), Some(1));
    let shown = json(&stack, &["records", id]).await;
    assert_eq!(shown[0]["reviewStatus"], Value::Null);
    let output = run(&stack, &["review", id, "--withdraw"]).await;
    assert!(stderr(&output).contains("has no review"), "{output:?}");
    let output = run(&stack, &["review", id, "--class", "FWA"]).await;
    assert!(stderr(&output).contains("AAW, ECLW, FAW"), "{output:?}");
    json(
        &stack,
        &["review", id, "--class", "S. litura", "--new-class"],
    )
    .await;
    assert_eq!(counts(&stack).await, json!({"S. litura": 1}));
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_asked_for_twice_is_made_once() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW"]).await;
    let id = &photos[0].1;
    let revision = async |arguments: &[&str]| {
        let changed = json(&stack, arguments).await;
        changed[0]["record"]["revision"].as_u64().unwrap()
    };
    for _ in 0..2 {
        assert_eq!(revision(&["review", id, "--class", "AAW"]).await, 1);
    }
    // A client that lost the response repeats its call with the revision that it had seen.
    for _ in 0..2 {
        let arguments = [
            "review",
            id,
            "--confirm",
            "--note",
            "sure",
            "--revision",
            "1",
        ];
        assert_eq!(revision(&arguments).await, 2);
    }
    for _ in 0..2 {
        json(&stack, &["delete", id, "--revision", "2"]).await;
    }
    for _ in 0..2 {
        assert_eq!(revision(&["restore", id, "--revision", "3"]).await, 4);
    }
    let shown = json(&stack, &["records", id]).await;
    assert_eq!(shown[0]["history"].as_array().unwrap().len(), 4);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_photo_has_no_record() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let version = rejected_photo(&stack).await;
    let output = run(&stack, &["records", &reviews::id(&version)]).await;
    assert!(
        stderr(&output).contains("it was rejected, because not a photo"),
        "{output:?}"
    );
    let rejected = json(&stack, &["records", "--rejected"]).await;
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["key"], "a.txt");
    assert!(
        rejected[0]["reason"]
            .as_str()
            .unwrap()
            .starts_with("not a photo")
    );
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_takes_a_record_out_of_the_queue_and_a_withdrawal_puts_it_back() {
    let stack = Stack::with(Options {
        variables: &[crate::support::photo::COLOR_MODEL, ("UNKNOWN_BELOW", "1")],
        ..Options::invoked_by_hand()
    })
    .await;
    let photos = photos(&stack, &["FAW", "AAW"]).await;
    let queue = async || {
        let lines = json(&stack, &["records", "--order", "leastCertain"]).await;
        let ids = lines.iter().filter_map(|line| line["id"].as_str());
        ids.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(queue().await.len(), 2);
    let id = &photos[0].1;
    json(&stack, &["review", id, "--class", "FAW"]).await;
    assert_eq!(queue().await, [photos[1].1.clone()]);
    json(&stack, &["review", id, "--withdraw"]).await;
    assert_eq!(queue().await.len(), 2);
    // UNKNOWN agrees in table, counts and list.
    let records = stack.records().await;
    assert!(
        records
            .iter()
            .all(|record| string(record, "ClassName") == "UNKNOWN")
    );
    assert_eq!(counts(&stack).await, json!({"UNKNOWN": 2}));
    let lines = json(&stack, &["records", "--class", "UNKNOWN"]).await;
    assert_eq!(lines.len(), 3);
    let predicted = lines[..2]
        .iter()
        .map(|line| line["predictedClassName"].as_str().unwrap());
    assert_eq!(
        predicted.collect::<BTreeSet<_>>(),
        BTreeSet::from(["AAW", "FAW"])
    );
    stack.stop().await;
}
