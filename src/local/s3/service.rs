//! The S3 operations: requests as s3s parses them, answered from the [`Store`].
//!
//! One file for each kind of operation; what is not listed here answers `NotImplemented`.

mod attributes;
mod bucket;
mod copy;
mod delete;
mod list;
mod multipart;
mod put;
mod read;
mod receive;
mod uploads;

use std::net::{IpAddr, Ipv4Addr};

use axum::http::Extensions;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use super::failure::explain;
use super::notification::Caller;
use super::store::Store;
use super::version::VersionId;

pub(super) struct Service {
    store: Store,
}

impl Service {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }
}

/// Forwards each operation to the function of its name in its file.
macro_rules! operations {
    ($($file:ident { $($name:ident($input:ident) -> $output:ident;)* })*) => {
        #[async_trait::async_trait]
        impl S3 for Service {
            $($(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    match $file::$name(&self.store, request).await {
                        Ok(output) => Ok(S3Response::new(output)),
                        Err(error) => Err(explain(error, self.store.folder())),
                    }
                }
            )*)*
        }
    };
}

operations! {
    bucket {
        create_bucket(CreateBucketInput) -> CreateBucketOutput;
        delete_bucket(DeleteBucketInput) -> DeleteBucketOutput;
        head_bucket(HeadBucketInput) -> HeadBucketOutput;
        list_buckets(ListBucketsInput) -> ListBucketsOutput;
        get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput;
        get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput;
        put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput;
    }
    put {
        put_object(PutObjectInput) -> PutObjectOutput;
    }
    copy {
        copy_object(CopyObjectInput) -> CopyObjectOutput;
    }
    delete {
        delete_object(DeleteObjectInput) -> DeleteObjectOutput;
        delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput;
    }
    read {
        get_object(GetObjectInput) -> GetObjectOutput;
        head_object(HeadObjectInput) -> HeadObjectOutput;
        get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput;
    }
    attributes {
        get_object_attributes(GetObjectAttributesInput) -> GetObjectAttributesOutput;
    }
    list {
        list_objects(ListObjectsInput) -> ListObjectsOutput;
        list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output;
        list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput;
    }
    multipart {
        create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput;
        upload_part(UploadPartInput) -> UploadPartOutput;
        upload_part_copy(UploadPartCopyInput) -> UploadPartCopyOutput;
        complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput;
        abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput;
    }
    uploads {
        list_parts(ListPartsInput) -> ListPartsOutput;
        list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    }
}

/// Who asks, as `server` noted it.
fn caller(extensions: &Extensions) -> Caller {
    extensions.get().cloned().unwrap_or_else(|| Caller {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request_id: String::new(),
    })
}

fn version_id(text: Option<&str>) -> S3Result<Option<VersionId>> {
    Ok(text.map(VersionId::parse).transpose()?)
}

/// S3 shows an owner in many places; here there is one.
fn owner() -> Owner {
    Owner {
        display_name: Some("local".to_owned()),
        id: Some("local".to_owned()),
    }
}
