//! Deleting versions and hiding objects.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::version_id;
use crate::local::s3::error::StoreError;
use crate::local::s3::store::Store;
use crate::local::s3::version::VersionId;

pub(super) async fn delete_object(
    store: &Store,
    request: S3Request<DeleteObjectInput>,
) -> S3Result<DeleteObjectOutput> {
    let input = request.input;
    if input.if_match.is_some()
        || input.if_match_size.is_some()
        || input.if_match_last_modified_time.is_some()
    {
        return Err(s3_error!(
            NotImplemented,
            "conditional deletion is not implemented"
        ));
    }
    let id = version_id(input.version_id.as_deref())?;
    let deleted = store
        .run(move |store| store.delete(&input.bucket, &input.key, id.as_ref()))
        .await?;
    Ok(DeleteObjectOutput {
        delete_marker: deleted.delete_marker.then_some(true),
        version_id: deleted.version_id,
        ..Default::default()
    })
}

pub(super) async fn delete_objects(
    store: &Store,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let bucket = request.input.bucket;
    let Delete { objects, quiet } = request.input.delete;
    if objects.is_empty() || objects.len() > 1000 {
        return Err(s3_error!(
            MalformedXML,
            "a deletion lists 1 to 1000 objects"
        ));
    }
    let output = store
        .run(move |store| {
            store.versioning(&bucket)?;
            let mut deleted = Vec::new();
            let mut errors = Vec::new();
            for object in objects {
                let key = object.key.clone();
                let version_id = object.version_id.clone();
                match delete_listed(store, &bucket, object) {
                    Ok(done) => deleted.push(done),
                    Err(error) => {
                        let error = s3s::S3Error::from(error);
                        errors.push(Error {
                            code: Some(error.code().as_str().to_owned()),
                            key: Some(key),
                            message: error.message().map(str::to_owned),
                            version_id,
                        });
                    }
                }
            }
            if quiet == Some(true) {
                deleted.clear();
            }
            Ok(DeleteObjectsOutput {
                deleted: Some(deleted),
                errors: Some(errors),
                ..Default::default()
            })
        })
        .await?;
    Ok(output)
}

fn delete_listed(
    store: &Store,
    bucket: &str,
    object: ObjectIdentifier,
) -> Result<DeletedObject, StoreError> {
    let id = object
        .version_id
        .as_deref()
        .map(VersionId::parse)
        .transpose()?;
    let deleted = store.delete(bucket, &object.key, id.as_ref())?;
    Ok(DeletedObject {
        delete_marker: deleted.delete_marker.then_some(true),
        delete_marker_version_id: deleted.version_id.filter(|_| deleted.delete_marker),
        key: Some(object.key),
        version_id: object.version_id,
    })
}
