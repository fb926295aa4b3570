//! GetObject, HeadObject and GetObjectTagging.

use std::ops;

use axum::http::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};
use chrono::{DateTime, Utc};
use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Result, s3_error};

use super::wire::{self, http_date, strong_etag, timestamp, version_id};
use crate::checksum::set_checksums;
use crate::error::StoreError;
use crate::store::Store;
use crate::store::objects::OpenVersion;

/// The conditional headers of a read, or of the source of a copy.
pub(crate) struct ReadConditions {
    pub(crate) if_match: Option<ETagCondition>,
    pub(crate) if_none_match: Option<ETagCondition>,
    pub(crate) if_modified_since: Option<Timestamp>,
    pub(crate) if_unmodified_since: Option<Timestamp>,
}

/// The result of evaluating [`ReadConditions`].
#[derive(Debug, PartialEq)]
pub(crate) enum Evaluation {
    Holds,
    /// `If-None-Match` or `If-Modified-Since` fails: the client has the version already.
    NotModified,
    IfMatchFails,
    IfUnmodifiedSinceFails,
}

impl ReadConditions {
    /// Evaluates the conditions. An ETag condition overrides the date condition of its kind (RFC 9110, section
    /// 13.2.2).
    pub(crate) fn evaluate(&self, etag: &str, modified: DateTime<Utc>) -> Evaluation {
        let etag = strong_etag(etag);
        let modified = timestamp(modified);
        let matches = |condition: &ETagCondition| match condition.as_etag() {
            None => true,
            Some(wanted) => wanted.weak_cmp(&etag),
        };
        match (&self.if_match, &self.if_unmodified_since) {
            (Some(condition), _) if !matches(condition) => return Evaluation::IfMatchFails,
            (None, Some(date)) if modified > *date => return Evaluation::IfUnmodifiedSinceFails,
            _ => {}
        }
        match (&self.if_none_match, &self.if_modified_since) {
            (Some(condition), _) if matches(condition) => Evaluation::NotModified,
            (None, Some(date)) if modified <= *date => Evaluation::NotModified,
            _ => Evaluation::Holds,
        }
    }

    fn check(&self, found: &OpenVersion) -> S3Result<()> {
        let condition = match self.evaluate(&found.content.etag, found.modified) {
            Evaluation::Holds => return Ok(()),
            Evaluation::NotModified => {
                let mut error = S3Error::new(S3ErrorCode::NotModified);
                error.set_headers(validators(found)?);
                return Err(error);
            }
            Evaluation::IfMatchFails => "If-Match",
            Evaluation::IfUnmodifiedSinceFails => "If-Unmodified-Since",
        };
        Err(StoreError::PreconditionFailed {
            key: found.key.clone(),
            condition,
        }
        .into())
    }
}

/// The headers that a `304 Not Modified` must repeat.
fn validators(found: &OpenVersion) -> S3Result<HeaderMap> {
    let etag = strong_etag(&found.content.etag)
        .to_http_header()
        .map_err(S3Error::internal_error)?;
    Ok(HeaderMap::from_iter([
        (ETAG, etag),
        (LAST_MODIFIED, http_date(found.modified)?),
    ]))
}

/// The requested bytes of `size`, and their `Content-Range` if the client requested a range.
fn resolve_range(range: Option<Range>, size: u64) -> S3Result<(ops::Range<u64>, Option<String>)> {
    let Some(range) = range else {
        return Ok((0..size, None));
    };
    match range.check(size) {
        Ok(bytes) if !bytes.is_empty() => {
            let content_range = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
            Ok((bytes, Some(content_range)))
        }
        _ => {
            let mut error = s3_error!(InvalidRange, "the requested range is not satisfiable");
            let size = HeaderValue::from_str(&format!("bytes */{size}"))
                .map_err(S3Error::internal_error)?;
            error.set_headers(HeaderMap::from_iter([(CONTENT_RANGE, size)]));
            Err(error)
        }
    }
}

/// A read whose conditions hold.
struct Read {
    /// The headers of the response.
    output: GetObjectOutput,
    version: OpenVersion,
    /// The requested bytes.
    bytes: ops::Range<u64>,
}

