//! The photos of records: the photo itself, and its thumbnail.

use std::{sync::Arc, time::Duration};

use aws_sdk_s3::{
    error::{ProvideErrorMetadata, SdkError},
    operation::get_object::GetObjectError,
    presigning::PresigningConfig,
    primitives::ByteStream,
};
use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DurationRound, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    Api,
    access::Principal,
    classification::too_large,
    parameters::{Parameters, Segment, record_id},
    photo_schemas::FileBytes,
    problem::{Kind, Problem},
    store::Photos,
    upload_routes::cannot_sign,
};
use crate::{
    aws::{Deadline, Fetched},
    error::Source,
    object::{ObjectId, VersionId},
    photo::THUMBNAIL_SIDE,
    records::Record,
};

/// How long the URL of a photo may be used. Its time is rounded down to the hour, so that a browser finds the photo in its cache.
const VALID: Duration = Duration::from_secs(2 * 3600);
/// How long the URL of an export may be used.
const EXPORT_VALID: Duration = Duration::from_secs(3600);
/// A version never changes.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";
/// The redirect to a photo may be kept while its URL is valid.
const REDIRECT: &str = "private, max-age=600";

/// The size of a thumbnail.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ThumbnailParameters {
    /// Longest side in pixels. There is one size.
    #[param(minimum = 320, maximum = 320, default = 320)]
    w: Option<u32>,
}

impl Photos {
    /// Fails if the photo of `record` is in another bucket.
    fn check(&self, record: &Record) -> Result<(), Problem> {
        match record.object.bucket == self.name {
            true => Ok(()),
            false => Err(Problem::new(
                Kind::NotFound,
                "the photo of this record is in another bucket than PHOTOS_BUCKET: ask the operator to start a server for that bucket",
            )),
        }
    }

    /// A URL from which everybody can read the photo of `record` for a while.
    async fn sign_photo(&self, record: &Record) -> Result<String, Problem> {
        let hour = Utc::now().duration_trunc(TimeDelta::hours(1));
        let config = PresigningConfig::builder()
            .start_time(hour.map_or_else(|_| std::time::SystemTime::now(), Into::into))
            .expires_in(VALID)
            .build()
            .map_err(|error| cannot_sign(&error))?;
        let version = record.object.version.as_ref().map(VersionId::as_str);
        let get = self
            .client
            .get_object()
            .bucket(&self.name)
            .key(&record.object.key)
            .set_version_id(version.map(ToOwned::to_owned))
            .response_cache_control(IMMUTABLE);
        let signed = get.presigned(config).await;
        Ok(signed
            .map_err(|error| cannot_sign(&error))?
            .uri()
            .to_owned())
    }
}

/// Read the photo of a record
#[utoipa::path(get, path = "/v1/records/{id}/photo", tag = "Records", operation_id = "getPhoto",
    params(("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID")),
    responses((status = 302, description = "Where the photo is, for an hour or two",
        headers(("Location" = String, description = "A signed URL of the bucket")))))]
pub(super) async fn photo(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let record = api
        .record(record_id(&id)?, &principal, api.deadline())
        .await?;
    let photos = api.photos()?;
    photos.check(&record)?;
    let url = photos.sign_photo(&record).await?;
    let headers = [
        (header::LOCATION, url.as_str()),
        (header::CACHE_CONTROL, REDIRECT),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

/// Read the thumbnail of a record
///
/// A JPEG of up to 320 pixels. It never changes.
#[utoipa::path(get, path = "/v1/records/{id}/thumbnail", tag = "Records", operation_id = "getThumbnail",
    params(
        ("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID"),
        ThumbnailParameters,
    ),
    responses((status = 200, description = "The thumbnail", body = FileBytes, content_type = "image/jpeg")))]
pub(super) async fn thumbnail(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Segment(id): Segment,
    Parameters(parameters): Parameters<ThumbnailParameters>,
) -> Result<Response, Problem> {
    if parameters.w.is_some_and(|width| width != THUMBNAIL_SIDE) {
        return Err(Problem::malformed(format!(
            "w is not {THUMBNAIL_SIDE}, the only size of thumbnails: leave it out"
        )));
    }
    let deadline = api.deadline();
    let record = api.record(record_id(&id)?, &principal, deadline).await?;
    let photos = api.photos()?;
    photos.check(&record)?;
    let jpeg = match photos.thumbnails.as_ref() {
        Some(thumbnails) => match thumbnails.read(record.id, deadline).await {
            Some(jpeg) => jpeg,
            None => {
                let jpeg = api.make_thumbnail(photos, &record, deadline).await?;
                thumbnails.write(record.id, jpeg.clone()).await;
                jpeg
            }
        },
        None => api.make_thumbnail(photos, &record, deadline).await?,
    };
    let headers = [
        (header::CONTENT_TYPE, "image/jpeg"),
        (header::CACHE_CONTROL, IMMUTABLE),
    ];
    Ok((headers, jpeg).into_response())
}

