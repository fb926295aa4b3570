//! What a photo and a change cost, as DynamoDB reports it.

use std::collections::BTreeMap;

use super::json;
use crate::support::{
    photo::COLOR_MODEL,
    promise::{Reference, Version, deliver, deliver_as_messages, upload},
    reviews,
    stack::{Options, Stack},
};

/// Units by table and index.
type Units = BTreeMap<String, f64>;

fn units<const N: usize>(units: [(&str, f64); N]) -> Units {
    units.map(|(name, units)| (name.to_owned(), units)).into()
}

async fn photos(stack: &Stack, folder: &str, number: usize) -> Vec<Version> {
    let mut versions = Vec::new();
    for n in 0..number {
        let key = format!("{folder}/{n}.png");
        versions.push(upload(stack, &mut Reference::new(), &key, Some("FAW")).await);
    }
    versions
}

/// The numbers of docs/cost.md.
#[tokio::test(flavor = "multi_thread")]
async fn a_photo_consumes_the_write_units_of_the_cost_page() {
    for (review_below, queued) in [("0", 0.0), ("1", 1.0)] {
        let stack = Stack::with(Options {
            variables: &[COLOR_MODEL, ("REVIEW_BELOW", review_below)],
            processes: 1,
            proxied: true,
            ..Options::invoked_by_hand()
        })
        .await;
        let proxy = stack.dynamodb_proxy();
        proxy.measure_capacity();
        let one = photos(&stack, "one", 1).await;
        deliver(&stack, &one[0]).await.unwrap();
        let mut expected = units([
            // Object item, counter of the day, counter of the night.
            ("ledger", 6.0),
            ("predictions", 2.0),
            ("predictions/ByNight", 1.0),
        ]);
        let queue = |expected: &mut Units, photos: f64| {
            if queued > 0.0 {
                expected.insert("predictions/ToReview".into(), queued * photos);
            }
        };
        queue(&mut expected, 1.0);
        assert_eq!(proxy.take_capacity(), expected);

        let ten = photos(&stack, "ten", 10).await;
        deliver_as_messages(&stack, &ten).await;
        let mut expected = units([
            ("ledger", 24.0),
            ("predictions", 20.0),
            ("predictions/ByNight", 10.0),
        ]);
        queue(&mut expected, 10.0);
        assert_eq!(proxy.take_capacity(), expected);
        stack.stop().await;
    }
}

/// A review, a deletion and a restore, through the command line.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_one_small_transaction() {
    let stack = Stack::with(Options {
        proxied: true,
        ..Options::invoked_by_hand()
    })
    .await;
    let version = photos(&stack, "one", 1).await.remove(0);
    deliver(&stack, &version).await.unwrap();
    let id = reviews::id(&version);
    // The command reaches the tables without the proxy: what it leaves is counted here.
    json(&stack, &["review", &id, "--class", "AAW"]).await;
    let items = stack.ledger("").await.len();
    json(&stack, &["review", &id, "--class", "ECLW"]).await;
    // A history item, and the counters of a date and a night.
    assert_eq!(stack.ledger("").await.len(), items + 3);
    stack.stop().await;
}