async fn open(store: &Store, input: GetObjectInput) -> S3Result<Read> {
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
    let conditions = ReadConditions {
        if_match: input.if_match,
        if_none_match: input.if_none_match,
        if_modified_since: input.if_modified_since,
        if_unmodified_since: input.if_unmodified_since,
    };
    conditions.check(&found)?;
    let content = &found.content;
    let (bytes, content_range) = resolve_range(input.range, content.size)?;
    let headers = content.headers.clone();
    let mut output = GetObjectOutput {
        accept_ranges: Some("bytes".to_owned()),
        cache_control: headers.cache_control,
        content_disposition: headers.content_disposition,
        content_encoding: headers.content_encoding,
        content_language: headers.content_language,
        content_length: Some(wire::size(bytes.end - bytes.start)?),
        content_range,
        content_type: headers.content_type,
        e_tag: Some(strong_etag(&content.etag)),
        expires: headers.expires,
        last_modified: Some(timestamp(found.modified)),
        metadata: Some(headers.metadata),
        version_id: found.id_in_response(),
        ..Default::default()
    };
    // The client cannot verify a range against the checksum of all bytes.
    if input.checksum_mode.is_some() && output.content_range.is_none() {
        set_checksums!(output, &content.checksum);
        output.checksum_type = Some(content.checksum.kind());
    }
    Ok(Read {
        output,
        version: found,
        bytes,
    })
}

pub(crate) async fn get_object(
    store: &Store,
    request: S3Request<GetObjectInput>,
) -> S3Result<GetObjectOutput> {
    let Read {
        mut output,
        version,
        bytes,
    } = open(store, request.input).await?;
    output.body = Some(version.blob.stream(bytes)?);
    Ok(output)
}

pub(crate) async fn head_object(
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
    let Read { output, .. } = open(store, input).await?;
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

/// Answers with no tags, which is true of every object. The AWS CLI asks before it copies a large object.
pub(crate) async fn get_object_tagging(
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
        version_id: found.id_in_response(),
    })
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_RANGE;
    use chrono::{DateTime, TimeDelta};
    use s3s::dto::{ETagCondition, Range};

    use super::{Evaluation, ReadConditions, resolve_range, timestamp};

    #[test]
    fn etag_conditions_override_date_conditions() {
        use Evaluation::{Holds, IfMatchFails, IfUnmodifiedSinceFails, NotModified};
        let modified = DateTime::from_timestamp(1_000, 0).unwrap();
        // ETags; dates in seconds after the modification.
        for (if_match, if_none_match, if_modified_since, if_unmodified_since, expected) in [
            (None, None, None, None, Holds),
            (Some("\"e\""), None, None, None, Holds),
            (Some("\"f\""), None, None, None, IfMatchFails),
            (Some("*"), None, None, None, Holds),
            (None, Some("\"e\""), None, None, NotModified),
            (None, Some("W/\"e\""), None, None, NotModified),
            (None, Some("*"), None, None, NotModified),
            (None, Some("\"f\""), None, None, Holds),
            (None, None, Some(-1), None, Holds),
            (None, None, Some(0), None, NotModified),
            (None, None, None, Some(0), Holds),
            (None, None, None, Some(-1), IfUnmodifiedSinceFails),
            (Some("\"e\""), None, None, Some(-1), Holds),
            (None, Some("\"f\""), Some(0), None, Holds),
        ] {
            let etag = |text: &str| ETagCondition::parse_http_header(text.as_bytes()).unwrap();
            let date = |seconds| timestamp(modified + TimeDelta::seconds(seconds));
            let conditions = ReadConditions {
                if_match: if_match.map(etag),
                if_none_match: if_none_match.map(etag),
                if_modified_since: if_modified_since.map(date),
                if_unmodified_since: if_unmodified_since.map(date),
            };
            assert_eq!(
                conditions.evaluate("e", modified),
                expected,
                "{if_match:?} {if_none_match:?} {if_modified_since:?} {if_unmodified_since:?}"
            );
        }
    }

    #[test]
    fn range_is_cut_to_the_size() {
        let range = |first, last| Some(Range::Int { first, last });
        let suffix = |length| Some(Range::Suffix { length });
        for (requested, size, bytes, header) in [
            (None, 10, 0..10, None),
            (None, 0, 0..0, None),
            (range(0, Some(4)), 10, 0..5, Some("bytes 0-4/10")),
            (range(4, None), 10, 4..10, Some("bytes 4-9/10")),
            (range(4, Some(99)), 10, 4..10, Some("bytes 4-9/10")),
            (suffix(3), 10, 7..10, Some("bytes 7-9/10")),
            (suffix(99), 10, 0..10, Some("bytes 0-9/10")),
        ] {
            let (resolved, content_range) = resolve_range(requested, size).unwrap();
            assert_eq!(resolved, bytes);
            assert_eq!(content_range.as_deref(), header);
        }
        for (requested, size) in [(range(10, None), 10), (range(0, None), 0), (suffix(0), 10)] {
            let error = resolve_range(requested, size).unwrap_err();
            let header = &error.headers().unwrap()[CONTENT_RANGE];
            assert_eq!(header, &format!("bytes */{size}"));
        }
    }
}
