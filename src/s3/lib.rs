//! A versioned S3 on one machine's disk, for local development and tests.
//!
//! ```text
//! HTTP ─ server (axum) ─▶ s3s (SigV4, XML, headers) ─▶ service ─▶ Store ─┬▶ objects.sqlite
//!                                                                        ├▶ blobs/, one file per version
//!                                                                        └▶ channel of Notifications
//! ```
//!
//! [`Store`] implements the semantics of S3: versions, delete markers, conditional writes, multipart uploads, and a
//! [`Notification`] for every version created in one bucket. `service` translates between the store and s3s, the
//! crate that parses the protocol. [`serve`] listens for HTTP. Where s3s differs from S3, `server::form` and
//! `server::range` rewrite requests before s3s reads them, and `server::response` corrects its responses.
//!
//! # Why another S3
//!
//! A function that handles S3 events identifies a photo by bucket, key, version id and sequencer. A stand-in for S3
//! must therefore have versions and send the events of real S3.
//!
//! - [`s3s-fs`](https://crates.io/crates/s3s-fs), the file-system example of s3s, has neither versions nor events.
//! - [MinIO](https://github.com/minio/minio) has both, but it is a separate server under AGPL-3.0, which would have
//!   to be installed, and configured with a target for its events.
//!
//! # Layout on disk
//!
//! | path in the folder | content |
//! |---|---|
//! | `objects.sqlite` | buckets, versions, uploads, parts, completed uploads and undelivered notifications; see `store::schema` |
//! | `blobs/` | the bytes of versions and parts: one immutable file for each, with a random name |
//!
//! Every change is one SQLite transaction. A blob is written before the transaction that refers to it commits, and
//! removed after the transaction that drops the reference has committed. A killed process therefore loses nothing
//! that it acknowledged, and leaves at most blobs without a reference: [`Store::open`] removes those. A power cut
//! may lose the last transactions, because nothing is synced to the disk on commit.
//!
//! A row that breaks an invariant, and a blob that is missing or has the wrong size, is an error: the client gets
//! `500 InternalError`, and one line is logged at ERROR. Nothing is skipped or replaced by a default.
//!
//! # Operations
//!
//! | kind | operations |
//! |---|---|
//! | buckets | CreateBucket, DeleteBucket, HeadBucket, ListBuckets, GetBucketLocation, GetBucketVersioning, PutBucketVersioning |
//! | objects | PutObject, POST forms, GetObject, HeadObject, CopyObject, DeleteObject, DeleteObjects, GetObjectAttributes, GetObjectTagging (always empty) |
//! | listings | ListObjects, ListObjectsV2, ListObjectVersions |
//! | multipart uploads | CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload, AbortMultipartUpload, ListParts, ListMultipartUploads |
//!
//! Every other operation is answered `501 NotImplemented`. Not served: tags, ACLs, object lock, encryption,
//! lifecycle rules, bucket policies, CORS, access points, reads by part number, conditional deletes, listings of
//! uploads with a delimiter, and anonymous requests.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod checksum;
mod error;
mod key_encoding;
mod server;
mod service;
mod store;
#[cfg(test)]
mod test_log;

pub use error::StoreError;
pub use server::{Credentials, serve};
pub use store::{Configuration, Notification, Store};
