//! Tables and bucket behind the API.

use aws_sdk_s3::{
    config::RequestChecksumCalculation,
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectError,
};

use super::{
    Api,
    access::Principal,
    photo_routes::Thumbnails,
    photos::ObjectReference,
    problem::{Kind, Problem},
};
use crate::{
    aws::{Bucket, Fetched},
    capture::Rules,
    error::{Error, Source},
    ledger::Ledger,
    object::{ObjectVersion, VersionId},
    photo::Rejection,
};

/// Tables and bucket behind the API.
pub struct Store {
    /// The tables.
    pub ledger: Ledger,
    /// How the function that writes the tables reads clocks.
    pub rules: Rules,
    /// The photos; `None` if the server knows no bucket.
    pub photos: Option<Photos>,
}

/// The bucket of the photos.
pub struct Photos {
    /// Reads photos.
    pub(super) bucket: Bucket,
    /// Name of the bucket.
    pub(super) name: String,
    /// Signs URLs.
    pub(super) client: aws_sdk_s3::Client,
    /// The thumbnails; `None` if they are made anew each time.
    pub(super) thumbnails: Option<Thumbnails>,
}

impl Photos {
    /// The bucket with this `name`, and the bucket of its thumbnails. Photos with more than `max_bytes` are not read.
    pub fn new(
        client: &aws_sdk_s3::Client,
        name: String,
        thumbnails: Option<String>,
        max_bytes: u64,
    ) -> Self {
        // Otherwise a signed URL has the checksum of an empty body: https://github.com/awslabs/aws-sdk-rust/issues/1240.
        let signing = client
            .config()
            .to_builder()
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired);
        Self {
            bucket: Bucket::new(client.clone(), max_bytes),
            name,
            client: aws_sdk_s3::Client::from_conf(signing.build()),
            thumbnails: thumbnails.map(|bucket| Thumbnails::new(client.clone(), bucket)),
        }
    }
}

impl Api {
    /// Tables and bucket.
    pub(super) fn store(&self) -> Result<&Store, Problem> {
        self.store.as_ref().ok_or_else(|| {
            Problem::new(
                Kind::NotConfigured,
                "this server only classifies: start it with PREDICTIONS_TABLE and LEDGER_TABLE for records",
            )
        })
    }

    /// The bucket of the photos.
    pub(super) fn photos(&self) -> Result<&Photos, Problem> {
        let photos = self.store()?.photos.as_ref();
        photos.ok_or_else(|| {
            Problem::new(
                Kind::NotConfigured,
                "this server knows no bucket of photos: start it with PHOTOS_BUCKET",
            )
        })
    }

    /// Reads an object of the bucket.
    pub(super) async fn object(
        &self,
        principal: &Principal,
        reference: &ObjectReference,
    ) -> Result<Vec<u8>, Problem> {
        let photos = self.photos()?;
        if principal.station.is_some() {
            return Err(Problem::new(
                Kind::Forbidden,
                "a key of a station cannot read objects: send the photo itself",
            ));
        }
        check_key(&reference.key)?;
        let object = ObjectVersion {
            bucket: photos.name.clone(),
            key: reference.key.clone(),
            version: reference.version_id.clone().and_then(VersionId::new),
        };
        let gone = || {
            Problem::new(
                Kind::NotFound,
                "the bucket has no object with this key and version: check both",
            )
        };
        let fetched = match photos.bucket.fetch(&object, self.deadline()).await {
            Err(Error::Read { source }) if is_malformed_version(&source) => return Err(gone()),
            fetched => fetched?,
        };
        match fetched {
            Fetched::Object(_, bytes) => Ok(bytes),
            Fetched::TooLarge { bytes, limit, .. } => {
                Err(Problem::from(&Rejection::TooManyBytes { bytes, limit }))
            }
            Fetched::Gone => Err(gone()),
            Fetched::Archived => Err(Problem::new(
                Kind::NotPossible,
                "the object is archived: restore it in S3 first",
            )),
        }
    }
}

/// Longest object key, in bytes.
const MAX_KEY: usize = 1024;

/// Fails for a key that no object has, or that the bucket could not name in an error.
pub(super) fn check_key(key: &str) -> Result<(), Problem> {
    // Characters that XML does not have.
    let is_plain = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    match (1..=MAX_KEY).contains(&key.len()) && key.chars().all(is_plain) {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::NotPossible,
            format!("the object key must have 1 to {MAX_KEY} bytes and no control characters"),
        )),
    }
}

/// Whether S3 says that no version can have such an id.
fn is_malformed_version(source: &Source) -> bool {
    let error = source.downcast_ref::<SdkError<GetObjectError>>();
    let error = error.or_else(|| {
        source
            .downcast_ref::<Box<SdkError<GetObjectError>>>()
            .map(|error| &**error)
    });
    error.is_some_and(|error| error.code() == Some("InvalidArgument"))
}
