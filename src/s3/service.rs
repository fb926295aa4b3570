//! The S3 operations: translates requests that s3s parsed to calls of the [`Store`], and results to responses.
//!
//! One file for each kind of operation. `wire.rs` converts values, `paging.rs` the parameters of listings, and
//! `error_response.rs` errors. s3s answers `NotImplemented` to every operation that is not in `operations!`.

mod attributes;
mod bucket;
mod copy;
mod delete;
mod error_response;
mod list;
mod list_uploads;
mod multipart;
mod paging;
mod put;
mod read;
mod receive;
mod wire;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::store::Store;
use error_response::explain;

/// The operations of s3s on a [`Store`].
pub(crate) struct Service {
    store: Store,
}

impl Service {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

/// Forwards each operation to the function with its name in the given file.
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
    list_uploads {
        list_parts(ListPartsInput) -> ListPartsOutput;
        list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput;
    }
}
