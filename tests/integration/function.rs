//! The function: the real binary behind a real Runtime API, S3 and DynamoDB.

mod batch;
mod buckets;
mod capture;
mod deliveries;
mod metrics;
mod record;
mod upgrade;
