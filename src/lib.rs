//! Classifies photos that arrive in S3 and counts them, each exactly once, in DynamoDB.
//!
//! A photo's way, in the order of the modules:
//!
//! ```text
//! event JSON ─ event::parse ─▶ [ObjectCreated] ─ Bucket::fetch ─▶ bytes ─ Encoded::decode ─▶
//!   Picture ─ preprocess::tensor ─▶ InputTensor ─ Classifier::classify ─▶ Probabilities ─▶
//!   Prediction ─ Ledger::commit ─▶ Outcome
//! ```
//!
//! 1. [`handler`] is what AWS Lambda calls. It reads [`config::Config`] and loads the model once, tries
//!    every record of an event, and gives the [`response`] that the event's source reads.
//! 2. [`event`] turns the JSON of an event, whoever sent it, into the [`object::ObjectCreated`]s it tells of.
//! 3. [`pipeline`] brings all of them to their [`outcome`]s; it is the page to read next.
//! 4. [`bucket`] fetches exactly the object version of the event.
//! 5. [`predictor`] is the part between the two networks, of one picture: [`format`](mod@format) tells
//!    what the bytes are, [`orientation`] which way up they are shown, [`preprocess`] decodes them and
//!    makes the tensor that the model's [`manifest`] asks for, [`classifier`] runs the model through
//!    `tract`.
//! 6. [`prediction`] says what the record will say.
//! 7. [`ledger`] writes records, count and the fact that they were counted in one transaction.
//! 8. [`metrics`] tell CloudWatch what happened.
//!
//! Two modules touch the network, [`bucket`] and [`ledger`], with clients that [`aws`] sets up and
//! pauses that [`retry`] draws. What goes wrong with one object is an [`error::Error`], and either a
//! fact about the object or worth another try.
//!
//! # The promise
//!
//! Each object version is counted once, in one class, on one day, and the records of a day and class
//! carry the ordinals 1..N without gap or repeat, whatever is delivered twice, tried again, killed or
//! run at once. [`ledger`] says how.
//!
//! # When it fails
//!
//! | what | outcome |
//! |---|---|
//! | not a picture, damaged, cut off, too large, unsupported | REJECTED in the ledger, with the reason; the invocation succeeds |
//! | version deleted | as above |
//! | version archived | as above, but not in the ledger: once restored it may come again |
//! | throttling, server error, timeout, lost connection, conflict | tried again with back-off until the deadline, then reported to Lambda, which tries again |
//! | access denied, missing table or bucket | reported to Lambda; the event ends in the failure destination |
//! | malformed event | reported to Lambda, after the other records were worked on |
//! | any of these in a message of a queue | just that message is named in the answer, and comes again |
//! | any of these in a task of S3 Batch Operations | the task's own result |
//! | `s3:TestEvent`, removals | nothing to do |
//!
//! # For a deployed stack
//!
//! `redeliver` (cargo feature `stack`) invokes the function again with what it gave up on, out of the failure
//! queue of a [`stack`].
//!
//! # On a laptop
//!
//! [`cli`] has the commands of the same binary. `local` runs the whole of it in one process group:
//! the `local` module (cargo feature `local`) embeds S3, DynamoDB and the Lambda Runtime API, and
//! starts this binary again as the function. Nothing is mocked; one path serves everywhere.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod aws;
pub mod bucket;
pub mod classifier;
pub mod cli;
pub mod config;
pub mod container;
pub mod error;
pub mod event;
pub mod format;
pub mod handler;
pub mod jpeg;
pub mod ledger;
#[cfg(feature = "local")]
pub mod local;
pub mod logging;
pub mod manifest;
pub mod metrics;
pub mod object;
pub mod orientation;
pub mod outcome;
pub mod pipeline;
pub mod prediction;
pub mod predictor;
pub mod preprocess;
#[cfg(feature = "stack")]
pub mod redeliver;
pub mod response;
pub mod retry;
#[cfg(feature = "stack")]
pub mod stack;
