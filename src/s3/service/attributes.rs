//! GetObjectAttributes.

use std::collections::HashSet;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::wire::{size, strong_etag, timestamp, version_id};
use crate::error::StoreError;
use crate::store::Store;

const ATTRIBUTES: [&str; 5] = [
    ObjectAttributes::CHECKSUM,
    ObjectAttributes::ETAG,
    ObjectAttributes::OBJECT_PARTS,
    ObjectAttributes::OBJECT_SIZE,
    ObjectAttributes::STORAGE_CLASS,
];

pub(crate) async fn get_object_attributes(
    store: &Store,
    request: S3Request<GetObjectAttributesInput>,
) -> S3Result<GetObjectAttributesOutput> {
    let input = request.input;
    let requested = attributes(&input.object_attributes)?;
    let id = version_id(input.version_id.as_deref())?;
    let found = store
        .run(move |store| store.find(&input.bucket, &input.key, id.as_ref()))
        .await?;
    let content = &found.content;
    let wants = |attribute| requested.contains(attribute);
    Ok(GetObjectAttributesOutput {
        checksum: wants(ObjectAttributes::CHECKSUM).then(|| Checksum::from(&content.checksum)),
        e_tag: wants(ObjectAttributes::ETAG).then(|| strong_etag(&content.etag)),
        last_modified: Some(timestamp(found.modified)),
        object_parts: match wants(ObjectAttributes::OBJECT_PARTS) {
            true => parts(&content.etag)?,
            false => None,
        },
        object_size: match wants(ObjectAttributes::OBJECT_SIZE) {
            true => Some(size(content.size)?),
            false => None,
        },
        storage_class: wants(ObjectAttributes::STORAGE_CLASS)
            .then(|| StorageClass::from_static(StorageClass::STANDARD)),
        version_id: found.id_in_response(),
        ..Default::default()
    })
}

/// The requested attributes. Some clients separate them by commas, others repeat the header.
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

/// The number of parts of a multipart object, which its ETag ends with. The store does not keep the sizes and
/// checksums of the parts.
fn parts(etag: &str) -> Result<Option<GetObjectAttributesParts>, StoreError> {
    let Some((_, count)) = etag.split_once('-') else {
        return Ok(None);
    };
    let count = count
        .parse()
        .map_err(StoreError::unparsable(format!("ETag {etag:?}")))?;
    Ok(Some(GetObjectAttributesParts {
        total_parts_count: Some(count),
        ..Default::default()
    }))
}

#[cfg(test)]
mod tests {
    use s3s::dto::ObjectAttributes;

    use super::{attributes, parts};

    #[test]
    fn attributes_are_separated_by_commas_or_headers() {
        let header = ["ETag, ObjectSize", "Checksum"].map(ObjectAttributes::from_static);
        let mut names: Vec<_> = attributes(&header).unwrap().into_iter().collect();
        names.sort_unstable();
        assert_eq!(names, ["Checksum", "ETag", "ObjectSize"]);
        let unknown = [ObjectAttributes::from_static("ETag,Size")];
        attributes(&unknown).unwrap_err();
    }

    #[test]
    fn number_of_parts_is_in_the_etag() {
        let count = |etag| parts(etag).map(|parts| parts.and_then(|parts| parts.total_parts_count));
        assert_eq!(count("d41d-12").unwrap(), Some(12));
        assert_eq!(count("d41d").unwrap(), None);
        count("d41d-x").unwrap_err();
    }
}
