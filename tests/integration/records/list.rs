//! Lists of records: pages, order and filters.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{json, photos, run};
use crate::support::{
    command::stderr,
    photo::CLASSES,
    stack::{Options, Stack},
};

fn ids(lines: &[Value]) -> Vec<String> {
    let ids = lines.iter().filter_map(|line| line["id"].as_str());
    ids.map(ToOwned::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_make_the_whole_list() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let classes: Vec<&str> = (0..25).map(|n| CLASSES[n % 3]).collect();
    let photos = photos(&stack, &classes).await;
    for options in [
        &["--by", "night"][..],
        &["--by", "date"],
        &["--by", "night", "--order", "oldest"],
        &["--by", "date", "--order", "oldest"],
    ] {
        let all = json(&stack, &[&["records", "--limit", "100"], options].concat()).await;
        assert_eq!(all.last().unwrap()["nextCursor"], Value::Null);
        let all = ids(&all);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), photos.len());
        let mut paged = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut page = [&["records", "--limit", "4"], options].concat();
            if let Some(cursor) = &cursor {
                page.extend(["--cursor", cursor]);
            }
            let lines = json(&stack, &page).await;
            assert!(ids(&lines).len() <= 4);
            paged.extend(ids(&lines));
            match lines.last().unwrap()["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(paged, all, "{options:?}");
    }
    let oldest = ids(&json(&stack, &["records", "--order", "oldest"]).await);
    let mut newest = ids(&json(&stack, &["records"]).await);
    newest.reverse();
    assert_eq!(oldest, newest);
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_conditions_on_the_record() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["AAW", "ECLW", "FAW", "FAW", "AAW"]).await;
    json(&stack, &["review", &photos[2].1, "--class", "AAW"]).await;
    json(&stack, &["review", &photos[0].1, "--confirm"]).await;
    for (options, expected) in [
        (&["--class", "AAW"][..], &[0, 2, 4][..]),
        (&["--class", "FAW"], &[3]),
        (&["--review", "reviewed"], &[0, 2]),
        (&["--review", "relabelled"], &[2]),
        (&["--review", "none"], &[1, 3, 4]),
        (&["--station", "field-1"], &[1, 3]),
        (&["--station", "field-0", "--class", "AAW"], &[0, 2, 4]),
        (&["--max-probability", "0"], &[]),
        (
            &["--max-probability", "1", "--min-probability", "0.5"],
            &[0, 1, 2, 3, 4],
        ),
        (&["--model", "000000000000"], &[]),
        (&["--from", "2020-01-01", "--to", "2020-03-01"], &[]),
    ] {
        let found = json(&stack, &[&["records"], options].concat()).await;
        let found: BTreeSet<String> = ids(&found).into_iter().collect();
        let expected: BTreeSet<String> = expected
            .iter()
            .map(|&n: &usize| photos[n].1.clone())
            .collect();
        assert_eq!(found, expected, "{options:?}");
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_question_is_an_error() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    photos(&stack, &["AAW", "FAW"]).await;
    let lines = json(&stack, &["records", "--limit", "1"]).await;
    let cursor = lines.last().unwrap()["nextCursor"]
        .as_str()
        .unwrap()
        .to_owned();
    for (arguments, reason) in [
        (
            &["records", "--cursor", &cursor, "--class", "FAW"][..],
            "another query",
        ),
        (&["records", "--cursor", "abc"], "no cursor"),
        (
            &["records", "--from", "2026-01-01", "--to", "2025-01-01"],
            "is after",
        ),
        (&["records", "--from", "2020-01-01"], "at most 366"),
        (
            &["counts", "--from", "2020-01-01", "--to", "2022-01-01"],
            "at most 366",
        ),
        (&["records", "yesterday"], "not the id of a record"),
        (
            &["records", "--class", "faw"],
            "no record ever had the class faw",
        ),
        (&["counts", "--class", "faw"], "AAW, FAW"),
        (&["records", "--from", "yesterday"], "2026-05-01"),
        (&["records", "--min-probability", "80"], "from 0 to 1"),
        (
            &["records", "--rejected", "--station", "field-1"],
            "cannot be used with",
        ),
    ] {
        let output = run(&stack, arguments).await;
        assert!(!output.status.success(), "{arguments:?}");
        assert!(
            stderr(&output).contains(reason),
            "{arguments:?}: {output:?}"
        );
    }
    let folder = stack.stop().await;
    // The tables are read without a running `local`, too.
    let mut command = std::process::Command::new(crate::support::command::BINARY);
    command.args(["counts", "--data"]).arg(folder.path());
    let output = command.output().unwrap();
    let chart = crate::support::command::stdout(&output);
    assert_eq!(chart.lines().count(), 31, "{chart}");
    assert!(chart.contains("AAW 1, FAW 1"), "{chart}");
    let missing = run_in(&folder.path().join("nowhere"));
    assert!(missing.contains("has no tables"), "{missing}");
}

fn run_in(folder: &std::path::Path) -> String {
    let mut command = std::process::Command::new(crate::support::command::BINARY);
    command.args(["counts", "--data"]).arg(folder);
    stderr(&command.output().unwrap())
}
