//! Operations that list uploads under way and their parts.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::list::{encoder, limit};
use super::owner;
use crate::local::s3::checksum::show_checksum;
use crate::local::s3::multipart::Promise;
use crate::local::s3::store::Store;
use crate::local::s3::version::{strong, timestamp};

pub(super) async fn list_parts(
    store: &Store,
    request: S3Request<ListPartsInput>,
) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let limit = limit(input.max_parts)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let (bucket, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let (upload, mut parts) = store
        .run(move |store| {
            Ok((
                store.upload(&bucket, &key, &id)?,
                store.parts(&bucket, &key, &id)?,
            ))
        })
        .await?;
    parts.retain(|part| part.number > marker);
    let shown = usize::try_from(limit).unwrap_or(0);
    let truncated = parts.len() > shown && shown > 0;
    parts.truncate(shown);
    let next = parts.last().filter(|_| truncated).map(|part| part.number);
    let parts = parts
        .into_iter()
        .map(|part| {
            let mut shown = Part {
                e_tag: Some(strong(&part.etag)),
                last_modified: Some(timestamp(part.modified)),
                part_number: Some(part.number),
                size: i64::try_from(part.size).ok(),
                ..Default::default()
            };
            show_checksum!(shown, &part.checksum);
            shown
        })
        .collect();
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: upload.promise.map(Promise::name),
        checksum_type: upload.promise.map(Promise::kind),
        is_truncated: Some(truncated),
        key: Some(input.key),
        max_parts: Some(limit),
        next_part_number_marker: next,
        owner: Some(owner()),
        part_number_marker: Some(marker),
        parts: Some(parts),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(input.upload_id),
        ..Default::default()
    })
}

pub(super) async fn list_multipart_uploads(
    store: &Store,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = request.input;
    if input
        .delimiter
        .is_some_and(|delimiter| !delimiter.is_empty())
    {
        return Err(s3_error!(
            NotImplemented,
            "rolling uploads up is not implemented"
        ));
    }
    let limit = limit(input.max_uploads)?;
    let encode = encoder(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let key_marker = input.key_marker.unwrap_or_default();
    let id_marker = input.upload_id_marker.unwrap_or_default();
    let bucket = input.bucket.clone();
    let mut uploads = store.run(move |store| store.uploads(&bucket)).await?;
    uploads.retain(|upload| {
        let behind = if id_marker.is_empty() {
            upload.key > key_marker
        } else {
            (&upload.key, &upload.id) > (&key_marker, &id_marker)
        };
        upload.key.starts_with(&prefix) && (behind || key_marker.is_empty())
    });
    let shown = usize::try_from(limit).unwrap_or(0);
    let truncated = uploads.len() > shown && shown > 0;
    uploads.truncate(shown);
    let next = uploads.last().filter(|_| truncated);
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: Some(encode(&key_marker)),
        max_uploads: Some(limit),
        next_key_marker: next.map(|upload| encode(&upload.key)),
        next_upload_id_marker: next.map(|upload| upload.id.clone()),
        prefix: Some(encode(&prefix)),
        upload_id_marker: Some(id_marker),
        uploads: Some(
            uploads
                .into_iter()
                .map(|upload| MultipartUpload {
                    checksum_algorithm: upload.promise.map(Promise::name),
                    checksum_type: upload.promise.map(Promise::kind),
                    initiated: Some(timestamp(upload.initiated)),
                    key: Some(encode(&upload.key)),
                    owner: Some(owner()),
                    storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
                    upload_id: Some(upload.id),
                    ..Default::default()
                })
                .collect(),
        ),
        ..Default::default()
    })
}
