//! The function is killed at each step.

use super::{OPERATIONS, options, upload};
use crate::support::{
    promise::{self, Reference, deliver, deliver_until_done},
    proxy::Fault,
    stack::Stack,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_function_leaves_nothing_half_done() {
    let stack = Stack::with(options()).await;
    let mut reference = Reference::new();
    for operation in OPERATIONS {
        for fault in Fault::KILLS {
            let key = format!("{fault:?}-{operation}.png");
            let version = upload(&stack, &mut reference, operation, &key).await;
            stack.proxy_of(operation).next(operation, fault, 1);
            let killed = deliver(&stack, &version).await;
            // The function may answer Lambda before the signal ends it.
            if fault != Fault::KillAnswered {
                let error = killed.unwrap_err();
                assert_eq!(error["errorType"], "Runtime.ExitError", "{key}");
            }
            let (answer, _) = deliver_until_done(&stack, &version).await;
            let was_committed = fault != Fault::KillBefore
                && ["TransactWriteItems", "PutItem"].contains(&operation);
            match (was_committed, operation) {
                (true, _) => assert_eq!(answer["outcome"], "duplicate", "{key}"),
                (false, "PutItem") => assert_eq!(answer["outcome"], "rejected", "{key}"),
                // The first delivery may have been quicker than the signal.
                (false, _) if fault == Fault::KillAnswered => {}
                (false, _) => assert_eq!(answer["outcome"], "recorded", "{key}"),
            }
            promise::check(&stack, &reference).await;
        }
    }
    stack.stop().await;
}
