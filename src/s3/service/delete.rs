//! DeleteObject and DeleteObjects.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use super::error_response::explain;
use super::wire::version_id;
use crate::error::StoreError;
use crate::store::Store;

/// S3's limit on the objects of one DeleteObjects.
const MAX_OBJECTS: usize = 1000;

pub(crate) async fn delete_object(
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
    let deletion = store
        .run(move |store| store.delete(&input.bucket, &input.key, id.as_ref()))
        .await?;
    Ok(DeleteObjectOutput {
        delete_marker: deletion.delete_marker.then_some(true),
        version_id: deletion.version_id,
        ..Default::default()
    })
}

pub(crate) async fn delete_objects(
    store: &Store,
    request: S3Request<DeleteObjectsInput>,
) -> S3Result<DeleteObjectsOutput> {
    let bucket = request.input.bucket;
    let Delete { objects, quiet } = request.input.delete;
    if objects.is_empty() || objects.len() > MAX_OBJECTS {
        return Err(s3_error!(
            MalformedXML,
            "a deletion lists 1 to {MAX_OBJECTS} objects"
        ));
    }
    let output = store
        .run(move |store| {
            store.versioning(&bucket)?;
            let mut deleted = Vec::new();
            let mut errors = Vec::new();
            for object in objects {
                match delete_listed(store, &bucket, &object) {
                    Ok(deletion) => deleted.push(deletion),
                    Err(error) => errors.push(error_entry(store, &bucket, object, error)),
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
    object: &ObjectIdentifier,
) -> Result<DeletedObject, StoreError> {
    let id = version_id(object.version_id.as_deref())?;
    let deletion = store.delete(bucket, &object.key, id.as_ref())?;
    Ok(DeletedObject {
        delete_marker: deletion.delete_marker.then_some(true),
        delete_marker_version_id: deletion.version_id.filter(|_| deletion.delete_marker),
        key: Some(object.key.clone()),
        version_id: object.version_id.clone(),
    })
}

/// The entry of the response for an object that was not deleted. The status of the response is 200, so `server`
/// does not log an internal error.
fn error_entry(store: &Store, bucket: &str, object: ObjectIdentifier, error: StoreError) -> Error {
    let error = explain(S3Error::from(error), store.folder());
    let message = error.message().map(str::to_owned);
    if error.code() == &S3ErrorCode::InternalError {
        let key = &object.key;
        tracing::error!(bucket, key, error = message, "the embedded S3 failed");
    }
    Error {
        code: Some(error.code().as_str().to_owned()),
        key: Some(object.key),
        message,
        version_id: object.version_id,
    }
}

#[cfg(test)]
mod tests {
    use s3s::dto::{Delete, DeleteObjectsInput, ObjectIdentifier};

    use super::{StoreError, delete_objects, error_entry};
    use crate::store::testing::{BUCKET, damage, put, store};
    use crate::test_log::Log;

    fn object(key: &str, version_id: Option<String>) -> ObjectIdentifier {
        ObjectIdentifier {
            key: key.to_owned(),
            version_id,
            ..Default::default()
        }
    }

    /// A request as s3s parses it.
    fn request(objects: Vec<ObjectIdentifier>) -> s3s::S3Request<DeleteObjectsInput> {
        let delete = Delete {
            objects,
            quiet: None,
        };
        let input = DeleteObjectsInput::builder()
            .bucket(BUCKET.to_owned())
            .delete(delete)
            .build()
            .unwrap();
        s3s::S3Request {
            input,
            method: axum::http::Method::POST,
            uri: axum::http::Uri::from_static("/moths?delete"),
            headers: axum::http::HeaderMap::new(),
            extensions: axum::http::Extensions::new(),
            credentials: None,
            region: None,
            service: None,
            trailing_headers: None,
        }
    }

    #[tokio::test]
    async fn damaged_version_is_an_error_of_its_own_entry() {
        let (_folder, store) = store();
        let id = put(&store, "a", b"one").version_id.unwrap();
        put(&store, "b", b"two");
        damage(&store, "UPDATE version SET headers = '' WHERE key = 'a'");
        let objects = vec![object("a", Some(id)), object("b", None)];
        let output = delete_objects(&store, request(objects)).await.unwrap();
        let errors = output.errors.unwrap();
        assert_eq!(errors[0].code.as_deref(), Some("InternalError"));
        let message = errors[0].message.as_deref().unwrap();
        assert!(message.contains("column headers of version"), "{message}");
        assert_eq!(output.deleted.unwrap().len(), 1);
    }

    #[test]
    fn only_an_internal_error_is_logged_and_once() {
        let (_folder, store) = store();
        let (log, _guard) = Log::start();
        let refusal = StoreError::InvalidVersionId("x".to_owned());
        error_entry(&store, BUCKET, object("a", None), refusal);
        assert!(log.lines().is_empty());
        let damage = StoreError::damaged("version 1 has no blob");
        error_entry(&store, BUCKET, object("a", None), damage);
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("ERROR") && lines[0].contains("version 1 has no blob"));
    }
}
