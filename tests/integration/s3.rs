//! The embedded S3 answers the real SDK client as S3 does.

mod buckets;
mod completions;
mod failures;
mod forms;
mod full_disk;
mod hosts;
mod listings;
mod multipart;
mod notifications;
mod objects;
mod older_data;
mod ranges;
mod signatures;
mod upload;
mod versions;
