//! The function, as the real binary behind a real Runtime API, S3 and DynamoDB.

#![cfg(feature = "local")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate,
};
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use chrono::{DateTime, NaiveTime};
use chrono_tz::Africa::Lagos;
use moth_classifier::local::BUCKET;
use serde_json::{Value, json};
use support::{
    COLOR_MODEL, Options, Stack, event, moth, number, outcome, picture, queue_event, string,
};

#[tokio::test]
async fn a_put_becomes_a_record() {
    let mut stack = Stack::start(&[]).await;
    let key = "farm 1/50% +é 蛾.jpg";
    let (version, delivery) = stack.put(key, moth()).await;
    let answer = delivery.answer.unwrap();
    let outcome = outcome(&answer);
    assert_eq!(outcome["outcome"], "recorded");
    assert_eq!(outcome["key"], key);
    assert_eq!(outcome["versionId"], version.as_str());
    assert_eq!(outcome["count"], 1);

    let records = stack.records().await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    let head = stack
        .s3
        .head_object()
        .bucket(BUCKET)
        .key(key)
        .send()
        .await
        .unwrap();
    let created = DateTime::from_timestamp(head.last_modified.unwrap().secs(), 0).unwrap();
    let created = created.with_timezone(&Lagos);
    assert_eq!(
        string(record, "PredictionDate"),
        created.date_naive().to_string()
    );
    assert_eq!(
        NaiveTime::parse_from_str(&string(record, "CaptureTime"), "%H:%M:%S"),
        Ok(created.time())
    );
    let class = string(record, "ClassName");
    let id = string(record, "ClassPredictionID");
    let uuid = id.strip_prefix(&format!("{class}-")).unwrap();
    assert!(uuid::Uuid::parse_str(uuid).is_ok());
    assert_eq!(number(record, "Count_ClassName"), 1.0);
    assert_eq!(
        string(record, "ImageURL_ClassName"),
        format!(
            "https://{BUCKET}.s3.us-east-1.amazonaws.com/farm%201/50%25%20%2B%C3%A9%20%E8%9B%BE.jpg?versionId={version}"
        )
    );
    let probability = number(record, "Probability");
    let percent = format!("{:2.0}%", probability * 100.0);
    assert_eq!(string(record, "ConfidenceScore"), percent);
    let probabilities = record["Probabilities"].as_m().unwrap();
    assert_eq!(
        probabilities[&class]
            .as_n()
            .unwrap()
            .parse::<f64>()
            .unwrap(),
        probability
    );
    assert_eq!(string(record, "Bucket"), BUCKET);
    assert_eq!(string(record, "ObjectKey"), key);
    assert_eq!(string(record, "VersionId"), version);
    assert_eq!(string(record, "ModelVersion").len(), 12);
    assert!(DateTime::parse_from_rfc3339(&string(record, "PredictedAt")).is_ok());
    assert_eq!(record.len(), 14, "{record:?}");
    stack.stop().await;
}

