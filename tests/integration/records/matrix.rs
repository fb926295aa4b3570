//! Each fault in each call of a change, a list, an audit and an import.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::{photos, run, through_proxy};
use crate::support::{
    exclusive,
    proxy::Fault,
    reviews,
    stack::{Options, Stack},
};

/// Failed attempts in a row. The SDK's retries overcome one, and do not overcome four.
const IN_A_ROW: [usize; 2] = [1, 4];

/// Commands, each with the calls that it makes. `ID` stands for the record, `NEW` for a class that nobody used before. One after the other they undo each other.
const COMMANDS: [(&[&str], &[&str]); 9] = [
    (
        &["review", "ID", "--class", "AAW"],
        &["BatchGetItem", "GetItem", "TransactWriteItems"],
    ),
    (
        &["review", "ID", "--class", "NEW", "--new-class"],
        &["UpdateItem"],
    ),
    (
        &["review", "ID", "--withdraw"],
        &["BatchGetItem", "GetItem", "TransactWriteItems"],
    ),
    (
        &["delete", "ID"],
        &["BatchGetItem", "GetItem", "TransactWriteItems"],
    ),
    (&["restore", "ID"], &["BatchGetItem", "TransactWriteItems"]),
    (&["records"], &["Query"]),
    (&["counts"], &["BatchGetItem"]),
    (&["audit"], &["Scan"]),
    (&["deployments", "import", "FILE"], &["PutItem"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_of_every_call_of_people_is_overcome() {
    every_fault_is_overcome(&[Fault::DropAfter], &[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 234 cases"]
async fn every_fault_of_every_call_of_people_is_overcome() {
    let faults = Fault::WIRE
        .into_iter()
        .filter(|fault| *fault != Fault::Delay);
    every_fault_is_overcome(&faults.collect::<Vec<_>>(), &IN_A_ROW).await;
}

/// Each fault has a stack of its own, because most of the time passes in pauses between attempts.
async fn every_fault_is_overcome(faults: &[Fault], in_a_row: &[usize]) {
    let _turn = exclusive::turn().await;
    let cases = faults.iter().map(|&fault| is_overcome(fault, in_a_row));
    let cases: usize = join_all(cases).await.into_iter().sum();
    println!("{cases} cases");
}

/// Injects `fault` into each call of each command. Returns the number of cases.
async fn is_overcome(fault: Fault, in_a_row: &[usize]) -> usize {
    let stack = Stack::with(Options {
        processes: 1,
        proxied: true,
        ..Options::invoked_by_hand()
    })
    .await;
    let photos = photos(&stack, &["FAW", "AAW"]).await;
    let id = &photos[0].1;
    let file = stack.folder().join("deployments.csv");
    let table = "deploymentID,locationID,latitude,longitude,deploymentStart,deploymentEnd\n\
                 d1,field-0,6.5,3.4,2026-01-01T00:00:00Z,2026-12-31T00:00:00Z\n";
    std::fs::write(&file, table).unwrap();
    let proxy = stack.dynamodb_proxy();
    let mut cases = 0;
    for &count in in_a_row {
        for (command, calls) in COMMANDS {
            for &call in calls.iter().filter(|call| fault.happens_to(call)) {
                undo_first(&stack, command, id).await;
                let name = format!("{call} {fault:?}");
                let injected = || proxy.faults().get(&name).copied().unwrap_or_default();
                let before = injected();
                proxy.next(call, fault, count);
                let new_class = format!("species {cases}");
                let arguments = command.iter().map(|argument| match *argument {
                    "ID" => id.as_str(),
                    "FILE" => file.to_str().unwrap(),
                    "NEW" => new_class.as_str(),
                    argument => argument,
                });
                let arguments: Vec<&str> = arguments.collect();
                let output = through_proxy(&stack, &arguments).await;
                assert!(
                    output.status.success(),
                    "{command:?} {name} {count}: {output:?}"
                );
                assert!(injected() > before, "{command:?}: no {name} was injected");
                proxy.heal();
                cases += 1;
            }
        }
    }
    let classes = photos.iter().zip(["FAW", "AAW"]);
    let classes: BTreeMap<String, &str> = classes
        .map(|((_, id), class)| (id.clone(), class))
        .collect();
    reviews::check(&stack, &classes).await;
    let audit = run(&stack, &["audit"]).await;
    assert!(audit.status.success(), "{audit:?}");
    stack.stop().await;
    cases
}

/// Brings the record into the state that `command` needs.
async fn undo_first(stack: &Stack, command: &[&str], id: &str) {
    let needed = match command {
        ["review", _, "--withdraw"] => [&["restore", id][..], &["review", id, "--class", "AAW"]],
        ["restore", ..] => [&["restore", id][..], &["delete", id]],
        _ => [&["restore", id][..], &["review", id, "--withdraw"]],
    };
    for arguments in needed {
        // It may be in that state already.
        run(stack, arguments).await;
    }
}
