//! Every shape of event that the function serves, as AWS documents it.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use crate::support::{
    command::root,
    event::{event, queue_event},
    item::{Item, string},
    photo::photo,
    stack::{Options, Stack},
};

/// A key whose form encoding differs from it.
const KEY: &str = "plot 7/100% moth+é";
const FORM_ENCODED: &str = "plot+7/100%25+moth%2B%C3%A9";

/// The fixture files, by name.
fn fixtures() -> BTreeMap<String, String> {
    let files = fs::read_dir(root().join("tests/events"))
        .unwrap()
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        });
    files.collect()
}

/// The event of `fixture` for the object `name` in the folder [`KEY`].
fn fill(fixture: &str, name: &str, version: &str) -> Value {
    let event = fixture
        .replace("{{key}}", &format!("{KEY}/{name}"))
        .replace("{{form-encoded key}}", &format!("{FORM_ENCODED}/{name}"))
        .replace("{{version}}", version);
    serde_json::from_str(&event).unwrap()
}

/// The attributes that records of different objects have in common.
fn common(record: &Item) -> Item {
    let differing = [
        "ClassPredictionID",
        "Count_ClassName",
        "ImageURL_ClassName",
        "ObjectKey",
        "VersionId",
        "CaptureTime",
        "CapturedAt",
        "NightKey",
        "ReviewRank",
        "PredictedAt",
    ];
    let mut common = record.clone();
    common.retain(|name, _| !differing.contains(&name.as_str()));
    common
}

/// Checks the answer to the one task of a fixture of S3 Batch Operations.
fn assert_task_succeeded(answer: &Value, schema_version: &str) {
    let result = &answer["results"][0];
    assert_eq!(result["taskId"], "dGFza2lkZ29lc2hlcmUK");
    assert_eq!(result["resultCode"], "Succeeded");
    let text = result["resultString"].as_str().unwrap();
    assert!(text.starts_with("recorded: FAW number "), "{text}");
    assert_eq!(answer["invocationSchemaVersion"], schema_version);
    assert_eq!(
        answer["invocationId"],
        "YXNkbGZqYWRmaiBhc2RmdW9hZHNmZGpmaGFzbGtkaGZza2RmaAo"
    );
}

#[tokio::test]
async fn every_source_ends_in_the_same_record() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let fixtures = fixtures();
    assert_eq!(fixtures.len(), 11);
    for (name, fixture) in &fixtures {
        let key = format!("{KEY}/{name}");
        let version = stack.upload(&key, photo("FAW")).await;
        let answer = stack.invoke(&fill(fixture, name, &version)).await.unwrap();
        match name.as_str() {
            name if name.starts_with("sqs") => assert_eq!(answer, json!({"batchItemFailures": []})),
            name if name.starts_with("batch") => {
                assert_task_succeeded(&answer, name.rsplit('-').next().unwrap());
            }
            _ => assert_eq!(answer["outcomes"][0]["outcome"], "recorded", "{name}"),
        }

        // It is counted once, whichever source delivers it again.
        for again in fixtures.values() {
            let answer = stack.invoke(&fill(again, name, &version)).await.unwrap();
            let text = answer.to_string();
            assert!(
                text.contains("duplicate")
                    || text.contains("already recorded")
                    || answer == json!({"batchItemFailures": []}),
                "{answer}"
            );
        }
    }
    let records = stack.records().await;
    assert_eq!(records.len(), fixtures.len());
    for record in &records {
        let name = string(record, "ObjectKey");
        assert_eq!(common(record), common(&records[0]), "{name}");
        let name = name.strip_prefix(KEY).unwrap();
        let url = "https://moths.s3.us-east-1.amazonaws.com/plot%207/100%25%20moth%2B%C3%A9";
        assert_eq!(
            string(record, "ImageURL_ClassName"),
            format!("{url}{name}?versionId={}", string(record, "VersionId"))
        );
    }
    stack.stop().await;
}

