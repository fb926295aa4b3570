//! The promise holds whatever call fails, and wherever the function is killed.

mod commits;
mod deadline;
mod kills;
mod matrix;

use crate::support::{
    promise::{self, Reference, Version},
    stack::{Options, Stack},
};

/// The calls of the function. It makes the last one to reject an object that is no photo.
const OPERATIONS: [&str; 4] = ["BatchGetItem", "GetObject", "TransactWriteItems", "PutItem"];

fn options() -> Options<'static> {
    Options {
        processes: 1,
        proxied: true,
        ..Options::invoked_by_hand()
    }
}

/// Uploads an object for which the function calls `operation`.
async fn upload(stack: &Stack, reference: &mut Reference, operation: &str, key: &str) -> Version {
    let class = match operation {
        "PutItem" => None,
        _ => Some("FAW"),
    };
    promise::upload(stack, reference, key, class).await
}
