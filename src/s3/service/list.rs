//! ListObjects, ListObjectsV2 and ListObjectVersions.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::paging::{PageSize, key_encoder, none_if_empty};
use super::wire::{owner, size, strong_etag, timestamp, version_id};
use crate::error::StoreError;
use crate::store::Store;
use crate::store::listing::{Entry, Page, Query, Start};
use crate::store::version::{Content, Version};

/// Writes a key into a response.
type KeyEncoder = fn(&str) -> String;

pub(crate) async fn list_objects(
    store: &Store,
    request: S3Request<ListObjectsInput>,
) -> S3Result<ListObjectsOutput> {
    let input = request.input;
    let page_size = PageSize::parse(input.max_keys)?;
    let encode = key_encoder(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = none_if_empty(input.delimiter);
    let marker = none_if_empty(input.marker);
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        start: marker.clone().map_or(Start::Beginning, Start::AfterEntry),
        limit: page_size.into(),
        versions: false,
    };
    let page = store.run(move |store| store.list(&query)).await?;
    let is_truncated = Some(page.truncated);
    // Without a delimiter S3 omits the next marker, because it is the last key of the page.
    let next_marker = match next_entry(&page) {
        Some(entry) if delimiter.is_some() => Some(encode(entry.name())),
        _ => None,
    };
    let (common_prefixes, contents) = objects(page, encode, Some(owner()))?;
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(&prefix)),
        marker: Some(encode(&marker.unwrap_or_default())),
        max_keys: Some(page_size.into()),
        is_truncated,
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        delimiter: delimiter.as_deref().map(encode),
        next_marker,
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

pub(crate) async fn list_objects_v2(
    store: &Store,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let input = request.input;
    let page_size = PageSize::parse(input.max_keys)?;
    let encode = key_encoder(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = none_if_empty(input.delimiter);
    let start = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => Start::AfterEntry(parse_token(token)?),
        (None, Some(key)) if !key.is_empty() => Start::AfterKey(key.clone()),
        (None, _) => Start::Beginning,
    };
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        start,
        limit: page_size.into(),
        versions: false,
    };
    let page = store.run(move |store| store.list(&query)).await?;
    let is_truncated = Some(page.truncated);
    let key_count = i32::try_from(page.entries.len()).map_err(S3Error::internal_error)?;
    let next_continuation_token = next_entry(&page).map(|entry| token(entry.name()));
    let owner = (input.fetch_owner == Some(true)).then(owner);
    let (common_prefixes, contents) = objects(page, encode, owner)?;
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encode(&prefix)),
        max_keys: Some(page_size.into()),
        key_count: Some(key_count),
        continuation_token: input.continuation_token,
        is_truncated,
        next_continuation_token,
        contents: Some(contents),
        common_prefixes: Some(common_prefixes),
        delimiter: delimiter.as_deref().map(encode),
        encoding_type: input.encoding_type,
        start_after: input.start_after.as_deref().map(encode),
        ..Default::default()
    })
}

pub(crate) async fn list_object_versions(
    store: &Store,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<ListObjectVersionsOutput> {
    let input = request.input;
    let page_size = PageSize::parse(input.max_keys)?;
    let encode = key_encoder(input.encoding_type.as_ref())?;
    let prefix = input.prefix.unwrap_or_default();
    let delimiter = none_if_empty(input.delimiter);
    let key_marker = none_if_empty(input.key_marker);
    let version_id_marker = none_if_empty(input.version_id_marker);
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: prefix.clone(),
        delimiter: delimiter.clone(),
        start: start_of_versions(key_marker.clone(), version_id_marker.as_deref())?,
        limit: page_size.into(),
        versions: true,
    };
    let page = store.run(move |store| store.list(&query)).await?;
    let is_truncated = Some(page.truncated);
    let next = next_entry(&page);
    let next_key_marker = next.map(|entry| encode(entry.name()));
    let next_version_id_marker = match next {
        Some(Entry::Version(version)) => Some(version.id.to_string()),
        Some(Entry::CommonPrefix(_)) | None => None,
    };
    let mut common_prefixes = Vec::new();
    let mut versions = Vec::new();
    let mut delete_markers = Vec::new();
    for entry in page.entries {
        match entry {
            Entry::CommonPrefix(prefix) => common_prefixes.push(common_prefix(&prefix, encode)),
            Entry::Version(mut version) => match version.content.take() {
                Some(content) => versions.push(version_entry(*version, content, encode)?),
                None => delete_markers.push(delete_marker_entry(*version, encode)),
            },
        }
    }
    Ok(ListObjectVersionsOutput {
        common_prefixes: Some(common_prefixes),
        delete_markers: Some(delete_markers),
        delimiter: delimiter.as_deref().map(encode),
        encoding_type: input.encoding_type,
        is_truncated,
        key_marker: Some(encode(&key_marker.unwrap_or_default())),
        max_keys: Some(page_size.into()),
        name: Some(input.bucket),
        next_key_marker,
        next_version_id_marker,
        prefix: Some(encode(&prefix)),
        version_id_marker: Some(version_id_marker.unwrap_or_default()),
        versions: Some(versions),
        ..Default::default()
    })
}

