//! `audit` finds each kind of damage, and `--repair` mends what can be mended.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::Value;

use super::{json, photos, rejected_photo, run};
use crate::support::{
    command::json_lines,
    item::{Item, string},
    stack::{Options, Stack},
};

/// Kinds of the findings, each with what its repair did.
async fn audit(stack: &Stack, options: &[&str]) -> Vec<(String, Value)> {
    let output = run(stack, &[&["audit", "--json"], options].concat()).await;
    let lines = json_lines(&output);
    let (summary, findings) = lines.split_last().unwrap_or_else(|| panic!("{output:?}"));
    assert!(summary["unsettled"].as_array().unwrap().is_empty());
    let stays = findings.iter().any(|finding| finding["repair"] != "mended");
    assert_eq!(output.status.success(), !stays, "{lines:?}");
    let kind = |line: &Value| {
        (
            line["kind"].as_str().unwrap().to_owned(),
            line["repair"].clone(),
        )
    };
    findings.iter().map(kind).collect()
}

/// Changes an item behind the back of the program.
async fn set(
    stack: &Stack,
    table: &str,
    key: Item,
    expression: &str,
    values: &[(&str, AttributeValue)],
) {
    let update = stack.dynamodb.update_item().table_name(table);
    let values: HashMap<String, AttributeValue> = values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    let update = update.set_key(Some(key)).update_expression(expression);
    let update = update.set_expression_attribute_values((!values.is_empty()).then_some(values));
    update.send().await.unwrap();
}

fn ledger_key(key: &str) -> Item {
    Item::from([("LedgerKey".into(), AttributeValue::S(key.into()))])
}

fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn record_key(record: &Item) -> Item {
    let names = ["PredictionDate", "ClassPredictionID"];
    names
        .map(|name| (name.to_owned(), record[name].clone()))
        .into()
}

/// A kind of damage.
struct Damage {
    /// The kind of the finding.
    kind: &'static str,
    /// Other kinds that come with it.
    also: &'static [&'static str],
    /// Whether it can be mended.
    mended: bool,
}

