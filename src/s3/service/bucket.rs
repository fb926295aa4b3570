//! Operations on buckets.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::wire::{owner, timestamp};
use crate::error::StoreError;
use crate::store::Store;
use crate::store::version::Versioning;

/// The region in which S3 keeps two old rules: a bucket can be created again, and has no location constraint.
const US_EAST_1: &str = "us-east-1";

pub(crate) async fn create_bucket(
    store: &Store,
    request: S3Request<CreateBucketInput>,
) -> S3Result<CreateBucketOutput> {
    let bucket = request.input.bucket;
    let location = Some(format!("/{bucket}"));
    match store.run(move |store| store.add_bucket(&bucket)).await {
        Err(StoreError::BucketExists(_)) if store.region() == US_EAST_1 => {}
        created => created?,
    }
    Ok(CreateBucketOutput { location })
}

pub(crate) async fn delete_bucket(
    store: &Store,
    request: S3Request<DeleteBucketInput>,
) -> S3Result<DeleteBucketOutput> {
    store
        .run(move |store| store.remove_bucket(&request.input.bucket))
        .await?;
    Ok(DeleteBucketOutput {})
}

pub(crate) async fn head_bucket(
    store: &Store,
    request: S3Request<HeadBucketInput>,
) -> S3Result<HeadBucketOutput> {
    store
        .run(move |store| store.versioning(&request.input.bucket))
        .await?;
    Ok(HeadBucketOutput {
        bucket_region: Some(store.region().to_owned()),
        ..Default::default()
    })
}

pub(crate) async fn list_buckets(
    store: &Store,
    request: S3Request<ListBucketsInput>,
) -> S3Result<ListBucketsOutput> {
    let prefix = request.input.prefix.unwrap_or_default();
    let buckets = store.run(Store::buckets).await?;
    let buckets = buckets
        .into_iter()
        .filter(|bucket| bucket.name.starts_with(&prefix))
        .map(|bucket| Bucket {
            bucket_region: Some(store.region().to_owned()),
            creation_date: Some(timestamp(bucket.created)),
            name: Some(bucket.name),
        })
        .collect();
    Ok(ListBucketsOutput {
        buckets: Some(buckets),
        owner: Some(owner()),
        ..Default::default()
    })
}

pub(crate) async fn get_bucket_location(
    store: &Store,
    request: S3Request<GetBucketLocationInput>,
) -> S3Result<GetBucketLocationOutput> {
    store
        .run(move |store| store.versioning(&request.input.bucket))
        .await?;
    let location_constraint = match store.region() {
        US_EAST_1 => None,
        region => Some(BucketLocationConstraint::from(region.to_owned())),
    };
    Ok(GetBucketLocationOutput {
        location_constraint,
    })
}

pub(crate) async fn get_bucket_versioning(
    store: &Store,
    request: S3Request<GetBucketVersioningInput>,
) -> S3Result<GetBucketVersioningOutput> {
    let versioning = store
        .run(move |store| store.versioning(&request.input.bucket))
        .await?;
    let status = match versioning {
        Versioning::Unversioned => None,
        Versioning::Enabled => Some(BucketVersioningStatus::ENABLED),
        Versioning::Suspended => Some(BucketVersioningStatus::SUSPENDED),
    };
    Ok(GetBucketVersioningOutput {
        status: status.map(BucketVersioningStatus::from_static),
        ..Default::default()
    })
}

pub(crate) async fn put_bucket_versioning(
    store: &Store,
    request: S3Request<PutBucketVersioningInput>,
) -> S3Result<PutBucketVersioningOutput> {
    let status = request.input.versioning_configuration.status;
    let versioning = match status.as_ref().map(BucketVersioningStatus::as_str) {
        Some(BucketVersioningStatus::ENABLED) => Versioning::Enabled,
        Some(BucketVersioningStatus::SUSPENDED) => Versioning::Suspended,
        _ => {
            return Err(s3_error!(
                IllegalVersioningConfigurationException,
                "versioning status must be Enabled or Suspended"
            ));
        }
    };
    store
        .run(move |store| store.set_versioning(&request.input.bucket, versioning))
        .await?;
    Ok(PutBucketVersioningOutput {})
}
