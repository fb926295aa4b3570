//! Creating a version from another.

use std::ops;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::put::stored_headers;
use super::read::{Conditions, Verdict};
use super::receive::algorithm;
use super::{caller, version_id};
use crate::local::s3::blob::{self, Draft};
use crate::local::s3::checksum::{Algorithm, show_checksum};
use crate::local::s3::error::StoreError;
use crate::local::s3::notification::Cause;
use crate::local::s3::objects::{Found, NewVersion, WriteCondition};
use crate::local::s3::store::Store;
use crate::local::s3::version::{strong, timestamp};

/// The version that a copy reads, if the copy's conditions hold of it.
pub(super) async fn copy_source(
    store: &Store,
    source: CopySource,
    conditions: Conditions,
) -> S3Result<Found> {
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
    let condition = match conditions.judge(&found) {
        Verdict::Holds => return Ok(found),
        Verdict::NotModified => "x-amz-copy-source-if-none-match or -if-modified-since",
        Verdict::Failed("If-Match") => "x-amz-copy-source-if-match",
        Verdict::Failed(_) => "x-amz-copy-source-if-unmodified-since",
    };
    Err(StoreError::PreconditionFailed {
        key: found.version.key,
        condition,
    }
    .into())
}

pub(super) async fn copy_object(
    store: &Store,
    request: S3Request<CopyObjectInput>,
) -> S3Result<CopyObjectOutput> {
    let mut input = request.input;
    let replace = match input
        .metadata_directive
        .as_ref()
        .map(MetadataDirective::as_str)
    {
        None | Some(MetadataDirective::COPY) => false,
        Some(MetadataDirective::REPLACE) => true,
        Some(_) => {
            return Err(s3_error!(
                InvalidArgument,
                "metadata directive is not valid"
            ));
        }
    };
    if let CopySource::Bucket {
        bucket,
        key,
        version_id: None,
    } = &input.copy_source
        && !replace
        && **bucket == *input.bucket
        && **key == *input.key
    {
        return Err(
            StoreError::InvalidRequest("object copied onto itself without a change").into(),
        );
    }
    let wanted = input
        .checksum_algorithm
        .as_ref()
        .map(algorithm)
        .transpose()?;
    let conditions = Conditions {
        if_match: input.copy_source_if_match.take(),
        if_none_match: input.copy_source_if_none_match.take(),
        if_modified_since: input.copy_source_if_modified_since.take(),
        if_unmodified_since: input.copy_source_if_unmodified_since.take(),
    };
    let found = copy_source(store, input.copy_source.clone(), conditions).await?;
    let source_version = found.versioning.shown(&found.version.id);
    let headers = if replace {
        stored_headers!(input)
    } else {
        found.content.headers
    };
    let algorithm = wanted.unwrap_or(found.content.checksum.algorithm);
    let caller = caller(&request.extensions);
    let written = store
        .run(move |store| {
            let mut writer = store.blob_writer(algorithm)?;
            writer.write_from(found.file)?;
            let draft = writer.finish();
            let new = NewVersion {
                bucket: input.bucket,
                key: input.key,
                headers,
                etag: draft.etag(),
                checksum: draft.checksum.clone(),
                draft,
                condition: WriteCondition::Always,
                cause: Cause::Copy,
                caller,
            };
            store.create(new, |_, _| Ok(Vec::new()))
        })
        .await?;
    let mut result = CopyObjectResult {
        checksum_type: Some(written.checksum.kind()),
        e_tag: Some(strong(&written.etag)),
        last_modified: Some(timestamp(written.modified)),
        ..Default::default()
    };
    show_checksum!(result, &written.checksum);
    Ok(CopyObjectOutput {
        copy_object_result: Some(result),
        copy_source_version_id: source_version,
        version_id: written.version_id,
        ..Default::default()
    })
}

/// The bytes `first..=last` of `bytes=first-last`, the only form S3 takes here.
pub(super) fn copy_range(header: Option<&str>, size: u64) -> S3Result<ops::Range<u64>> {
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

/// Copies a section of what was found into a blob. Blocks.
pub(super) fn copy_section(
    store: &Store,
    found: Found,
    range: ops::Range<u64>,
    algorithm: Algorithm,
) -> Result<Draft, StoreError> {
    let path = store.blob_path(&found.content.blob);
    let mut writer = store.blob_writer(algorithm)?;
    writer.write_from(blob::section(found.file, range).map_err(StoreError::file(path))?)?;
    Ok(writer.finish())
}
