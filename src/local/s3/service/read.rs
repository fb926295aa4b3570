//! Operations that read one version.

use std::io::{Seek, SeekFrom};
use std::ops;

use axum::http::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use super::version_id;
use crate::local::s3::blob;
use crate::local::s3::checksum::show_checksum;
use crate::local::s3::error::StoreError;
use crate::local::s3::objects::Found;
use crate::local::s3::store::Store;
use crate::local::s3::version::{strong, timestamp};

/// The conditions a read can be bound to.
#[derive(Default)]
pub(super) struct Conditions {
    pub(super) if_match: Option<ETagCondition>,
    pub(super) if_none_match: Option<ETagCondition>,
    pub(super) if_modified_since: Option<Timestamp>,
    pub(super) if_unmodified_since: Option<Timestamp>,
}

pub(super) enum Verdict {
    Holds,
    NotModified,
    Failed(&'static str),
}

impl Conditions {
    /// An ETag condition overrides the date condition of its kind (RFC 9110, 13.2.2).
    pub(super) fn judge(&self, found: &Found) -> Verdict {
        let etag = strong(&found.content.etag);
        let modified = timestamp(found.version.modified);
        let matches = |condition: &ETagCondition| {
            condition
                .as_etag()
                .is_none_or(|wanted| wanted.weak_cmp(&etag))
        };
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition) => return Verdict::Failed("If-Match"),
            (None, Some(date)) if modified > *date => {
                return Verdict::Failed("If-Unmodified-Since");
            }
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if matches(condition) => Verdict::NotModified,
            (None, Some(date)) if modified <= *date => Verdict::NotModified,
            _ => Verdict::Holds,
        }
    }

    fn check(&self, found: &Found) -> S3Result<()> {
        match self.judge(found) {
            Verdict::Holds => Ok(()),
            Verdict::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                error.set_headers(validators(found));
                Err(error)
            }
            Verdict::Failed(condition) => Err(StoreError::PreconditionFailed {
                key: found.version.key.clone(),
                condition,
            }
            .into()),
        }
    }
}

/// The headers that a `304 Not Modified` must repeat.
fn validators(found: &Found) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(etag) = strong(&found.content.etag).to_http_header() {
        headers.insert(ETAG, etag);
    }
    let mut date = Vec::new();
    if timestamp(found.version.modified)
        .format(TimestampFormat::HttpDate, &mut date)
        .is_ok()
        && let Ok(date) = HeaderValue::from_bytes(&date)
    {
        headers.insert(LAST_MODIFIED, date);
    }
    headers
}

/// The bytes asked for and, where they are not all, their `Content-Range`.
fn section(range: Option<Range>, size: u64) -> S3Result<(ops::Range<u64>, Option<String>)> {
    let Some(range) = range else {
        return Ok((0..size, None));
    };
    match range.check(size) {
        Ok(section) if !section.is_empty() => {
            let shown = format!("bytes {}-{}/{size}", section.start, section.end - 1);
            Ok((section, Some(shown)))
        }
        _ => {
            let mut error = s3_error!(InvalidRange, "the requested range is not satisfiable");
            if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, value)]));
            }
            Err(error)
        }
    }
}

/// What a read answers in its headers, the version, and which of its bytes are asked for.
async fn describe(
    store: &Store,
    input: GetObjectInput,
) -> S3Result<(GetObjectOutput, Found, ops::Range<u64>)> {
    if input.part_number.is_some() {
        return Err(s3_error!(
            NotImplemented,
            "reading by part number is not implemented"
        ));
    }
    let id = version_id(input.version_id.as_deref())?;
    let found = store
        .run(move |store| store.find(&input.bucket, &input.key, id.as_ref()))
        .await?;
    let conditions = Conditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    conditions.check(&found)?;
    let content = &found.content;
    let (section, content_range) = section(input.range, content.size)?;
    let headers = content.headers.clone();
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: headers.cache_control,
        content_disposition: headers.content_disposition,
        content_encoding: headers.content_encoding,
        content_language: headers.content_language,
        content_length: i64::try_from(section.end - section.start).ok(),
        content_range,
        content_type: headers.content_type,
        e_tag: Some(strong(&content.etag)),
        expires: headers.expires,
        last_modified: Some(timestamp(found.version.modified)),
        metadata: Some(headers.metadata),
        version_id: found.versioning.shown(&found.version.id),
        ..Default::default()
    };
    // A part of the bytes cannot be checked against the checksum of all.
    if input.checksum_mode.is_some() && output.content_range.is_none() {
        show_checksum!(output, &content.checksum);
        output.checksum_type = Some(content.checksum.kind());
    }
    Ok((output, found, section))
}

pub(super) async fn get_object(
    store: &Store,
    request: S3Request<GetObjectInput>,
) -> S3Result<GetObjectOutput> {
    let (mut output, mut found, section) = describe(store, request.input).await?;
    let path = store.blob_path(&found.content.blob);
    found
        .file
        .seek(SeekFrom::Start(section.start))
        .map_err(StoreError::file(path))?;
    output.body = Some(blob::stream(found.file, section.end - section.start));
    Ok(output)
}

pub(super) async fn head_object(
    store: &Store,
    request: S3Request<HeadObjectInput>,
) -> S3Result<HeadObjectOutput> {
    let input = request.input;
    let input = GetObjectInput {
        bucket: input.bucket,
        checksum_mode: input.checksum_mode,
        if_match: input.if_match,
        if_modified_since: input.if_modified_since,
        if_none_match: input.if_none_match,
        if_unmodified_since: input.if_unmodified_since,
        key: input.key,
        part_number: input.part_number,
        range: input.range,
        version_id: input.version_id,
        ..Default::default()
    };
    let (output, ..) = describe(store, input).await?;
    Ok(HeadObjectOutput {
        accept_ranges: output.accept_ranges,
        cache_control: output.cache_control,
        checksum_crc32: output.checksum_crc32,
        checksum_crc32c: output.checksum_crc32c,
        checksum_crc64nvme: output.checksum_crc64nvme,
        checksum_sha1: output.checksum_sha1,
        checksum_sha256: output.checksum_sha256,
        checksum_type: output.checksum_type,
        content_disposition: output.content_disposition,
        content_encoding: output.content_encoding,
        content_language: output.content_language,
        content_length: output.content_length,
        content_range: output.content_range,
        content_type: output.content_type,
        e_tag: output.e_tag,
        expires: output.expires,
        last_modified: output.last_modified,
        metadata: output.metadata,
        version_id: output.version_id,
        ..Default::default()
    })
}

/// No object has tags; the AWS CLI asks before it copies a large one.
pub(super) async fn get_object_tagging(
    store: &Store,
    request: S3Request<GetObjectTaggingInput>,
) -> S3Result<GetObjectTaggingOutput> {
    let input = request.input;
    let id = version_id(input.version_id.as_deref())?;
    let found = store
        .run(move |store| store.find(&input.bucket, &input.key, id.as_ref()))
        .await?;
    Ok(GetObjectTaggingOutput {
        tag_set: Vec::new(),
        version_id: found.versioning.shown(&found.version.id),
    })
}