const fn damage(kind: &'static str, also: &'static [&'static str], mended: bool) -> Damage {
    Damage { kind, also, mended }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_damage_is_found_and_mended_if_it_can_be() {
    for damage in [
        damage("numbers", &[], true),
        damage("issued", &["bins"], true),
        damage("bins", &[], true),
        damage("noObject", &[], true),
        damage("noNight", &["numbers"], true),
        damage("stillWaiting", &[], true),
        damage("unlisted", &[], true),
        damage("unlistedRejection", &[], true),
        damage("ordinals", &["bins"], false),
        damage("noRecord", &["ordinals", "numbers"], false),
        damage("differs", &[], false),
        damage("history", &[], false),
        damage("damaged", &[], false),
    ] {
        let stack = damaged(damage.kind).await;
        let kinds = |found: &[(String, Value)]| {
            let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
            for (kind, _) in found {
                *kinds.entry(kind.clone()).or_default() += 1;
            }
            kinds
        };
        let found = audit(&stack, &[]).await;
        let found = kinds(&found);
        assert!(
            found.contains_key(damage.kind),
            "{}: {found:?}",
            damage.kind
        );
        for kind in found.keys() {
            let expected = kind == damage.kind || damage.also.contains(&kind.as_str());
            assert!(expected, "{}: {found:?}", damage.kind);
        }
        let repaired = audit(&stack, &["--repair"]).await;
        let is_mended =
            |(kind, repair): &(String, Value)| kind == damage.kind && repair == "mended";
        assert_eq!(
            repaired.iter().any(is_mended),
            damage.mended,
            "{}: {repaired:?}",
            damage.kind
        );
        let left = audit(&stack, &[]).await;
        assert_eq!(left.is_empty(), damage.mended, "{}: {left:?}", damage.kind);
        stack.stop().await;
    }
}

/// A stack with four records, one of them reviewed and one deleted, a rejection, and this damage.
async fn damaged(kind: &str) -> Stack {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "FAW", "AAW", "FAW"]).await;
    let ids: Vec<&str> = photos.iter().map(|(_, id)| id.as_str()).collect();
    json(&stack, &["review", ids[0], "--class", "ECLW"]).await;
    json(&stack, &["delete", ids[1]]).await;
    let version = rejected_photo(&stack).await;
    assert_eq!(audit(&stack, &[]).await, []);
    let records = stack.records().await;
    let record = |id: &str| {
        let is = |record: &&Item| string(record, "ClassPredictionID").ends_with(id);
        records.iter().find(is).unwrap()
    };
    let date = string(&records[0], "PredictionDate");
    let faw = ledger_key(&format!("count/{date}/FAW"));
    let object = ledger_key(&format!("object/{}", ids[3]));
    let set = async |table, key, expression, values: &[_]| {
        set(&stack, table, key, expression, values).await;
    };
    match kind {
        "numbers" => {
            let night = string(record(ids[2]), "Night");
            set(
                "ledger",
                ledger_key(&format!("night/{night}/AAW")),
                "SET Live = :n",
                &[(":n", n(7))],
            )
            .await;
            set(
                "ledger",
                ledger_key(&format!("count/{date}/ECLW")),
                "REMOVE Live",
                &[],
            )
            .await;
            let version = string(record(ids[0]), "ModelVersion");
            let confusion = ledger_key(&format!("confusion/{version}"));
            let wrong = stack
                .dynamodb
                .update_item()
                .table_name("ledger")
                .set_key(Some(confusion));
            let wrong = wrong.update_expression("SET #pair = :n");
            let wrong = wrong.expression_attribute_names("#pair", "FAW>ECLW");
            wrong
                .expression_attribute_values(":n", n(3))
                .send()
                .await
                .unwrap();
        }
        "issued" => set("ledger", faw, "SET Issued = :n", &[(":n", n(1))]).await,
        "ordinals" => {
            // Ordinals that nobody has, as if a record and its object had been lost.
            set("ledger", faw, "SET Issued = :n", &[(":n", n(5))]).await;
            let bins = stack.ledger("count/").await;
            let bins = bins
                .iter()
                .find(|item| string(item, "LedgerKey").ends_with("/FAW"));
            let bin = bins
                .unwrap()
                .keys()
                .find(|name| name.contains(".b"))
                .unwrap()
                .clone();
            let update = stack.dynamodb.update_item().table_name("ledger");
            let update = update.set_key(Some(ledger_key(&format!("count/{date}/FAW"))));
            let update = update.update_expression("ADD #bin :n");
            let update = update.expression_attribute_names("#bin", bin);
            update
                .expression_attribute_values(":n", n(2))
                .send()
                .await
                .unwrap();
        }
        "bins" => {
            let counters = stack.ledger("count/").await;
            let counter = counters
                .iter()
                .find(|item| string(item, "LedgerKey").ends_with("/AAW"));
            let counter = counter.unwrap();
            let bin = counter.keys().find(|name| name.contains(".b")).unwrap();
            let key = ledger_key(&string(counter, "LedgerKey"));
            let update = stack
                .dynamodb
                .update_item()
                .table_name("ledger")
                .set_key(Some(key));
            let update = update.update_expression("REMOVE #bin");
            update
                .expression_attribute_names("#bin", bin)
                .send()
                .await
                .unwrap();
        }
        "noObject" => delete(&stack, "ledger", object).await,
        "noRecord" => delete(&stack, "predictions", record_key(record(ids[3]))).await,
        "differs" => {
            set(
                "ledger",
                object,
                "SET Count_ClassName = :n",
                &[(":n", n(17))],
            )
            .await
        }
        "history" => {
            delete(
                &stack,
                "ledger",
                ledger_key(&format!("history/{}/1", ids[0])),
            )
            .await
        }
        "noNight" => {
            let expression = "REMOVE Night, NightKey, CapturedAt, CaptureSource";
            set("predictions", record_key(record(ids[3])), expression, &[]).await;
        }
        "stillWaiting" => {
            let waiting = [
                (":queue", AttributeValue::S("FAW".into())),
                (":rank", AttributeValue::S("0.5#1".into())),
            ];
            let expression = "SET ReviewQueue = :queue, ReviewRank = :rank";
            set(
                "predictions",
                record_key(record(ids[0])),
                expression,
                &waiting,
            )
            .await;
        }
        "unlisted" => delete(&stack, "ledger", ledger_key("classes")).await,
        "unlistedRejection" => {
            let object = ledger_key(&format!("object/{}", crate::support::reviews::id(&version)));
            set("ledger", object, "REMOVE RejectedOn, RejectedAt", &[]).await;
        }
        "damaged" => {
            let wrong = [(":n", AttributeValue::S("much".into()))];
            set(
                "predictions",
                record_key(record(ids[3])),
                "SET Probability = :n",
                &wrong,
            )
            .await;
        }
        _ => panic!("{kind}"),
    }
    stack
}

