//! Tables of an older version of this program.

use aws_sdk_dynamodb::types::{
    AttributeValue, DeleteGlobalSecondaryIndexAction, GlobalSecondaryIndexUpdate,
};

use crate::support::{
    event::outcome,
    photo::moth,
    stack::{Options, Stack},
};

#[tokio::test]
async fn tables_of_an_older_version_get_the_missing_indexes() {
    // An older version made no index. An interrupted upgrade made the first index alone.
    for missing in [&["ByNight", "ToReview"][..], &["ToReview"]] {
        let stack = Stack::start(&[]).await;
        for index in missing {
            delete_index(&stack, "predictions", index).await;
        }
        delete_index(&stack, "ledger", "Rejections").await;
        put_record_with_index_keys(&stack).await;
        put_rejection_with_index_keys(&stack).await;
        let folder = Some(stack.stop().await);
        let mut stack = Stack::with(Options {
            folder,
            ..Options::default()
        })
        .await;
        for (table, index, key, value) in [
            ("predictions", "ByNight", "Night", "2026-11-19"),
            ("predictions", "ToReview", "ReviewQueue", "FAW"),
            ("ledger", "Rejections", "RejectedOn", "2026-11-20"),
        ] {
            let query = stack.dynamodb.query().table_name(table);
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

async fn delete_index(stack: &Stack, table: &str, index: &str) {
    let delete = DeleteGlobalSecondaryIndexAction::builder().index_name(index);
    let delete = GlobalSecondaryIndexUpdate::builder().delete(delete.build().unwrap());
    let update = stack.dynamodb.update_table().table_name(table);
    let update = update.global_secondary_index_updates(delete.build());
    update.send().await.unwrap();
}

/// Puts a record that has the keys of both indexes.
async fn put_record_with_index_keys(stack: &Stack) {
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
}

/// Puts an item that has the keys of the ledger's index.
async fn put_rejection_with_index_keys(stack: &Stack) {
    let mut put = stack.dynamodb.put_item().table_name("ledger");
    for (name, value) in [
        ("LedgerKey", "object/1"),
        ("RejectedOn", "2026-11-20"),
        ("RejectedAt", "2026-11-20T23:00:00Z#1"),
    ] {
        put = put.item(name, AttributeValue::S(value.into()));
    }
    put.send().await.unwrap();
}