#[tokio::test]
async fn a_queue_is_told_the_messages_that_failed() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let mut messages = Vec::new();
    let mut add = |id: &str, body: Value| messages.push((id.to_owned(), body));
    let good = stack.upload("good.png", photo("AAW")).await;
    let bad = stack.upload("bad.png", b"not a photo".to_vec()).await;
    add("good", event(&[("moths", "good.png", Some(&good))]));
    add("rejected", event(&[("moths", "bad.png", Some(&bad))]));
    add("unknown", json!({"hello": "world"}));
    let both = [
        ("no-such-bucket", "a.png", None),
        ("moths", "good.png", Some(good.as_str())),
    ];
    add("half", event(&both));
    add("text", json!("just text"));
    add("test", json!({"Event": "s3:TestEvent", "Bucket": "moths"}));
    let answer = stack.invoke(&queue_event(&messages)).await.unwrap();
    let failed = ["unknown", "half", "text"].map(|id| json!({"itemIdentifier": id}));
    assert_eq!(answer, json!({"batchItemFailures": failed}));
    assert_eq!(stack.records().await.len(), 1);
    let log = stack.stop_and_read_log().await.into_iter();
    let failed = log.filter(|line| line["message"] == "failed");
    let codes: Vec<Value> = failed.map(|line| line["code"].clone()).collect();
    assert_eq!(codes, ["MalformedEvent", "Read", "MalformedEvent"]);
}

#[tokio::test]
async fn each_task_of_batch_operations_has_its_own_result() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let good = stack.upload("good.png", photo("ECLW")).await;
    let bad = stack.upload("bad.png", b"<svg/>".to_vec()).await;
    let task = |id: &str, key: &str, version: Option<&str>, bucket: &str| json!({"taskId": id, "s3Key": key, "s3VersionId": version, "s3Bucket": bucket});
    let mut event = json!({
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "job": {"id": "j"},
        "tasks": [
            task("good", "good.png", Some(&good), "moths"),
            task("again", "good.png", Some(&good), "moths"),
            task("bad", "bad.png", Some(&bad), "moths"),
            task("gone", "gone.png", None, "moths"),
            task("malformed", "%FF", None, "moths"),
            task("bucket", "good.png", None, "no-such-bucket"),
        ],
    });
    let codes = |answer: &Value| -> BTreeMap<String, String> {
        let results = answer["results"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        results
            .map(|result| (text(&result["taskId"]), text(&result["resultCode"])))
            .collect()
    };
    let answer = stack.invoke(&event).await.unwrap();
    let expected = [
        ("good", "Succeeded"),
        ("again", "Succeeded"),
        ("bad", "PermanentFailure"),
        ("gone", "PermanentFailure"),
        ("malformed", "PermanentFailure"),
        ("bucket", "TemporaryFailure"),
    ];
    let expected = expected.map(|(id, code)| (id.to_owned(), code.to_owned()));
    assert_eq!(codes(&answer), BTreeMap::from(expected), "{answer}");

    // Without a version, a task means the current one, which is recorded already.
    event["tasks"] = json!([task("current", "good.png", None, "moths")]);
    let answer = stack.invoke(&event).await.unwrap();
    let result = &answer["results"][0];
    assert_eq!(result["resultCode"], "Succeeded");
    let text = result["resultString"].as_str().unwrap();
    assert!(
        text.starts_with("already recorded: ECLW number 1 of "),
        "{text}"
    );
    assert_eq!(stack.records().await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn events_without_objects_succeed() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let nothing = Ok(json!({"outcomes": []}));
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "moths"});
    assert_eq!(stack.invoke(&test).await, nothing);
    let mut event = event(&[("moths", "a.png", Some("v"))]);
    for kind in [
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRestore:Completed",
    ] {
        event["Records"][0]["eventName"] = json!(kind);
        assert_eq!(stack.invoke(&event).await, nothing, "{kind}");
    }
    let bridge = json!({"source": "aws.s3", "detail-type": "Object Deleted", "detail": {}});
    assert_eq!(stack.invoke(&bridge).await, nothing);
    stack.stop().await;
}

#[tokio::test]
async fn an_unknown_event_is_shown_with_the_known_sources() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let error = stack.invoke(&json!({"hello": "world"})).await.unwrap_err();
    assert_eq!(error["errorType"], "MalformedEvent");
    let message = error["errorMessage"].as_str().unwrap();
    for part in [
        "hello",
        "S3",
        "EventBridge",
        "SNS",
        "SQS",
        "Batch Operations",
    ] {
        assert!(message.contains(part), "{message}");
    }
    stack.stop().await;
}
