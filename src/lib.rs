//! Classifies photos that arrive in S3 and counts each of them exactly once in DynamoDB.
//!
//! # The data path
//!
//! ```text
//! event JSON ─ event::parse ─▶ [ObjectCreated] ─ aws::Bucket::fetch ─▶ bytes ─ photo ─▶ InputTensor
//!   ─ model::Model::run ─▶ Probabilities ─▶ Prediction ─ ledger::Ledger::commit ─▶ Outcome
//!   ─ respond ─▶ answer, log lines, metrics
//! ```
//!
//! The modules in the order of the data path:
//!
//! 1. [`handler`] is what AWS Lambda calls. It reads [`config`], loads the model once, and passes each event
//!    through the modules below.
//! 2. [`event`] turns the JSON of an event of any source into [`object::ObjectCreated`]s, with the
//!    [`object::ObjectId`] under which each photo is counted.
//! 3. `pipeline.rs` takes all photos of an event to their outcomes (`outcome.rs`). Read it next.
//! 4. [`aws`] reads exactly the object version of the event, chooses the pauses between retries, and finds
//!    the resources of a deployed stack.
//! 5. [`classifier`] is the CPU-bound stage: [`photo`] turns bytes into the tensor that the manifest
//!    describes, and [`model`] runs the network through `tract`. `cpus.rs` is the CPU policy.
//! 6. [`prediction`] has the terms and formats of a record.
//! 7. [`ledger`] writes record, counter and ledger item in one transaction. Its
//!    docs explain why each version is counted once.
//! 8. `respond/` makes answer, log lines and metrics from the outcomes.
//!
//! On the data path, two modules call AWS: `aws/bucket.rs` and [`ledger`]. The rest is pure computation.
//!
//! # The promise
//!
//! Each object version is counted once, in one class, on one day. The records of a day and class have the
//! ordinals 1..N without gap or repeat. Duplicate deliveries, retries, kills and concurrent instances do not
//! change that. [`ledger`] explains how.
//!
//! # Failures
//!
//! A [`photo::Rejection`] is a fact about a photo. An [`error::Error`] leaves the photo without outcome, and its
//! event is delivered again.
//!
//! | failure | outcome |
//! |---|---|
//! | not a photo, damaged, truncated, too large, unsupported | REJECTED in the ledger, with the reason; the invocation succeeds |
//! | version deleted | REJECTED in the ledger; the invocation succeeds |
//! | version archived | reported as rejected, but not in the ledger: its event may be sent again after a restore |
//! | throttling, server error, timeout, lost connection, conflict | retried with back-off until the deadline, then reported to Lambda, which retries |
//! | access denied, missing table or bucket | reported to Lambda; after its retries the event is in the failure destination |
//! | malformed event | reported to Lambda, after the other records were processed |
//! | any failure that is reported, in an SQS message | the answer names this message, and SQS delivers it again |
//! | any failure that is reported, in a task of S3 Batch Operations | the result of this task |
//! | a step that loses the result of a photo (a defect) | [`error::Error::NoResult`]: the photo counts as failed |
//! | `s3:TestEvent`, removals | nothing to do |
//!
//! # Outside the function
//!
//! [`records`] is for the people who use the records: it reads, reviews, deletes and audits them. [`deployments`] is
//! the table of stations and cameras, and [`export`] writes records for other programs. [`http`] is the HTTP API: it
//! classifies photos, and opens the records to people and programs.
//!
//! [`cli`] has the commands of the same binary. `local` runs the whole system on one machine: the `local`
//! module (cargo feature `local`) embeds S3, DynamoDB and the Lambda Runtime API, and starts this binary
//! again as the function. Nothing is mocked. `redeliver` (cargo feature `stack`) invokes a deployed function
//! with the messages in the failure queue.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod aws;
pub mod capture;
pub mod classifier;
pub mod cli;
pub mod config;
mod cpus;
pub mod deployments;
pub mod error;
pub mod event;
pub mod export;
pub mod handler;
pub mod http;
pub mod ledger;
#[cfg(feature = "local")]
pub mod local;
mod logging;
pub mod model;
pub mod object;
mod outcome;
pub mod photo;
mod pipeline;
pub mod prediction;
pub mod records;
#[cfg(feature = "stack")]
mod redeliver;
mod respond;