impl Api {
    async fn make_thumbnail(
        &self,
        photos: &Photos,
        record: &Record,
        deadline: Deadline,
    ) -> Result<Vec<u8>, Problem> {
        let gone = || {
            Problem::new(
                Kind::Gone,
                "the photo of this record was deleted from the bucket: the record remains",
            )
        };
        let _photo = self.admission.enter(1)?;
        let _fetch = self.admission.fetch().await;
        let bytes = match photos.bucket.fetch(&record.object, deadline).await? {
            Fetched::Object(_, bytes) => bytes,
            Fetched::Gone => return Err(gone()),
            Fetched::Archived => {
                return Err(Problem::new(
                    Kind::NotPossible,
                    "the photo of this record is archived: restore it in S3 first",
                ));
            }
            Fetched::TooLarge { bytes, limit, .. } => return Err(too_large(bytes, limit)),
        };
        let classifier = Arc::clone(&self.models.find(None)?.classifier);
        let made = classifier.thumbnail_in_turn(bytes).await?;
        made.map_err(|rejection| Problem::from(&rejection))
    }
}

/// Whether S3 says that there is no such object.
fn is_absent(source: &Source) -> bool {
    let error = source.downcast_ref::<SdkError<GetObjectError>>();
    error.is_some_and(|error| error.code() == Some("NoSuchKey"))
}

/// The bucket of the thumbnails. The photos' bucket would invoke the function for each.
pub(super) struct Thumbnails {
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl Thumbnails {
    /// The thumbnails in the bucket with this name.
    pub(super) fn new(client: aws_sdk_s3::Client, bucket: String) -> Self {
        Self { client, bucket }
    }

    fn key(id: ObjectId) -> String {
        format!("{id}.jpg")
    }

    /// The thumbnail of a photo; `None` if there is none, or it cannot be read: then it is made again.
    async fn read(&self, id: ObjectId, deadline: Deadline) -> Option<Vec<u8>> {
        let get = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(Self::key(id));
        let read = async {
            let body = get.send().await?.body.collect().await?;
            Ok::<_, Source>(Vec::from(body.into_bytes()))
        };
        let failed = match deadline.bound("read the thumbnail", read).await {
            Ok(Ok(jpeg)) => return Some(jpeg),
            Ok(Err(source)) if is_absent(&source) => return None,
            Ok(Err(source)) => source,
            Err(expired) => expired.into(),
        };
        let reason = crate::error::chain(&*failed);
        tracing::warn!(%id, reason, "cannot read a thumbnail: it is made again");
        None
    }

    /// Keeps a thumbnail. A failure costs the next reader some time, and nothing else.
    pub(crate) async fn write(&self, id: ObjectId, jpeg: Vec<u8>) {
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(Self::key(id))
            .content_type("image/jpeg")
            .cache_control(IMMUTABLE)
            .body(jpeg.into());
        if let Err(error) = put.send().await {
            let reason = crate::error::chain(&error);
            tracing::warn!(%id, reason, "cannot keep a thumbnail");
        }
    }

    /// Keeps an export for a day, and returns a URL from which everybody can read it for an hour.
    pub(super) async fn keep_export(
        &self,
        file: tokio::fs::File,
        name: &str,
        media_type: &str,
        disposition: String,
    ) -> Result<String, Problem> {
        let key = format!("exports/{}/{name}", uuid::Uuid::new_v4());
        let failed = |error: &(dyn std::error::Error + 'static)| {
            tracing::error!(reason = crate::error::chain(error), "cannot keep an export");
            Problem::new(
                Kind::Unavailable,
                "the server cannot write the export to THUMBNAILS_BUCKET: try again, or export fewer days",
            )
        };
        let body = ByteStream::read_from()
            .file(file)
            .build()
            .await
            .map_err(|error| failed(&error))?;
        let put = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(&key)
            .content_type(media_type)
            .content_disposition(disposition)
            .body(body);
        put.send().await.map_err(|error| failed(&error))?;
        let config =
            PresigningConfig::expires_in(EXPORT_VALID).map_err(|error| cannot_sign(&error))?;
        let get = self.client.get_object().bucket(&self.bucket).key(key);
        let signed = get.presigned(config).await;
        Ok(signed
            .map_err(|error| cannot_sign(&error))?
            .uri()
            .to_owned())
    }
}