async fn delete(stack: &Stack, table: &str, key: Item) {
    let delete = stack.dynamodb.delete_item().table_name(table);
    delete.set_key(Some(key)).send().await.unwrap();
}

/// What may be wrong in one attribute: table, attribute, and the value; `None` if it is missing.
fn wrong_attributes() -> Vec<(&'static str, &'static str, Option<AttributeValue>)> {
    let text = |text: &str| Some(AttributeValue::S(text.into()));
    let number = |number: &str| Some(AttributeValue::N(number.into()));
    vec![
        ("predictions", "Probability", None),
        ("predictions", "Probability", number("-3")),
        ("predictions", "ModelVersion", text("x.b1/")),
        // Written by a later version of this program.
        ("predictions", "CaptureSource", text("gps")),
        ("predictions", "ClassName", text("ZZZ")),
        ("predictions", "Count_ClassName", number("4")),
        ("predictions", "Revision", number("18446744073709551615")),
        ("predictions", "Night", text("2026-11-1")),
        ("predictions", "NightKey", None),
        ("predictions", "ReviewedClass", text("")),
        ("object", "Count_ClassName", None),
        ("object", "Status", text("LOST")),
        ("count", "Changes", text("much")),
        ("count", "Issued", text("much")),
        ("night", "Live", number("18446744073709551615")),
        ("count", "d53b8b1f68a1.b09", number("1")),
        ("classes", "Names", text("FAW")),
        ("deployments", "Csv", text("rubbish")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_item_is_named_and_changes_no_counter() {
    let stack = Stack::with(Options::invoked_by_hand()).await;
    let photos = photos(&stack, &["FAW", "FAW", "AAW"]).await;
    let id = &photos[0].1;
    let counters = async || {
        let items = stack.ledger("").await.into_iter();
        let is_counter = |item: &Item| {
            let key = string(item, "LedgerKey");
            key.starts_with("count/") || key.starts_with("night/")
        };
        let counters = items.filter(is_counter);
        let counters = counters.map(|item| (string(&item, "LedgerKey"), item));
        counters.collect::<BTreeMap<String, Item>>()
    };
    for (table, attribute, value) in wrong_attributes() {
        let name = format!("{attribute} {value:?} of {table}");
        let records = stack.records().await;
        let is_first = |record: &&Item| string(record, "ClassPredictionID").ends_with(id.as_str());
        let first = records.iter().find(is_first).unwrap();
        let [date, night] = ["PredictionDate", "Night"].map(|name| string(first, name));
        let key = match table {
            "predictions" => record_key(first),
            "object" => ledger_key(&format!("object/{id}")),
            "count" => ledger_key(&format!("count/{date}/FAW")),
            "night" => ledger_key(&format!("night/{night}/FAW")),
            key => ledger_key(key),
        };
        let in_table = match table {
            "predictions" => table,
            _ => "ledger",
        };
        let get = stack.dynamodb.get_item().table_name(in_table);
        let before = get.set_key(Some(key.clone())).send().await.unwrap().item;
        let mut item = before.clone().unwrap_or_else(|| key.clone());
        match value {
            Some(value) => item.insert(attribute.to_owned(), value),
            None => item.remove(attribute),
        };
        put(&stack, in_table, item).await;
        let planted = counters().await;

        let found = audit(&stack, &["--repair"]).await;
        let is_named = |(kind, _): &(String, Value)| kind == "damaged" || kind == "differs";
        assert!(found.iter().any(is_named), "{name}: {found:?}");
        assert_eq!(counters().await, planted, "{name}: {found:?}");
        // A damaged counter keeps no record from being exported.
        if in_table == "ledger" && table != "deployments" {
            let export = run(&stack, &["export", "--format", "csv"]).await;
            assert!(export.status.success(), "{name}: {export:?}");
        }
        // No command panics.
        for command in [&["counts"][..], &["drift"], &["records"], &["records", id]] {
            let output = run(&stack, command).await;
            assert!(output.status.code() != Some(101), "{name}: {output:?}");
        }
        match before {
            Some(before) => put(&stack, in_table, before).await,
            None => delete(&stack, in_table, key).await,
        }
        assert_eq!(audit(&stack, &[]).await, [], "{name}");
    }
    stack.stop().await;
}

async fn put(stack: &Stack, table: &str, item: Item) {
    let put = stack.dynamodb.put_item().table_name(table);
    put.set_item(Some(item)).send().await.unwrap();
}
