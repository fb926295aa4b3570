//! A versioned S3 on disk, for a laptop and for tests.
//!
//! ```text
//! HTTP ─ server (axum) ─▶ s3s (SigV4, XML, headers) ─▶ service ─▶ Store ─┬▶ objects.sqlite
//!                                                                        ├▶ blobs/, one file per version
//!                                                                        └▶ Notification channel
//! ```
//!
//! [`Store`] holds the semantics: versions, delete markers, conditional writes, multipart uploads and the
//! notification of every version created in one bucket. `service` only translates between it and the wire;
//! [`serve`] listens.
//!
//! Where s3s differs from S3, `form` and `range` rewrite requests before it reads them, and `answer` completes its
//! answers.
//!
//! Every change is one SQLite transaction. A blob is written before the row that names it is committed, and
//! removed after the row is gone, so a crash loses nothing acknowledged and leaves at most blobs that no row
//! names: [`Store::open`] removes those.
//!
//! Not implemented: tags, ACLs, object lock, encryption, lifecycle, bucket policies, reading by part number.

mod answer;
mod auth;
mod blob;
mod buckets;
mod checksum;
mod completed;
mod completion;
mod error;
mod failure;
mod form;
mod host;
mod listing;
mod multipart;
mod notification;
mod objects;
mod range;
mod rows;
mod server;
mod service;
mod store;
mod version;

pub use auth::Credentials;
pub use error::StoreError;
pub use notification::Notification;
pub use server::serve;
pub use store::{Configuration, Store};
