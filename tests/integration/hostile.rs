//! Harmful input: files that are damaged, lie about their format, or exhaust memory, and keys that would break a log
//! or a URL.

mod corpus;
mod files;
mod formats;
mod keys;
#[cfg(target_os = "linux")]
mod memory;
mod mutation;
mod mutations;
mod parsers;
#[cfg(target_os = "linux")]
pub(super) mod photos;
#[path = "../fuzz/targets.rs"]
mod targets;
mod tasting;

use crate::support::{photo::COLOR_MODEL, stack::Options};

/// A stack with one process of the colour model, invoked by puts.
fn options() -> Options<'static> {
    Options {
        variables: &[COLOR_MODEL],
        processes: 1,
        ..Options::default()
    }
}
