//! Operations that list a bucket.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::{owner, version_id};
use crate::local::s3::listing::{After, Entry, Page, Query};
use crate::local::s3::notification::form_encode;
use crate::local::s3::store::Store;
use crate::local::s3::version::{Content, Version, strong, timestamp};

/// The most entries S3 puts on a page.
const PAGE: i32 = 1000;

pub(super) fn limit(wanted: Option<i32>) -> S3Result<i32> {
    match wanted {
        None => Ok(PAGE),
        Some(count @ 0..) => Ok(count.min(PAGE)),
        Some(_) => Err(s3_error!(InvalidArgument, "the page size is negative")),
    }
}

/// Keys as they are or, where asked for, so encoded that XML can carry them all.
pub(super) fn encoder(encoding: Option<&EncodingType>) -> S3Result<fn(&str) -> String> {
    match encoding.map(EncodingType::as_str) {
        None => Ok(str::to_owned),
        Some(EncodingType::URL) => Ok(form_encode),
        Some(_) => Err(s3_error!(InvalidArgument, "encoding type is not url")),
    }
}

fn none_if_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A page's common prefixes and the rest of its entries.
fn split(
    page: Page,
    encode: fn(&str) -> String,
) -> (Vec<CommonPrefix>, Vec<(Version, Option<Content>)>) {
    let mut prefixes = Vec::new();
    let mut versions = Vec::new();
    for entry in page.entries {
        match entry {
            Entry::CommonPrefix(prefix) => prefixes.push(CommonPrefix {
                prefix: Some(encode(&prefix)),
            }),
            Entry::Version(mut version) => {
                let content = version.content.take();
                versions.push((*version, content));
            }
        }
    }
    (prefixes, versions)
}

fn object(version: &Version, content: Content, encode: fn(&str) -> String) -> Object {
    Object {
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
            content.checksum.algorithm.name(),
        )]),
        checksum_type: Some(content.checksum.kind()),
        e_tag: Some(strong(&content.etag)),
        key: Some(encode(&version.key)),
        last_modified: Some(timestamp(version.modified)),
        size: i64::try_from(content.size).ok(),
        storage_class: Some(ObjectStorageClass::from_static(
            ObjectStorageClass::STANDARD,
        )),
        ..Default::default()
    }
}

pub(super) async fn list_objects(
    store: &Store,
    request: S3Request<ListObjectsInput>,
) -> S3Result<ListObjectsOutput> {
    let input = request.input;
    let limit = limit(input.max_keys)?;
    let encode = encoder(input.encoding_type.as_ref())?;
    let delimiter = none_if_empty(input.delimiter);
    let marker = none_if_empty(input.marker);
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        after: marker.clone().map_or(After::Beginning, After::Entry),
        limit: usize::try_from(limit).unwrap_or(0),
        versions: false,
    };
    let page = store.run(move |store| store.list(&query)).await?;
    let truncated = page.truncated;
    // S3 names the next marker only where it need not be the last key.
    let next = page
        .entries
        .last()
        .filter(|_| truncated && delimiter.is_some());
    let next_marker = next.map(|entry| encode(entry.name()));
    let (prefixes, versions) = split(page, encode);
    let contents = versions
        .into_iter()
        .filter_map(|(version, content)| {
            let mut object = object(&version, content?, encode);
            object.owner = Some(owner());
            Some(object)
        })
        .collect();
    Ok(ListObjectsOutput {
        name: Some(input.bucket),
        prefix: Some(encode(&input.prefix.unwrap_or_default())),
        marker: Some(encode(&marker.unwrap_or_default())),
        max_keys: Some(limit),
        is_truncated: Some(truncated),
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: delimiter.as_deref().map(encode),
        next_marker,
        encoding_type: input.encoding_type,
        ..Default::default()
    })
}

