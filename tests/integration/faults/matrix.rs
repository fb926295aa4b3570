//! Each fault in each call it can happen to.

use futures_util::future::join_all;

use super::{OPERATIONS, options, upload};
use crate::support::{
    event::outcome,
    exclusive,
    promise::{self, Reference, deliver},
    proxy::Fault,
    stack::Stack,
};

/// The call that counts a photo.
const COMMIT: &str = "TransactWriteItems";
/// Failed attempts in a row. The SDK's retries overcome one, and do not overcome four.
const IN_A_ROW: [usize; 2] = [1, 4];

#[derive(Clone, Copy)]
struct Case {
    fault: Fault,
    operation: &'static str,
    in_a_row: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_of_every_call_is_overcome() {
    // Every fault that takes no time: in the commit, unless it cannot happen there.
    let faults = Fault::WIRE
        .into_iter()
        .filter(|fault| *fault != Fault::Delay);
    let case = |fault: Fault| Case {
        fault,
        operation: match fault.happens_to(COMMIT) {
            true => COMMIT,
            false => OPERATIONS
                .into_iter()
                .find(|operation| fault.happens_to(operation))
                .expect("each fault happens to a call"),
        },
        in_a_row: 1,
    };
    all_are_overcome(vec![faults.map(case).collect()]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 70 cases"]
async fn every_fault_of_every_call_is_overcome() {
    // Each fault has a stack of its own. A delay takes long, so that each of its cases has one.
    let mut jobs: Vec<Vec<Case>> = Vec::new();
    for fault in Fault::WIRE {
        let operations = OPERATIONS
            .into_iter()
            .filter(|operation| fault.happens_to(operation));
        let cases = operations.flat_map(|operation| {
            IN_A_ROW.map(|in_a_row| Case {
                fault,
                operation,
                in_a_row,
            })
        });
        match fault {
            Fault::Delay => jobs.extend(cases.map(|case| vec![case])),
            _ => jobs.push(cases.collect()),
        }
    }
    all_are_overcome(jobs).await;
}

/// Runs the cases of each job one after the other on one stack, and all jobs at once.
async fn all_are_overcome(jobs: Vec<Vec<Case>>) {
    let _turn = exclusive::turn().await;
    let cases: usize = jobs.iter().map(Vec::len).sum();
    join_all(jobs.into_iter().map(async |cases| {
        let stack = Stack::with(options()).await;
        let mut reference = Reference::new();
        for case in cases {
            case.is_overcome(&stack, &mut reference).await;
        }
        stack.stop().await;
    }))
    .await;
    println!("{cases} cases");
}

impl Case {
    async fn is_overcome(self, stack: &Stack, reference: &mut Reference) {
        let Self {
            fault,
            operation,
            in_a_row,
        } = self;
        let key = format!("{fault:?}-{operation}-{in_a_row}.png");
        let version = upload(stack, reference, operation, &key).await;
        let proxy = stack.proxy_of(operation);
        let name = format!("{operation} {fault:?}");
        let injected = || proxy.faults().get(&name).copied().unwrap_or_default();
        let before = injected();
        proxy.next(operation, fault, in_a_row);
        // One invocation is enough: it tries again until its deadline.
        let answer = deliver(stack, &version)
            .await
            .unwrap_or_else(|error| panic!("{key}: {error}"));
        let expected = match operation {
            "PutItem" => "rejected",
            _ => "recorded",
        };
        assert_eq!(outcome(&answer)["outcome"], expected, "{key}");
        // Not every planned fault happens: a commit that reached the table is looked up, not made again.
        assert!(injected() > before, "{key}: no fault was injected");
        proxy.heal();
        let again = deliver(stack, &version).await.unwrap();
        assert_eq!(outcome(&again)["outcome"], "duplicate", "{key}");
        promise::check(stack, reference).await;
    }
}
