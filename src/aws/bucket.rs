//! Reads exactly one object version from S3.

use std::collections::HashMap;

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        get_object::{GetObjectError, GetObjectOutput},
        head_object::HeadObjectError,
    },
};
use chrono::{DateTime, Utc};

use super::{Backoff, Deadline, is_transient};
use crate::{
    error::{Error, Source},
    object::{ObjectId, ObjectVersion, VersionId},
};

/// Reads objects, of any bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    max_bytes: u64,
}

/// What S3 has for an object version.
#[derive(Debug)]
pub enum Fetched {
    /// The object, complete.
    Object(Read, Vec<u8>),
    /// The object has more than the maximum number of bytes and was not downloaded.
    TooLarge {
        /// The version that S3 returned.
        read: Read,
        /// Size of the object.
        bytes: u64,
        /// The maximum.
        limit: u64,
    },
    /// The version does not exist: it was deleted.
    Gone,
    /// The version is in an archive tier, from which a restore takes hours.
    Archived,
}

/// The version that S3 returned.
#[derive(Debug)]
pub struct Read {
    /// The object, with the version id that S3 returned if the event named none.
    pub object: ObjectVersion,
    /// The id under which it is counted.
    pub id: ObjectId,
    /// When the version was created.
    pub last_modified: DateTime<Utc>,
    /// Object metadata, by name without `x-amz-meta-`.
    pub metadata: HashMap<String, String>,
}

impl Bucket {
    /// Reads through `client`. Objects with more than `max_bytes` are not downloaded.
    pub fn new(client: Client, max_bytes: u64) -> Self {
        Self { client, max_bytes }
    }

    /// Fetches exactly the version of `object`, or the current one if `object` names none.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if S3 refuses, [`Error::Deadline`] if S3 or the connection keeps failing until
    /// `deadline`.
    pub async fn fetch(
        &self,
        object: &ObjectVersion,
        deadline: Deadline,
    ) -> Result<Fetched, Error> {
        let mut backoff = Backoff::new("read the object", deadline);
        loop {
            let read = async {
                match self.get(object).await {
                    Ok(response) => Attempt::Response(self.receive(object, response).await),
                    Err(error) => Attempt::Refused(Box::new(error)),
                }
            };
            let source: Source = match backoff.attempt(read).await? {
                Attempt::Response(Ok(fetched)) => return Ok(fetched),
                // The SDK does not retry a body that breaks off.
                Attempt::Response(Err(source)) => source,
                Attempt::Refused(error) if is_transient(&error) => error,
                Attempt::Refused(error) => return absent(error),
            };
            backoff.pause(source).await?;
        }
    }

    /// The current version of an object, without its content; `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Self::fetch).
    pub async fn current_version(
        &self,
        bucket: &str,
        key: &str,
        deadline: Deadline,
    ) -> Result<Option<ObjectId>, Error> {
        let object = ObjectVersion {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version: None,
        };
        let mut backoff = Backoff::new("look the object up", deadline);
        loop {
            let head = self.client.head_object().bucket(bucket).key(key).send();
            let source: Source = match backoff.attempt(head).await? {
                Ok(response) => {
                    let version = response.version_id.and_then(VersionId::new);
                    let object = object.as_read(version.as_ref());
                    let seconds = response.last_modified.map(|at| at.secs());
                    let id = seconds.and_then(|seconds| {
                        ObjectId::of_read(&object, response.e_tag.as_deref(), seconds)
                    });
                    match id {
                        Some(id) => return Ok(Some(id)),
                        None => "the response has no Last-Modified, version id or ETag".into(),
                    }
                }
                Err(error) if is_not_found(&error) => return Ok(None),
                Err(error) if is_transient(&error) => error.into(),
                Err(error) => {
                    return Err(Error::Read {
                        source: error.into(),
                    });
                }
            };
            backoff.pause(source).await?;
        }
    }

    async fn get(
        &self,
        object: &ObjectVersion,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError>> {
        let version = object.version.as_ref().map(VersionId::as_str);
        self.client
            .get_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .set_version_id(version.map(ToOwned::to_owned))
            .send()
            .await
    }

    async fn receive(
        &self,
        object: &ObjectVersion,
        response: GetObjectOutput,
    ) -> Result<Fetched, Source> {
        let bytes = response
            .content_length
            .ok_or("the response has no Content-Length")?;
        let bytes = u64::try_from(bytes)?;
        let last_modified = response
            .last_modified
            .ok_or("the response has no Last-Modified")?
            .secs();
        let version = response.version_id.and_then(VersionId::new);
        let object = object.as_read(version.as_ref());
        let read = Read {
            id: ObjectId::of_read(&object, response.e_tag.as_deref(), last_modified)
                .ok_or("the response has neither a version id nor an ETag")?,
            object,
            last_modified: DateTime::from_timestamp(last_modified, 0)
                .ok_or("Last-Modified is out of range")?,
            metadata: response.metadata.unwrap_or_default(),
        };
        if bytes > self.max_bytes {
            return Ok(Fetched::TooLarge {
                read,
                bytes,
                limit: self.max_bytes,
            });
        }
        let body = Vec::from(response.body.collect().await?.into_bytes());
        if body.len() as u64 != bytes {
            return Err(format!("the body has {} of {bytes} bytes", body.len()).into());
        }
        Ok(Fetched::Object(read, body))
    }
}

/// Whether S3 says that there is no such object. The response to HEAD has no error code.
fn is_not_found(error: &SdkError<HeadObjectError>) -> bool {
    error
        .as_service_error()
        .is_some_and(HeadObjectError::is_not_found)
        || error.raw_response().is_some_and(|raw| {
            // A delete marker, or no object.
            matches!(raw.status().as_u16(), 404 | 405)
        })
}

/// One attempt at a read.
enum Attempt {
    /// S3 returned the object; reading its body may have failed.
    Response(Result<Fetched, Source>),
    /// S3 returned an error, or could not be reached.
    Refused(Box<SdkError<GetObjectError>>),
}

/// Maps "gone" and "archived" to facts about the object version, and every other refusal to an error. The owner must
/// fix those, such as a missing bucket or permission.
fn absent(error: Box<SdkError<GetObjectError>>) -> Result<Fetched, Error> {
    match error.code() {
        // S3 answers MethodNotAllowed when a delete marker is read by its version id.
        Some("NoSuchKey" | "NoSuchVersion" | "MethodNotAllowed") => Ok(Fetched::Gone),
        Some("InvalidObjectState") => Ok(Fetched::Archived),
        _ => Err(Error::Read { source: error }),
    }
}
