//! What a photo and a change cost, as DynamoDB reports it.

use std::collections::BTreeMap;

use super::through_proxy;
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

/// The numbers of docs/cost.md.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_consumes_the_write_units_of_the_cost_page() {
    let stack = Stack::with(Options {
        variables: &[COLOR_MODEL, ("REVIEW_BELOW", "0")],
        processes: 1,
        proxied: true,
        ..Options::invoked_by_hand()
    })
    .await;
    let version = photos(&stack, "one", 1).await.remove(0);
    deliver(&stack, &version).await.unwrap();
    let id = reviews::id(&version);
    let proxy = stack.dynamodb_proxy();
    proxy.measure_capacity();
    for (command, ledger, predictions) in [
        // A history item and the confusion item.
        (&["review", &id, "--confirm"][..], 4.0, 2.0),
        // Also two counters of the date, and two of the night.
        (&["review", &id, "--class", "AAW"], 12.0, 2.0),
        // A history item, the object item, the copy, two counters, and the confusion item.
        (&["delete", &id], 12.0, 2.0),
        (&["restore", &id], 12.0, 2.0),
    ] {
        let output = through_proxy(&stack, command).await;
        assert!(output.status.success(), "{output:?}");
        let expected = units([
            ("ledger", ledger),
            ("predictions", predictions),
            ("predictions/ByNight", 1.0),
        ]);
        assert_eq!(proxy.take_capacity(), expected, "{command:?}");
    }
    stack.stop().await;
}