/// The entry after which the next page starts, if there is a next page.
fn next_entry(page: &Page) -> Option<&Entry> {
    page.entries.last().filter(|_| page.truncated)
}

/// The continuation token of the page after the entry `name`.
fn token(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

fn parse_token(token: &str) -> S3Result<String> {
    let incorrect = || {
        s3_error!(
            InvalidArgument,
            "the continuation token provided is incorrect"
        )
    };
    let name = URL_SAFE_NO_PAD.decode(token).map_err(|_| incorrect())?;
    String::from_utf8(name).map_err(|_| incorrect())
}

fn start_of_versions(key: Option<String>, id: Option<&str>) -> S3Result<Start> {
    match (key, version_id(id)?) {
        (Some(key), Some(id)) => Ok(Start::AfterVersion(key, id)),
        (Some(key), None) => Ok(Start::AfterEntry(key)),
        (None, None) => Ok(Start::Beginning),
        (None, Some(_)) => Err(s3_error!(
            InvalidArgument,
            "a version-id marker cannot be specified without a key marker"
        )),
    }
}

fn common_prefix(prefix: &str, encode: KeyEncoder) -> CommonPrefix {
    CommonPrefix {
        prefix: Some(encode(prefix)),
    }
}

/// The common prefixes and the objects of a page of objects.
fn objects(
    page: Page,
    encode: KeyEncoder,
    owner: Option<Owner>,
) -> S3Result<(Vec<CommonPrefix>, Vec<Object>)> {
    let mut common_prefixes = Vec::new();
    let mut objects = Vec::new();
    for entry in page.entries {
        match entry {
            Entry::CommonPrefix(prefix) => common_prefixes.push(common_prefix(&prefix, encode)),
            Entry::Version(version) => {
                objects.push(object_entry(*version, encode, owner.clone())?);
            }
        }
    }
    Ok((common_prefixes, objects))
}

fn object_entry(version: Version, encode: KeyEncoder, owner: Option<Owner>) -> S3Result<Object> {
    let content = version.content.ok_or_else(|| {
        StoreError::damaged(format!(
            "the listing of objects has the delete marker {} of object {}",
            version.id, version.key
        ))
    })?;
    Ok(Object {
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
            content.checksum.algorithm.name(),
        )]),
        checksum_type: Some(content.checksum.kind()),
        e_tag: Some(strong_etag(&content.etag)),
        key: Some(encode(&version.key)),
        last_modified: Some(timestamp(version.modified)),
        owner,
        size: Some(size(content.size)?),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    })
}

fn version_entry(
    version: Version,
    content: Content,
    encode: KeyEncoder,
) -> S3Result<ObjectVersion> {
    Ok(ObjectVersion {
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
            content.checksum.algorithm.name(),
        )]),
        checksum_type: Some(content.checksum.kind()),
        e_tag: Some(strong_etag(&content.etag)),
        is_latest: Some(version.is_latest),
        key: Some(encode(&version.key)),
        last_modified: Some(timestamp(version.modified)),
        owner: Some(owner()),
        size: Some(size(content.size)?),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        version_id: Some(version.id.into()),
        ..Default::default()
    })
}

fn delete_marker_entry(version: Version, encode: KeyEncoder) -> DeleteMarkerEntry {
    DeleteMarkerEntry {
        is_latest: Some(version.is_latest),
        key: Some(encode(&version.key)),
        last_modified: Some(timestamp(version.modified)),
        owner: Some(owner()),
        version_id: Some(version.id.into()),
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use s3s::S3ErrorCode;

    use super::{Version, object_entry, parse_token, start_of_versions, token};
    use crate::store::version::VersionId;

    #[test]
    fn continuation_tokens_carry_any_key() {
        for name in ["a/b c", "é\n", "x?&="] {
            assert_eq!(parse_token(&token(name)).unwrap(), name);
        }
        for malformed in ["?", "_w", "YQ=="] {
            let error = parse_token(malformed).unwrap_err();
            assert_eq!(error.code(), &S3ErrorCode::InvalidArgument, "{malformed}");
        }
    }

    #[test]
    fn version_id_marker_needs_a_key_marker() {
        start_of_versions(Some("a".to_owned()), Some("null")).unwrap();
        start_of_versions(None, Some("null")).err().unwrap();
        start_of_versions(Some("a".to_owned()), Some("x"))
            .err()
            .unwrap();
    }

    #[test]
    fn delete_marker_among_objects_is_an_internal_error() {
        let version = Version {
            key: "a".to_owned(),
            id: VersionId::null(),
            modified: DateTime::UNIX_EPOCH,
            is_latest: true,
            content: None,
        };
        let error = object_entry(version, str::to_owned, None).unwrap_err();
        assert_eq!(error.code(), &S3ErrorCode::InternalError);
    }
}
