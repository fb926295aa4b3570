//! What is known of a version, without its bytes.

use std::collections::HashSet;

use s3s::dto::*;
use s3s::{S3Error, S3Request, S3Result, s3_error};

use super::version_id;
use crate::local::s3::store::Store;
use crate::local::s3::version::{Content, strong, timestamp};

const ATTRIBUTES: [&str; 5] = [
    ObjectAttributes::CHECKSUM,
    ObjectAttributes::ETAG,
    ObjectAttributes::OBJECT_PARTS,
    ObjectAttributes::OBJECT_SIZE,
    ObjectAttributes::STORAGE_CLASS,
];

pub(super) async fn get_object_attributes(
    store: &Store,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<GetObjectAttributesOutput> {
    let input = request.input;
    let wanted = attributes(&input.object_attributes)?;
    let id = version_id(input.version_id.as_deref())?;
    let found = store
        .run(move |store| store.find(&input.bucket, &input.key, id.as_ref()))
        .await?;
    let content = &found.content;
    let wants = |attribute| wanted.contains(attribute);
    Ok(GetObjectAttributesOutput {
        checksum: wants(ObjectAttributes::CHECKSUM).then(|| Checksum::from(&content.checksum)),
        e_tag: wants(ObjectAttributes::ETAG).then(|| strong(&content.etag)),
        last_modified: Some(timestamp(found.version.modified)),
        object_parts: match wants(ObjectAttributes::OBJECT_PARTS) {
            true => parts(content)?,
            false => None,
        },
        object_size: match wants(ObjectAttributes::OBJECT_SIZE) {
            true => Some(i64::try_from(content.size).map_err(S3Error::internal_error)?),
            false => None,
        },
        storage_class: wants(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        version_id: found.versioning.shown(&found.version.id),
        ..Default::default()
    })
}

/// The attributes that the header names; clients write it once with commas, or once for each.
fn attributes(header: &[ObjectAttributes]) -> S3Result<HashSet<&str>> {
    let names = header.iter().flat_map(|names| names.as_str().split(','));
    names
        .map(|name| match name.trim() {
            name if ATTRIBUTES.contains(&name) => Ok(name),
            name => Err(s3_error!(
                InvalidArgument,
                "x-amz-object-attributes names {name:?}, which is none of {}",
                ATTRIBUTES.join(", ")
            )),
        })
        .collect()
}

/// Of a multipart object its number of parts, which is in its ETag. Their sizes and checksums are not kept.
fn parts(content: &Content) -> S3Result<Option<GetObjectAttributesParts>> {
    let Some((_, count)) = content.etag.split_once('-') else {
        return Ok(None);
    };
    Ok(Some(GetObjectAttributesParts {
        total_parts_count: Some(count.parse().map_err(S3Error::internal_error)?),
        ..Default::default()
    }))
}
