//! Readers and records of older versions.

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{NaiveDate, NaiveTime};
use serde_json::Value;

use super::{json, photos, rejected_photo, run};
use crate::support::{
    item::{Item, number, string},
    stack::{Options, Stack},
};

/// The mobile app of the tutorial queries the records of a day and class, and shows these attributes.
#[tokio::test(flavor = "multi_thread")]
async fn the_app_reads_the_table_as_before() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "AAW", "FAW", "FAW"]).await;
    // What people do does not change what the app reads.
    json(&stack, &["review", &photos[0].1, "--class", "ECLW"]).await;
    json(&stack, &["delete", &photos[2].1]).await;
    json(&stack, &["restore", &photos[2].1]).await;
    let date = string(&stack.records().await[0], "PredictionDate");
    date.parse::<NaiveDate>().unwrap();
    let query = stack.dynamodb.query().table_name("predictions");
    let query = query
        .key_condition_expression(
            "PredictionDate = :date AND begins_with(ClassPredictionID, :class)",
        )
        .expression_attribute_values(":date", AttributeValue::S(date))
        .expression_attribute_values(":class", AttributeValue::S("FAW-".into()));
    let answer = query.send().await.unwrap();
    let records: Vec<Item> = answer.items.unwrap();
    let keys: Vec<String> = records
        .iter()
        .map(|record| string(record, "ClassPredictionID"))
        .collect();
    assert!(keys.is_sorted(), "{keys:?}");
    let mut ordinals: Vec<f64> = records
        .iter()
        .map(|record| number(record, "Count_ClassName"))
        .collect();
    ordinals.sort_by(f64::total_cmp);
    assert_eq!(ordinals, [1.0, 2.0, 3.0]);
    for record in &records {
        assert_eq!(string(record, "ClassName"), "FAW");
        NaiveTime::parse_from_str(&string(record, "CaptureTime"), "%H:%M:%S").unwrap();
        let confidence = string(record, "ConfidenceScore");
        assert!(
            confidence.len() >= 3 && confidence.ends_with('%'),
            "{confidence:?}"
        );
        let url = string(record, "ImageURL_ClassName");
        assert!(
            url.starts_with("https://moths.s3.us-east-1.amazonaws.com/field-"),
            "{url}"
        );
    }
    stack.stop().await;
}

/// Removes what this version writes and the one before it did not.
async fn make_older(stack: &Stack) {
    for record in stack.records().await {
        let update = stack.dynamodb.update_item().table_name("predictions");
        let key = ["PredictionDate", "ClassPredictionID"]
            .map(|name| (name.to_owned(), record[name].clone()));
        let update = update.set_key(Some(key.into())).update_expression(
            "REMOVE Night, NightKey, CapturedAt, CaptureSource, Station, Camera, Width, Height, #b, Sha256, ReviewQueue, ReviewRank",
        );
        update
            .expression_attribute_names("#b", "Bytes")
            .send()
            .await
            .unwrap();
    }
    for item in stack.ledger("").await {
        let key = string(&item, "LedgerKey");
        let of = [("LedgerKey".to_owned(), AttributeValue::S(key.clone()))];
        if key.starts_with("night/") || key == "classes" {
            let delete = stack.dynamodb.delete_item().table_name("ledger");
            delete.set_key(Some(of.into())).send().await.unwrap();
            continue;
        }
        for name in item
            .keys()
            .filter(|name| name.contains(".b") || name.starts_with("Rejected"))
        {
            let update = stack.dynamodb.update_item().table_name("ledger");
            let update = update
                .set_key(Some(of.clone().into()))
                .update_expression("REMOVE #name");
            update
                .expression_attribute_names("#name", name)
                .send()
                .await
                .unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_an_older_version_are_read_and_get_their_night() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "AAW", "FAW"]).await;
    rejected_photo(&stack).await;
    let nights = json(&stack, &["counts"]).await;
    make_older(&stack).await;

    let number_of =
        async |options: &[&str]| json(&stack, &[&["records"], options].concat()).await.len() - 1;
    assert_eq!(number_of(&["--by", "date"]).await, 3);
    assert_eq!(number_of(&[]).await, 0);
    // A change of a record without a night moves the counters of the date alone.
    json(&stack, &["review", &photos[0].1, "--class", "AAW"]).await;
    assert!(!run(&stack, &["audit"]).await.status.success());
    let repaired = run(&stack, &["audit", "--repair"]).await;
    assert!(repaired.status.success(), "{repaired:?}");
    assert!(run(&stack, &["audit"]).await.status.success());
    assert_eq!(number_of(&[]).await, 3);
    assert_eq!(json(&stack, &["records", "--rejected"]).await.len(), 1);
    json(&stack, &["review", &photos[0].1, "--withdraw"]).await;
    // A photo that was taken before noon belongs to the night before, also when a repair says so.
    let again: Vec<Value> = json(&stack, &["counts"]).await;
    assert_eq!(again, nights);
    stack.stop().await;
}