#[tokio::test]
async fn an_event_delivered_again_changes_nothing() {
    let mut stack = Stack::start(&[]).await;
    let (version, delivery) = stack.put("moth.jpg", moth()).await;
    let first = delivery.answer.unwrap();
    for _ in 0..3 {
        let again = stack.invoke(&delivery.event).await.unwrap();
        let (first, again) = (outcome(&first), outcome(&again));
        assert_eq!(again["outcome"], "duplicate");
        for same in ["key", "versionId", "className", "count", "date"] {
            assert_eq!(first[same], again[same], "{same}");
        }
    }
    // Twice in one event, and at once in two processes.
    let twice = event(&[
        (BUCKET, "moth.jpg", Some(&version)),
        (BUCKET, "moth.jpg", Some(&version)),
    ]);
    let (a, b) = tokio::join!(stack.invoke(&twice), stack.invoke(&twice));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!(stack.records().await.len(), 1);
    assert_eq!(stack.ledger("object/").await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn ordinals_have_no_gap_and_no_repeat() {
    let stack = Stack::start(&[]).await;
    const OBJECTS: usize = 12;
    let mut versions = Vec::new();
    for _ in 0..OBJECTS {
        let put = stack
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("same.jpg")
            .body(moth().into());
        versions.push(put.send().await.unwrap().version_id.unwrap());
    }
    assert_eq!(versions.iter().collect::<BTreeSet<_>>().len(), OBJECTS);
    // S3's own events are on their way; here is everything once more, in two events at once.
    let all: Vec<_> = versions
        .iter()
        .map(|v| (BUCKET, "same.jpg", Some(v.as_str())))
        .collect();
    let mut reversed = all.clone();
    reversed.reverse();
    let (forward, backward) = (event(&all), event(&reversed));
    let (a, b) = tokio::join!(stack.invoke(&forward), stack.invoke(&backward));
    for answer in [a.unwrap(), b.unwrap()] {
        assert_eq!(answer["outcomes"].as_array().unwrap().len(), OBJECTS);
    }

    let records = stack.records().await;
    let ordinals: Vec<u64> = {
        let mut ordinals: Vec<u64> = records
            .iter()
            .map(|record| number(record, "Count_ClassName") as u64)
            .collect();
        ordinals.sort_unstable();
        ordinals
    };
    assert_eq!(ordinals, (1..=OBJECTS as u64).collect::<Vec<_>>());
    let counters = stack.ledger("count/").await;
    assert_eq!(counters.len(), 1);
    assert_eq!(number(&counters[0], "Issued"), OBJECTS as f64);
    assert_eq!(number(&counters[0], "Live"), OBJECTS as f64);
    stack.stop().await;
}

#[tokio::test]
async fn each_version_is_fetched_as_it_was() {
    let mut stack = Stack::start(&[]).await;
    let (good, _) = stack.put("moth.jpg", moth()).await;
    let (bad, delivery) = stack.put("moth.jpg", b"not a picture".to_vec()).await;
    let answer = delivery.answer.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "rejected");
    assert_eq!(
        outcome(&answer)["reason"],
        "not a picture: send JPEG, PNG or WebP"
    );

    // The ledger remembers both, by version.
    for (version, status) in [(good, "COUNTED"), (bad, "REJECTED")] {
        let items = stack.ledger("object/").await;
        let item = items
            .iter()
            .find(|item| string(item, "VersionId") == version)
            .unwrap();
        assert_eq!(string(item, "Status"), status);
        assert_eq!(string(item, "ObjectKey"), "moth.jpg");
    }
    assert_eq!(stack.records().await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn a_bucket_without_versions_counts_what_was_read() {
    let mut stack = Stack::start(&[]).await;
    // `local` turns the bucket's versioning on, which cannot be undone: only a new bucket never had any.
    let remove = stack.s3.delete_bucket().bucket(BUCKET);
    remove.send().await.unwrap();
    let create = stack.s3.create_bucket().bucket(BUCKET);
    create.send().await.unwrap();
    let put = || {
        stack
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("moth.jpg")
            .body(moth().into())
            .send()
    };
    assert_eq!(put().await.unwrap().version_id, None);
    let first = stack.delivery().await;
    assert_eq!(outcome(&first.answer.unwrap())["outcome"], "recorded");
    assert_eq!(
        first.event["Records"][0]["s3"]["object"]["versionId"],
        json!(null)
    );
    let event = event(&[(BUCKET, "moth.jpg", None)]);
    let again = stack.invoke(&event).await.unwrap();
    assert_eq!(outcome(&again)["outcome"], "duplicate");
    let record = &stack.records().await[0];
    assert!(!record.contains_key("VersionId"));
    assert_eq!(
        string(record, "ImageURL_ClassName"),
        "https://moths.s3.us-east-1.amazonaws.com/moth.jpg"
    );

    // Other content under the same key is another photo.
    let other = std::fs::read(support::test_image("good/faw.png")).unwrap();
    let put = stack
        .s3
        .put_object()
        .bucket(BUCKET)
        .key("moth.jpg")
        .body(other.into());
    put.send().await.unwrap();
    let second = stack.delivery().await;
    assert_eq!(outcome(&second.answer.unwrap())["outcome"], "recorded");
    assert_eq!(stack.records().await.len(), 2);
    stack.stop().await;
}

#[tokio::test]
async fn an_object_in_another_bucket_invokes_nothing() {
    let mut stack = Stack::start(&[]).await;
    let create = stack.s3.create_bucket().bucket("other");
    create.send().await.unwrap();
    let put = stack.s3.put_object().bucket("other").key("moth.jpg");
    put.body(moth().into()).send().await.unwrap();
    let (_, delivery) = stack.put("moth.jpg", moth()).await;
    assert_eq!(delivery.event["Records"][0]["s3"]["bucket"]["name"], BUCKET);
    assert_eq!(outcome(&delivery.answer.unwrap())["count"], 1);
    assert_eq!(stack.records().await.len(), 1);
    stack.stop().await;
}

#[tokio::test]
async fn a_suspended_bucket_has_null_versions() {
    let mut stack = Stack::start(&[]).await;
    let suspended = VersioningConfiguration::builder()
        .status(BucketVersioningStatus::Suspended)
        .build();
    let suspend = stack.s3.put_bucket_versioning().bucket(BUCKET);
    suspend
        .versioning_configuration(suspended)
        .send()
        .await
        .unwrap();
    let put = stack
        .s3
        .put_object()
        .bucket(BUCKET)
        .key("moth.jpg")
        .body(moth().into());
    put.send().await.unwrap();
    let first = stack.delivery().await;
    assert_eq!(outcome(&first.answer.unwrap())["outcome"], "recorded");
    let again = stack.invoke(&first.event).await.unwrap();
    assert_eq!(outcome(&again)["outcome"], "duplicate");
    stack.stop().await;
}

#[tokio::test]
async fn a_folder_marker_is_no_photo() {
    let mut stack = Stack::start(&[]).await;
    let (version, delivery) = stack.put("farm 1/", Vec::new()).await;
    let answer = delivery.answer.unwrap();
    assert_eq!(outcome(&answer)["outcome"], "folder");
    assert_eq!(outcome(&answer)["key"], "farm 1/");
    let job = json!({
        "invocationSchemaVersion": "2.0",
        "invocationId": "i",
        "tasks": [{"taskId": "t", "s3Key": "farm+1/", "s3VersionId": version, "s3Bucket": BUCKET}],
    });
    let answer = stack.invoke(&job).await.unwrap();
    assert_eq!(answer["results"][0]["resultCode"], "Succeeded");
    let said = answer["results"][0]["resultString"].as_str().unwrap();
    assert!(said.contains("folder marker"), "{said}");
    assert!(stack.records().await.is_empty());
    assert!(stack.ledger("").await.is_empty());

    // Neither an empty photo nor a photo under such a key is a marker.
    let (_, delivery) = stack.put("farm 1/empty.jpg", Vec::new()).await;
    assert_eq!(outcome(&delivery.answer.unwrap())["outcome"], "rejected");
    let (_, delivery) = stack.put("farm 2/", moth()).await;
    assert_eq!(outcome(&delivery.answer.unwrap())["outcome"], "recorded");

    let lines = stack.stop_and_read_log().await;
    let metrics: Vec<_> = lines
        .iter()
        .filter(|line| line.get("ColdStart").is_some())
        .map(|line| [&line["Recorded"], &line["Rejected"], &line["Failed"]])
        .collect();
    let all = [[0, 0, 0], [0, 0, 0], [0, 1, 0], [1, 0, 0]].map(|line| line.map(Value::from));
    assert_eq!(json!(metrics), json!(all));
}

#[tokio::test]
async fn a_failure_is_logged_once_and_names_its_object_once() {
    let stack = Stack::start(&[]).await;
    let lost = event(&[("no-such-bucket", "lost.jpg", None)]);
    let error = stack.invoke(&lost).await.unwrap_err();
    let named = |text: &str| text.matches("lost.jpg").count();
    assert_eq!(named(error["errorMessage"].as_str().unwrap()), 1, "{error}");
    let lines = stack.stop_and_read_log().await;
    let errors: Vec<_> = lines
        .iter()
        .filter(|line| line["level"] == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(named(&errors[0].to_string()), 1, "{errors:?}");
}

#[tokio::test]
async fn tables_of_an_older_version_get_the_indexes_that_they_lack() {
    // An older version made no index; an upgrade that was cut short made the first alone.
    for lacking in [&["ByNight", "ToReview"][..], &["ToReview"]] {
        let stack = Stack::start(&[]).await;
        for name in lacking {
            let delete = DeleteGlobalSecondaryIndexAction::builder().index_name(*name);
            let delete = GlobalSecondaryIndexUpdate::builder().delete(delete.build().unwrap());
            let update = stack.dynamodb.update_table().table_name("predictions");
            let update = update.global_secondary_index_updates(delete.build());
            update.send().await.unwrap();
        }
        let mut put = stack.dynamodb.put_item().table_name("predictions");
        for (name, value) in [
            ("PredictionDate", "2026-11-20"),
            ("ClassPredictionID", "FAW-1"),
            ("Night", "2026-11-19"),
            ("NightKey", "2026-11-19T23:00:00Z#1"),
            ("ReviewQueue", "FAW"),
            ("ReviewRank", "0.512#1"),
        ] {
            put = put.item(name, AttributeValue::S(value.into()));
        }
        put.send().await.unwrap();

        let folder = Some(stack.stop().await);
        let options = Options {
            folder,
            ..Options::default()
        };
        let mut stack = Stack::with(options).await;
        for (index, key, value) in [
            ("ByNight", "Night", "2026-11-19"),
            ("ToReview", "ReviewQueue", "FAW"),
        ] {
            let query = stack.dynamodb.query().table_name("predictions");
            let found = query
                .index_name(index)
                .key_condition_expression(format!("{key} = :value"))
                .expression_attribute_values(":value", AttributeValue::S(value.into()))
                .send()
                .await
                .unwrap();
            assert_eq!(found.count(), 1, "{index}");
        }
        let (_, delivery) = stack.put("moth.jpg", moth()).await;
        assert_eq!(outcome(&delivery.answer.unwrap())["outcome"], "recorded");
        stack.stop().await;
    }
}

#[tokio::test]
async fn one_bad_record_takes_no_good_one_with_it() {
    let mut stack = Stack::start(&[("MAX_IMAGE_BYTES", "1_000_000")]).await;
    let (good, _) = stack.put("good.jpg", moth()).await;
    let (large, _) = stack.put("large.jpg", vec![0xff; 1_000_001]).await;
    let (empty, _) = stack.put("empty.jpg", vec![]).await;
    let (marker, _) = {
        let version = stack
            .s3
            .put_object()
            .bucket(BUCKET)
            .key("gone.jpg")
            .body(moth().into());
        let version = version.send().await.unwrap().version_id.unwrap();
        stack.delivery().await;
        let gone = stack
            .s3
            .delete_object()
            .bucket(BUCKET)
            .key("gone.jpg")
            .send()
            .await
            .unwrap();
        (gone.version_id.unwrap(), version)
    };

    let mut event = event(&[
        (BUCKET, "large.jpg", Some(&large)),
        (BUCKET, "no+such+key.jpg", Some(&good)),
        (BUCKET, "gone.jpg", Some(&marker)),
        (BUCKET, "empty.jpg", Some(&empty)),
        (BUCKET, "good.jpg", Some(&good)),
    ]);
    let answer = stack.invoke(&event).await.unwrap();
    let outcomes: Vec<_> = answer["outcomes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["outcome"].clone())
        .collect();
    assert_eq!(
        outcomes,
        [
            "duplicate",
            "rejected",
            "rejected",
            "duplicate",
            "duplicate"
        ]
    );
    assert!(
        answer["outcomes"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("1000001 bytes")
    );
    assert!(
        answer["outcomes"][1]["reason"]
            .as_str()
            .unwrap()
            .contains("is gone")
    );

    // A malformed record and a bucket that does not exist fail the invocation, after the rest.
    let put = stack
        .s3
        .put_object()
        .bucket(BUCKET)
        .key("new.jpg")
        .body(moth().into());
    let new = put.send().await.unwrap().version_id.unwrap();
    let records = event["Records"].as_array_mut().unwrap();
    records.truncate(1);
    records.push(json!({"eventName": "ObjectCreated:Put"}));
    records.extend(
        support::event(&[
            ("no-such-bucket", "a.jpg", None),
            (BUCKET, "new.jpg", Some(&new)),
        ])["Records"]
            .as_array()
            .unwrap()
            .clone(),
    );
    let error = stack.invoke(&event).await.unwrap_err();
    assert_eq!(error["errorType"], "Retryable");
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains("2 of 4 records failed"), "{message}");
    assert!(
        message.contains("record 1 of the event is malformed"),
        "{message}"
    );
    assert!(message.contains("s3://no-such-bucket/a.jpg"), "{message}");
    let known = stack
        .invoke(&support::event(&[(BUCKET, "new.jpg", Some(&new))]))
        .await
        .unwrap();
    assert_eq!(outcome(&known)["outcome"], "duplicate");
    stack.stop().await;
}

/// Holds a log line against the specification of CloudWatch's embedded metric format, and gives its
/// metrics by dimension values.
fn embedded_metrics(line: &Value) -> (Vec<String>, BTreeMap<String, Value>) {
    assert!(line["_aws"]["Timestamp"].is_u64(), "{line}");
    let directives = line["_aws"]["CloudWatchMetrics"].as_array().unwrap();
    assert_eq!(directives.len(), 1);
    assert_eq!(directives[0]["Namespace"], "MothClassifier");
    let sets = directives[0]["Dimensions"].as_array().unwrap();
    assert_eq!(sets.len(), 1);
    let dimensions = sets[0].as_array().unwrap().iter();
    let value = |dimension: &Value| {
        line[dimension.as_str().unwrap()]
            .as_str()
            .unwrap()
            .to_owned()
    };
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
    (dimensions.map(value).collect(), metrics.collect())
}

#[tokio::test]
async fn metrics_are_embedded_in_the_log() {
    let stack = Stack::with(Options {
        variables: &[COLOR_MODEL],
        processes: 1,
        notify: false,
        ..Options::default()
    })
    .await;
    let mut messages = Vec::new();
    for (key, bytes) in [
        ("1.png", picture("FAW")),
        ("2.png", picture("FAW")),
        ("3.png", picture("AAW")),
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
    let lines: Vec<_> = lines.map(embedded_metrics).collect();
    let dimensions: Vec<_> = lines.iter().map(|(of, _)| of.join("/")).collect();
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
    let counts = |line: usize, names: &[&str]| -> Vec<u64> {
        let metrics = &lines[line].1;
        names
            .iter()
            .map(|name| metrics[*name].as_u64().unwrap())
            .collect()
    };
    let outcomes = [
        "Recorded",
        "Rejected",
        "Duplicate",
        "Failed",
        "Conflicts",
        "ColdStart",
    ];
    assert_eq!(counts(0, &outcomes), [3, 1, 0, 2, 0, 1]);
    assert_eq!(counts(1, &["Recorded", "Rejected"]), [3, 1]);
    assert_eq!(counts(2, &["Recorded", "CountToday"]), [1, 1]);
    assert_eq!(counts(3, &["Recorded", "CountToday"]), [2, 2]);
    assert_eq!(counts(4, &["Rejected"]), [1]);
    assert_eq!(counts(5, &outcomes), [0, 0, 4, 2, 0, 0]);
    for (step, values) in [("Fetch", 4), ("Decode", 3), ("Inference", 3), ("Commit", 3)] {
        assert_eq!(lines[0].1[step].as_array().unwrap().len(), values, "{step}");
        assert!(!lines[5].1.contains_key(step));
    }
}
