//! CopyObject, and the source of UploadPartCopy.

use std::ops;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::put::take_headers;
use super::read::{Evaluation, ReadConditions};
use super::receive::parse_algorithm;
use super::wire::{caller, strong_etag, timestamp, version_id};
use crate::checksum::{Algorithm, set_checksums};
use crate::error::StoreError;
use crate::store::Store;
use crate::store::blob::{BlobReader, NewBlob};
use crate::store::notification::EventName;
use crate::store::objects::{NewVersion, OpenVersion, WriteCondition};

/// Opens the source of a copy, if the conditions of the copy hold for it.
pub(crate) async fn open_source(
    store: &Store,
    source: CopySource,
    conditions: ReadConditions,
) -> S3Result<OpenVersion> {
    let CopySource::Bucket {
        bucket,
        key,
        version_id: id,
    } = source
    else {
        return Err(s3_error!(
            NotImplemented,
            "copying from an access point is not implemented"
        ));
    };
    let id = version_id(id.as_deref())?;
    let found = store
        .run(move |store| store.find(&bucket, &key, id.as_ref()))
        .await?;
    let condition = match conditions.evaluate(&found.content.etag, found.modified) {
        Evaluation::Holds => return Ok(found),
        Evaluation::NotModified => "x-amz-copy-source-if-none-match or -if-modified-since",
        Evaluation::IfMatchFails => "x-amz-copy-source-if-match",
        Evaluation::IfUnmodifiedSinceFails => "x-amz-copy-source-if-unmodified-since",
    };
    Err(StoreError::PreconditionFailed {
        key: found.key,
        condition,
    }
    .into())
}

pub(crate) async fn copy_object(
    store: &Store,
    request: S3Request<CopyObjectInput>,
) -> S3Result<CopyObjectOutput> {
    let mut input = request.input;
    let replaces_headers = replaces_headers(input.metadata_directive.as_ref())?;
    if !replaces_headers && is_onto_itself(&input) {
        return Err(
            StoreError::InvalidRequest("object copied onto itself without a change").into(),
        );
    }
    let requested = match &input.checksum_algorithm {
        Some(name) => Some(parse_algorithm(name)?),
        None => None,
    };
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    let source = open_source(store, input.copy_source.clone(), conditions).await?;
    let copy_source_version_id = source.id_in_response();
    let headers = match replaces_headers {
        true => take_headers!(input),
        false => source.content.headers,
    };
    let algorithm = requested.unwrap_or(source.content.checksum.algorithm);
    let caller = caller(&request.extensions)?;
    let created = store
        .run(move |store| {
            let bytes = 0..source.blob.size;
            let blob = copy_bytes(store, source.blob, bytes, algorithm)?;
            let new = NewVersion {
                bucket: input.bucket,
                key: input.key,
                headers,
                etag: blob.etag(),
                checksum: blob.checksum.clone(),
                blob,
                condition: WriteCondition::Always,
                event_name: EventName::Copy,
                caller,
            };
            store.create(new, |_, _| Ok(Vec::new()))
        })
        .await?;
    let mut result = CopyObjectResult {
        checksum_type: Some(created.checksum.kind()),
        e_tag: Some(strong_etag(&created.etag)),
        last_modified: Some(timestamp(created.modified)),
        ..Default::default()
    };
    set_checksums!(result, &created.checksum);
    Ok(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id,
        version_id: created.version_id,
        ..Default::default()
    })
}

/// Whether the copy gets the headers of the request instead of those of the source.
fn replaces_headers(directive: Option<&MetadataDirective>) -> S3Result<bool> {
    match directive.map(MetadataDirective::as_str) {
        None | Some(MetadataDirective::COPY) => Ok(false),
        Some(MetadataDirective::REPLACE) => Ok(true),
        Some(_) => Err(s3_error!(
            InvalidArgument,
            "metadata directive is not valid"
        )),
    }
}

/// Whether the source is the latest version of the object that the copy creates.
fn is_onto_itself(input: &CopyObjectInput) -> bool {
    matches!(
        &input.copy_source,
        CopySource::Bucket { bucket, key, version_id: None }
            if **bucket == *input.bucket && **key == *input.key
    )
}

/// The bytes that an UploadPartCopy requests of a source of `size` bytes. `bytes=first-last` is the only form that
/// S3 allows.
pub(crate) fn parse_copy_range(header: Option<&str>, size: u64) -> S3Result<ops::Range<u64>> {
    let Some(header) = header else {
        return Ok(0..size);
    };
    match Range::parse(header) {
        Ok(Range::Int {
            first,
            last: Some(last),
        }) if last < size => Ok(first..last + 1),
        _ => Err(s3_error!(
            InvalidArgument,
            "x-amz-copy-source-range is not valid for the source"
        )),
    }
}

/// Copies `bytes` of `source` to a new blob. Blocks on the disk.
pub(crate) fn copy_bytes(
    store: &Store,
    source: BlobReader,
    bytes: ops::Range<u64>,
    algorithm: Algorithm,
) -> Result<NewBlob, StoreError> {
    let mut writer = store.blob_writer(algorithm)?;
    writer.copy(source, bytes)?;
    Ok(writer.finish())
}

#[cfg(test)]
mod tests {
    use super::parse_copy_range;

    #[test]
    fn copy_range_has_both_ends_within_the_source() {
        assert_eq!(parse_copy_range(None, 10).unwrap(), 0..10);
        assert_eq!(parse_copy_range(Some("bytes=0-9"), 10).unwrap(), 0..10);
        assert_eq!(parse_copy_range(Some("bytes=3-3"), 10).unwrap(), 3..4);
        for header in ["bytes=0-10", "bytes=3-", "bytes=-3", "bytes=4-3", "0-3", ""] {
            parse_copy_range(Some(header), 10).unwrap_err();
        }
    }
}
