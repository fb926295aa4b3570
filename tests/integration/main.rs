//! Drives the real binary over real HTTP: as a command, and as the function between the embedded S3, DynamoDB
//! and Lambda.
//!
//! All topics are modules of one crate, which is linked once. Tests that take long are ignored with the reason
//! "long": `cargo test --locked -- --include-ignored` runs them too.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cli;
mod events;
mod exactly_once;
mod faults;
mod function;
mod golden;
mod hostile;
mod http;
mod records;
mod s3;
#[path = "../support/mod.rs"]
mod support;
