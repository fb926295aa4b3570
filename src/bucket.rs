//! One object version out of S3.

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::{GetObjectError, GetObjectOutput},
};
use chrono::{DateTime, Utc};

use crate::{
    aws,
    error::{Error, Rejection, Source},
    object::{Content, ObjectVersion, VersionId},
    retry::{Backoff, Deadline},
};

/// Reads objects, of any bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    max_bytes: u64,
}

/// What a read returned.
#[derive(Debug)]
pub struct Fetched {
    /// Version that was read; `None` in a bucket that never had versioning.
    pub version: Option<VersionId>,
    /// Entity tag.
    pub etag: String,
    /// When this version was created.
    pub last_modified: DateTime<Utc>,
    /// The object's bytes, or why they were not downloaded.
    pub body: Result<Vec<u8>, Rejection>,
}

impl Fetched {
    /// What identifies the object where it has no version id.
    pub fn content(&self) -> Content<'_> {
        Content::Read {
            etag: &self.etag,
            last_modified: self.last_modified.timestamp(),
        }
    }
}

impl Bucket {
    /// Reads through `client`; objects over `max_bytes` are not downloaded.
    pub fn new(client: Client, max_bytes: u64) -> Self {
        Self { client, max_bytes }
    }

    /// Fetches exactly `object`'s version, or what is there now where it names none.
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] where the version is gone or archived, [`Error::Read`] where S3 refuses,
    /// [`Error::Deadline`] where it, or the connection, kept failing.
    pub async fn fetch(
        &self,
        object: &ObjectVersion,
        deadline: Deadline,
    ) -> Result<Fetched, Error> {
        let mut backoff = Backoff::new("read the object", deadline);
        loop {
            let read = async {
                let response = self.get(object).await?;
                Ok::<_, SdkError<GetObjectError>>(self.receive(response).await)
            };
            let source: Source = match backoff.attempt(read).await? {
                Ok(Ok(fetched)) => return Ok(fetched),
                // The SDK does not retry a body that breaks off.
                Ok(Err(source)) => source,
                Err(error) if aws::is_transient(&error) => error.into(),
                Err(error) => return Err(refusal(error)),
            };
            backoff.pause(source).await?;
        }
    }

    async fn get(
        &self,
        object: &ObjectVersion,
    ) -> Result<GetObjectOutput, SdkError<GetObjectError>> {
        self.client
            .get_object()
            .bucket(&object.bucket)
            .key(&object.key)
            .set_version_id(
                object
                    .version
                    .as_ref()
                    .map(|version| version.as_str().to_owned()),
            )
            .send()
            .await
    }

    async fn receive(&self, response: GetObjectOutput) -> Result<Fetched, Source> {
        let bytes = u64::try_from(
            response
                .content_length
                .ok_or("no Content-Length in the response")?,
        )?;
        let seconds = response
            .last_modified
            .ok_or("no Last-Modified in the response")?
            .secs();
        let last_modified =
            DateTime::from_timestamp(seconds, 0).ok_or("Last-Modified is out of range")?;
        let body = if bytes > self.max_bytes {
            Err(Rejection::TooManyBytes {
                bytes,
                limit: self.max_bytes,
            })
        } else {
            let body = Vec::from(response.body.collect().await?.into_bytes());
            if body.len() as u64 != bytes {
                return Err(format!("{} of {bytes} bytes came", body.len()).into());
            }
            Ok(body)
        };
        Ok(Fetched {
            version: response.version_id.and_then(VersionId::new),
            etag: response.e_tag.unwrap_or_default(),
            last_modified,
            body,
        })
    }
}

/// Which refusals are facts about the object. A missing bucket or a missing permission is not: it is
/// ours to mend.
fn refusal(error: SdkError<GetObjectError>) -> Error {
    match error.code() {
        // The last is how S3 answers a read of a delete marker by its version id.
        Some("NoSuchKey" | "NoSuchVersion" | "MethodNotAllowed") => Rejection::Gone.into(),
        Some("InvalidObjectState") => Rejection::Archived.into(),
        _ => Error::Read {
            source: error.into(),
        },
    }
}
