//! ListParts and ListMultipartUploads.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::paging::{PageSize, cut_page, key_encoder, none_if_empty};
use super::wire::{owner, size, strong_etag, timestamp};
use crate::checksum::set_checksums;
use crate::store::Store;
use crate::store::uploads::{self, Upload};

pub(crate) async fn list_parts(
    store: &Store,
    request: S3Request<ListPartsInput>,
) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let page_size = PageSize::parse(input.max_parts)?;
    let marker = input.part_number_marker.unwrap_or(0);
    let (bucket, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let (upload, mut parts) = store
        .run(move |store| store.upload_with_parts(&bucket, &key, &id))
        .await?;
    parts.retain(|part| part.number > marker);
    let truncated = cut_page(&mut parts, page_size);
    let next_marker = match parts.last() {
        Some(last) if truncated => Some(last.number),
        _ => None,
    };
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: upload.checksum.map(|checksum| checksum.algorithm_name()),
        checksum_type: upload.checksum.map(|checksum| checksum.kind()),
        is_truncated: Some(truncated),
        key: Some(input.key),
        max_parts: Some(page_size.into()),
        next_part_number_marker: next_marker,
        owner: Some(owner()),
        part_number_marker: Some(marker),
        parts: Some(parts.iter().map(part_entry).collect::<S3Result<_>>()?),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(input.upload_id),
        ..Default::default()
    })
}

fn part_entry(part: &uploads::Part) -> S3Result<Part> {
    let mut entry = Part {
        e_tag: Some(strong_etag(&part.etag)),
        last_modified: Some(timestamp(part.modified)),
        part_number: Some(part.number),
        size: Some(size(part.size)?),
        ..Default::default()
    };
    set_checksums!(entry, &part.checksum);
    Ok(entry)
}

pub(crate) async fn list_multipart_uploads(
    store: &Store,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = request.input;
    if none_if_empty(input.delimiter).is_some() {
        return Err(s3_error!(
            NotImplemented,
            "a delimiter for multipart uploads is not implemented"
        ));
    }
    let page_size = PageSize::parse(input.max_uploads)?;
    let encode = key_encoder(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let key_marker = input.key_marker.unwrap_or_default();
    let id_marker = input.upload_id_marker.unwrap_or_default();
    let bucket = input.bucket.clone();
    let mut uploads = store.run(move |store| store.uploads(&bucket)).await?;
    uploads.retain(|upload| {
        upload.key.starts_with(&prefix) && follows(&upload.key, &upload.id, &key_marker, &id_marker)
    });
    let truncated = cut_page(&mut uploads, page_size);
    let (next_key_marker, next_upload_id_marker) = match uploads.last() {
        Some(last) if truncated => (Some(encode(&last.key)), Some(last.id.clone())),
        _ => (None, None),
    };
    let entry = |upload: Upload| MultipartUpload {
        checksum_algorithm: upload.checksum.map(|checksum| checksum.algorithm_name()),
        checksum_type: upload.checksum.map(|checksum| checksum.kind()),
        initiated: Some(timestamp(upload.initiated)),
        key: Some(encode(&upload.key)),
        owner: Some(owner()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(upload.id),
        ..Default::default()
    };
    Ok(ListMultipartUploadsOutput {
        bucket: Some(input.bucket),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: Some(encode(&key_marker)),
        max_uploads: Some(page_size.into()),
        next_key_marker,
        next_upload_id_marker,
        prefix: Some(encode(&prefix)),
        upload_id_marker: Some(id_marker),
        uploads: Some(uploads.into_iter().map(entry).collect()),
        ..Default::default()
    })
}

/// Whether an upload comes after the markers of a request; an empty marker is an absent one. S3 ignores the id
/// marker if there is no key marker.
fn follows(key: &str, id: &str, key_marker: &str, id_marker: &str) -> bool {
    match (key_marker, id_marker) {
        ("", _) => true,
        (key_marker, "") => key > key_marker,
        (key_marker, id_marker) => (key, id) > (key_marker, id_marker),
    }
}

#[cfg(test)]
mod tests {
    use super::follows;

    #[test]
    fn uploads_follow_the_key_marker_or_both_markers() {
        for (key_marker, id_marker, expected) in [
            ("", "", true),
            ("", "9", true),
            ("a", "", true),
            ("b", "", false),
            ("b", "1", true),
            ("b", "2", false),
            ("c", "1", false),
        ] {
            let follows = follows("b", "2", key_marker, id_marker);
            assert_eq!(follows, expected, "{key_marker:?} {id_marker:?}");
        }
    }
}
