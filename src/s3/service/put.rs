//! PutObject, which also serves POST forms.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::receive::{AnnouncedBody, receive, trailer_algorithm};
use super::wire::{caller, strong_etag};
use crate::checksum::{Algorithm, set_checksums, take_checksums};
use crate::store::Store;
use crate::store::notification::EventName;
use crate::store::objects::{NewVersion, WriteCondition};

/// S3's limit on a key, in bytes of UTF-8.
const MAX_KEY_LENGTH: usize = 1024;

/// Takes the headers to be stored with an object out of an input of s3s.
macro_rules! take_headers {
    ($input:expr) => {
        crate::store::version::Headers {
            content_type: $input
                .content_type
                .take()
                .or_else(|| Some("binary/octet-stream".to_owned())),
            cache_control: $input.cache_control.take(),
            content_disposition: $input.content_disposition.take(),
            content_encoding: crate::service::put::stored_encoding($input.content_encoding.take()),
            content_language: $input.content_language.take(),
            expires: $input.expires.take(),
            metadata: $input.metadata.take().unwrap_or_default(),
        }
    };
}
pub(crate) use take_headers;

/// The `Content-Encoding` of the object. `aws-chunked` describes the body of the request, not the object.
pub(crate) fn stored_encoding(header: Option<String>) -> Option<String> {
    let header = header?;
    let codings: Vec<_> = header
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && *coding != "aws-chunked")
        .collect();
    (!codings.is_empty()).then(|| codings.join(","))
}

pub(crate) fn write_condition(
    if_match: Option<ETagCondition>,
    if_none_match: Option<ETagCondition>,
) -> S3Result<WriteCondition> {
    match (if_match, if_none_match) {
        (None, None) => Ok(WriteCondition::Always),
        (None, Some(ETagCondition::Any)) => Ok(WriteCondition::IfAbsent),
        (Some(ETagCondition::Any), None) => Ok(WriteCondition::IfPresent),
        (Some(ETagCondition::ETag(etag)), None) => Ok(WriteCondition::IfEtag(etag.into_value())),
        _ => Err(s3_error!(
            NotImplemented,
            "a write can have one condition: If-Match, or If-None-Match: *"
        )),
    }
}

/// Checks the length of a key. s3s checks a key in a path, but not one in a form.
fn check_key(key: &str) -> S3Result<()> {
    match key.len() {
        0 => Err(s3_error!(InvalidArgument, "the key is empty")),
        1..=MAX_KEY_LENGTH => Ok(()),
        _ => Err(s3_error!(
            KeyTooLongError,
            "the key has more than {MAX_KEY_LENGTH} bytes"
        )),
    }
}

pub(crate) async fn put_object(
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
    let headers = take_headers!(input);
    let announced = AnnouncedBody {
        length: input.content_length,
        md5: input.content_md5.take(),
        algorithm: input.checksum_algorithm.take(),
        trailer_algorithm: trailer_algorithm(&request.headers)?,
        checksums: take_checksums!(input),
        trailers: request.trailing_headers,
    };
    let algorithm = announced.algorithm()?.unwrap_or(Algorithm::DEFAULT);
    let blob = receive(store, input.body, announced, algorithm).await?;
    let new = NewVersion {
        bucket: input.bucket,
        key: input.key,
        headers,
        etag: blob.etag(),
        checksum: blob.checksum.clone(),
        blob,
        condition,
        event_name: EventName::Put,
        caller: caller(&request.extensions)?,
    };
    let created = store
        .run(move |store| store.create(new, |_, _| Ok(Vec::new())))
        .await?;
    let mut output = PutObjectOutput {
        checksum_type: Some(created.checksum.kind()),
        e_tag: Some(strong_etag(&created.etag)),
        version_id: created.version_id,
        ..Default::default()
    };
    set_checksums!(output, &created.checksum);
    Ok(output)
}

#[cfg(test)]
mod tests {
    use s3s::dto::{ETag, ETagCondition};

    use super::{WriteCondition, check_key, stored_encoding, write_condition};

    #[test]
    fn aws_chunked_is_not_stored() {
        for (header, stored) in [
            (None, None),
            (Some(""), None),
            (Some("aws-chunked"), None),
            (Some("gzip"), Some("gzip")),
            (Some("aws-chunked, gzip , br"), Some("gzip,br")),
        ] {
            let encoding = stored_encoding(header.map(str::to_owned));
            assert_eq!(encoding.as_deref(), stored);
        }
    }

    #[test]
    fn a_write_has_at_most_one_condition() {
        let etag = || Some(ETagCondition::ETag(ETag::Strong("e".to_owned())));
        let any = || Some(ETagCondition::Any);
        let condition = |if_match, if_none_match| write_condition(if_match, if_none_match).ok();
        assert!(matches!(
            condition(None, None),
            Some(WriteCondition::Always)
        ));
        assert!(matches!(
            condition(None, any()),
            Some(WriteCondition::IfAbsent)
        ));
        assert!(matches!(
            condition(any(), None),
            Some(WriteCondition::IfPresent)
        ));
        assert!(
            matches!(condition(etag(), None), Some(WriteCondition::IfEtag(etag)) if etag == "e")
        );
        assert!(condition(None, etag()).is_none());
        assert!(condition(any(), any()).is_none());
    }

    #[test]
    fn key_has_1_to_1024_bytes() {
        for (key, valid) in [
            (String::new(), false),
            ("a".repeat(1024), true),
            ("é".repeat(512), true),
            ("é".repeat(513), false),
        ] {
            assert_eq!(check_key(&key).is_ok(), valid, "{} bytes", key.len());
        }
    }
}
