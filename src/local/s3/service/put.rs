//! Creating a version from a request body.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::caller;
use super::receive::{Announced, receive};
use crate::local::s3::checksum::{Algorithm, show_checksum, stated_checksums};
use crate::local::s3::notification::Cause;
use crate::local::s3::objects::{NewVersion, WriteCondition};
use crate::local::s3::store::Store;
use crate::local::s3::version::strong;

/// S3's limit, in bytes of UTF-8.
const MAX_KEY: usize = 1024;

/// The headers to keep with an object; many of s3s's inputs have these fields.
macro_rules! stored_headers {
    ($input:expr) => {
        crate::local::s3::version::Headers {
            content_type: $input
                .content_type
                .take()
                .or_else(|| Some("binary/octet-stream".to_owned())),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: $crate::local::s3::service::put::content_encoding(
                $input.content_encoding.take(),
            ),
            content_language: $input.content_language.take(),
            expires: $input.expires.take(),
            metadata: $input.metadata.take().unwrap_or_default(),
        }
    };
}
pub(super) use stored_headers;

/// `aws-chunked` is how the body was sent, not what was stored.
pub(super) fn content_encoding(header: Option<String>) -> Option<String> {
    let header = header?;
    let codings: Vec<_> = header
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    (!codings.is_empty()).then(|| codings.join(","))
}

pub(super) fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::Always),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::IfAbsent),
        (Some(condition), None) => Ok(WriteCondition::IfMatch(
            condition.into_etag().map(ETag::into_value),
        )),
        _ => Err(s3_error!(
            NotImplemented,
            "a write can be bound to one of If-Match and If-None-Match: *"
        )),
    }
}

/// s3s checks the key in a path, but not that in a form.
fn check_key(key: &str) -> S3Result<()> {
    match key.len() {
        0 => Err(s3_error!(InvalidArgument, "the key is empty")),
        1..=MAX_KEY => Ok(()),
        _ => Err(s3_error!(
            KeyTooLongError,
            "the key has more than {MAX_KEY} bytes"
        )),
    }
}

pub(super) async fn put_object(
    store: &Store,
    request: S3Request<PutObjectInput>,
) -> S3Result<PutObjectOutput> {
    let mut input = request.input;
    if input.tagging.is_some() {
        return Err(s3_error!(NotImplemented, "tags are not implemented"));
    }
    check_key(&input.key)?;
    let bucket = input.bucket.clone();
    store.run(move |store| store.versioning(&bucket)).await?;
    let condition = write_condition(input.if_match.take(), input.if_none_match.take())?;
    let headers = stored_headers!(input);
    let announced = Announced {
        length: input.content_length,
        md5: input.content_md5.take(),
        algorithm: input.checksum_algorithm.take(),
        checksums: stated_checksums!(input),
        trailers: request.trailing_headers,
    };
    let algorithm = announced.algorithm()?.unwrap_or(Algorithm::DEFAULT);
    let draft = receive(store, input.body, announced, algorithm).await?;
    let new = NewVersion {
        bucket: input.bucket,
        key: input.key,
        headers,
        etag: draft.etag(),
        checksum: draft.checksum.clone(),
        draft,
        condition,
        cause: Cause::Put,
        caller: caller(&request.extensions),
    };
    let written = store
        .run(move |store| store.create(new, |_, _| Ok(Vec::new())))
        .await?;
    let mut output = PutObjectOutput {
        checksum_type: Some(written.checksum.kind()),
        e_tag: Some(strong(&written.etag)),
        version_id: written.version_id,
        ..Default::default()
    };
    show_checksum!(output, &written.checksum);
    Ok(output)
}