pub(super) async fn list_objects_v2(
    store: &Store,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let input = request.input;
    let limit = limit(input.max_keys)?;
    let encode = encoder(input.encoding_type.as_ref())?;
    let delimiter = none_if_empty(input.delimiter);
    let after = match (&input.continuation_token, &input.start_after) {
        (Some(token), _) => After::Entry(entry_of_token(token)?),
        (None, Some(key)) if !key.is_empty() => After::Key(key.clone()),
        (None, _) => After::Beginning,
    };
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        after,
        limit: usize::try_from(limit).unwrap_or(0),
        versions: false,
    };
    let page = store.run(move |store| store.list(&query)).await?;
    let truncated = page.truncated;
    let key_count = i32::try_from(page.entries.len()).ok();
    let next = page.entries.last().filter(|_| truncated);
    let next_continuation_token = next.map(|entry| URL_SAFE_NO_PAD.encode(entry.name()));
    let (prefixes, versions) = split(page, encode);
    let contents = versions
        .into_iter()
        .filter_map(|(version, content)| {
            let mut object = object(&version, content?, encode);
            object.owner = (input.fetch_owner == Some(true)).then(owner);
            Some(object)
        })
        .collect();
    Ok(ListObjectsV2Output {
        name: Some(input.bucket),
        prefix: Some(encode(&input.prefix.unwrap_or_default())),
        max_keys: Some(limit),
        key_count,
        continuation_token: input.continuation_token,
        is_truncated: Some(truncated),
        next_continuation_token,
        contents: Some(contents),
        common_prefixes: Some(prefixes),
        delimiter: delimiter.as_deref().map(encode),
        encoding_type: input.encoding_type,
        start_after: input.start_after.as_deref().map(encode),
        ..Default::default()
    })
}

/// A continuation token is the last entry of the page before it.
fn entry_of_token(token: &str) -> S3Result<String> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            s3_error!(
                InvalidArgument,
                "the continuation token provided is incorrect"
            )
        })
}

pub(super) async fn list_object_versions(
    store: &Store,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<ListObjectVersionsOutput> {
    let input = request.input;
    let limit = limit(input.max_keys)?;
    let encode = encoder(input.encoding_type.as_ref())?;
    let delimiter = none_if_empty(input.delimiter);
    let key_marker = none_if_empty(input.key_marker);
    let version_id_marker = none_if_empty(input.version_id_marker);
    let after = match (
        key_marker.clone(),
        version_id(version_id_marker.as_deref())?,
    ) {
        (Some(key), Some(id)) => After::Version(key, id.into()),
        (Some(key), None) => After::Entry(key),
        (None, None) => After::Beginning,
        (None, Some(_)) => {
            return Err(s3_error!(
                InvalidArgument,
                "a version-id marker cannot be specified without a key marker"
            ));
        }
    };
    let query = Query {
        bucket: input.bucket.clone(),
        prefix: input.prefix.clone().unwrap_or_default(),
        delimiter: delimiter.clone(),
        after,
        limit: usize::try_from(limit).unwrap_or(0),
        versions: true,
    };
    let page = store.run(move |store| store.list(&query)).await?;
    let truncated = page.truncated;
    let next = page.entries.last().filter(|_| truncated);
    let next_key_marker = next.map(|entry| encode(entry.name()));
    let next_version_id_marker = match next {
        Some(Entry::Version(version)) => Some(version.id.to_string()),
        _ => None,
    };
    let (prefixes, entries) = split(page, encode);
    let mut versions = Vec::new();
    let mut markers = Vec::new();
    for (version, content) in entries {
        match content {
            Some(content) => versions.push(object_version(version, content, encode)),
            None => markers.push(DeleteMarkerEntry {
                is_latest: Some(version.is_latest),
                key: Some(encode(&version.key)),
                last_modified: Some(timestamp(version.modified)),
                owner: Some(owner()),
                version_id: Some(version.id.into()),
            }),
        }
    }
    Ok(ListObjectVersionsOutput {
        common_prefixes: Some(prefixes),
        delete_markers: Some(markers),
        delimiter: delimiter.as_deref().map(encode),
        encoding_type: input.encoding_type,
        is_truncated: Some(truncated),
        key_marker: Some(encode(&key_marker.unwrap_or_default())),
        max_keys: Some(limit),
        name: Some(input.bucket),
        next_key_marker,
        next_version_id_marker,
        prefix: Some(encode(&input.prefix.unwrap_or_default())),
        version_id_marker: Some(version_id_marker.unwrap_or_default()),
        versions: Some(versions),
        ..Default::default()
    })
}

fn object_version(version: Version, content: Content, encode: fn(&str) -> String) -> ObjectVersion {
    ObjectVersion {
        checksum_algorithm: Some(vec![ChecksumAlgorithm::from_static(
            content.checksum.algorithm.name(),
        )]),
        checksum_type: Some(content.checksum.kind()),
        e_tag: Some(strong(&content.etag)),
        is_latest: Some(version.is_latest),
        key: Some(encode(&version.key)),
        last_modified: Some(timestamp(version.modified)),
        owner: Some(owner()),
        size: i64::try_from(content.size).ok(),
        storage_class: Some(ObjectVersionStorageClass::from_static(
            ObjectVersionStorageClass::STANDARD,
        )),
        version_id: Some(version.id.into()),
        ..Default::default()
    }
}
