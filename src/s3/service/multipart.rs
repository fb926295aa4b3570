//! Operations on multipart uploads.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::copy::{copy_bytes, open_source, parse_copy_range};
use super::put::{take_headers, write_condition};
use super::read::ReadConditions;
use super::receive::{AnnouncedBody, parse_algorithm, receive, trailer_algorithm};
use super::wire::{caller, strong_etag, timestamp};
use crate::checksum::{self, Algorithm, set_checksums, take_checksums};
use crate::error::StoreError;
use crate::store::Store;
use crate::store::uploads::{CompletionRequest, ListedPart, UploadChecksum};

impl UploadChecksum {
    /// Combines the algorithm and the type that a client announces. If it announces no type, S3 chooses a composite
    /// checksum, except for CRC64NVME, which cannot be composite.
    fn new(algorithm: Algorithm, kind: Option<&ChecksumType>) -> S3Result<Self> {
        let composite = match kind.map(ChecksumType::as_str) {
            None => algorithm != Algorithm::Crc64Nvme,
            Some(ChecksumType::COMPOSITE) if algorithm != Algorithm::Crc64Nvme => true,
            Some(ChecksumType::FULL_OBJECT)
                if !matches!(algorithm, Algorithm::Sha1 | Algorithm::Sha256) =>
            {
                false
            }
            Some(_) => {
                return Err(s3_error!(
                    InvalidRequest,
                    "the checksum type does not suit the algorithm"
                ));
            }
        };
        Ok(Self {
            algorithm,
            composite,
        })
    }

    pub(crate) fn kind(self) -> ChecksumType {
        checksum::kind(self.composite)
    }

    pub(crate) fn algorithm_name(self) -> ChecksumAlgorithm {
        ChecksumAlgorithm::from_static(self.algorithm.name())
    }
}

pub(crate) async fn create_multipart_upload(
    store: &Store,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    let headers = take_headers!(input);
    let checksum = match &input.checksum_algorithm {
        Some(name) => {
            let kind = input.checksum_type.as_ref();
            Some(UploadChecksum::new(parse_algorithm(name)?, kind)?)
        }
        None => None,
    };
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let upload_id = store
        .run(move |store| store.create_upload(&bucket, &key, &headers, checksum))
        .await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: checksum.map(UploadChecksum::algorithm_name),
        checksum_type: checksum.map(UploadChecksum::kind),
        key: Some(input.key),
        upload_id: Some(upload_id),
        ..Default::default()
    })
}

pub(crate) async fn upload_part(
    store: &Store,
    request: S3Request<UploadPartInput>,
) -> S3Result<UploadPartOutput> {
    let mut input = request.input;
    let (bucket, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let upload = store
        .run(move |store| store.upload(&bucket, &key, &id))
        .await?;
    let announced = AnnouncedBody {
        length: input.content_length,
        md5: input.content_md5.take(),
        algorithm: input.checksum_algorithm.take(),
        trailer_algorithm: trailer_algorithm(&request.headers)?,
        checksums: take_checksums!(input),
        trailers: request.trailing_headers,
    };
    let algorithm = match (upload.checksum, announced.algorithm()?) {
        (Some(checksum), Some(sent)) if checksum.algorithm != sent => {
            return Err(StoreError::InvalidRequest(
                "checksum algorithm of the part is not the upload's",
            )
            .into());
        }
        (Some(checksum), _) => checksum.algorithm,
        (None, Some(sent)) => sent,
        (None, None) => Algorithm::DEFAULT,
    };
    let blob = receive(store, input.body, announced, algorithm).await?;
    let part = store
        .run(move |store| {
            store.put_part(
                &input.bucket,
                &input.key,
                &input.upload_id,
                input.part_number,
                blob,
            )
        })
        .await?;
    let mut output = UploadPartOutput {
        e_tag: Some(strong_etag(&part.etag)),
        ..Default::default()
    };
    set_checksums!(output, &part.checksum);
    Ok(output)
}

pub(crate) async fn upload_part_copy(
    store: &Store,
    request: S3Request<UploadPartCopyInput>,
) -> S3Result<UploadPartCopyOutput> {
    let input = request.input;
    let (bucket, key, id) = (
        input.bucket.clone(),
        input.key.clone(),
        input.upload_id.clone(),
    );
    let upload = store
        .run(move |store| store.upload(&bucket, &key, &id))
        .await?;
    let conditions = ReadConditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let source = open_source(store, input.copy_source, conditions).await?;
    let copy_source_version_id = source.id_in_response();
    let bytes = parse_copy_range(input.copy_source_range.as_deref(), source.blob.size)?;
    let algorithm = upload
        .checksum
        .map_or(Algorithm::DEFAULT, |checksum| checksum.algorithm);
    let part = store
        .run(move |store| {
            let blob = copy_bytes(store, source.blob, bytes, algorithm)?;
            store.put_part(
                &input.bucket,
                &input.key,
                &input.upload_id,
                input.part_number,
                blob,
            )
        })
        .await?;
    let mut result = CopyPartResult {
        e_tag: Some(strong_etag(&part.etag)),
        last_modified: Some(timestamp(part.modified)),
        ..Default::default()
    };
    set_checksums!(result, &part.checksum);
    Ok(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id,
        ..Default::default()
    })
}

pub(crate) async fn complete_multipart_upload(
    store: &Store,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let mut input = request.input;
    let parts = listed_parts(input.multipart_upload.take())?;
    let size = match input.mpu_object_size {
        Some(size) => Some(u64::try_from(size).map_err(|error| {
            s3_error!(error, InvalidArgument, "x-amz-mp-object-size is negative")
        })?),
        None => None,
    };
    let completion = CompletionRequest {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        upload_id: input.upload_id.clone(),
        parts,
        condition: write_condition(input.if_match.take(), input.if_none_match.take())?,
        checksums: take_checksums!(input),
        size,
        caller: caller(&request.extensions)?,
    };
    let created = store
        .run(move |store| store.complete_upload(&completion))
        .await?;
    let mut output = CompleteMultipartUploadOutput {
        checksum_type: Some(created.checksum.kind()),
        e_tag: Some(strong_etag(&created.etag)),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        version_id: created.version_id,
        ..Default::default()
    };
    set_checksums!(output, &created.checksum);
    Ok(output)
}

/// The parts that a completion lists.
fn listed_parts(upload: Option<CompletedMultipartUpload>) -> S3Result<Vec<ListedPart>> {
    // The store refuses an empty list.
    let listed = upload.and_then(|upload| upload.parts).unwrap_or_default();
    listed
        .into_iter()
        .map(|mut part| match (part.part_number, part.e_tag.take()) {
            (Some(number), Some(etag)) => Ok(ListedPart {
                number,
                etag: etag.into_value(),
                checksums: take_checksums!(part),
            }),
            _ => Err(s3_error!(MalformedXML, "a part lacks its number or ETag")),
        })
        .collect()
}

pub(crate) async fn abort_multipart_upload(
    store: &Store,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let input = request.input;
    store
        .run(move |store| store.abort_upload(&input.bucket, &input.key, &input.upload_id))
        .await?;
    Ok(AbortMultipartUploadOutput::default())
}

#[cfg(test)]
mod tests {
    use s3s::dto::{ChecksumType, CompletedMultipartUpload, CompletedPart, ETag};

    use super::{Algorithm, UploadChecksum, listed_parts};

    #[test]
    fn checksum_type_depends_on_the_algorithm() {
        let composite = ChecksumType::from_static(ChecksumType::COMPOSITE);
        let full_object = ChecksumType::from_static(ChecksumType::FULL_OBJECT);
        let other = ChecksumType::from_static("OTHER");
        for (algorithm, kind, expected) in [
            (Algorithm::Crc32, None, Some(true)),
            (Algorithm::Sha256, None, Some(true)),
            (Algorithm::Crc64Nvme, None, Some(false)),
            (Algorithm::Crc32, Some(&full_object), Some(false)),
            (Algorithm::Crc32, Some(&composite), Some(true)),
            (Algorithm::Sha1, Some(&full_object), None),
            (Algorithm::Crc64Nvme, Some(&composite), None),
            (Algorithm::Crc32, Some(&other), None),
        ] {
            let checksum = UploadChecksum::new(algorithm, kind).ok();
            let composite = checksum.map(|checksum| checksum.composite);
            assert_eq!(composite, expected, "{algorithm:?} {kind:?}");
        }
    }

    #[test]
    fn listed_part_has_a_number_and_an_etag() {
        let part = |part_number, etag: Option<&str>| CompletedPart {
            part_number,
            e_tag: etag.map(|etag| ETag::Strong(etag.to_owned())),
            ..Default::default()
        };
        let listed = |parts| listed_parts(Some(CompletedMultipartUpload { parts: Some(parts) }));
        assert_eq!(listed(vec![part(Some(1), Some("e"))]).unwrap()[0].etag, "e");
        listed(vec![part(None, Some("e"))]).err().unwrap();
        listed(vec![part(Some(1), Some("e")), part(Some(2), None)])
            .err()
            .unwrap();
        assert!(listed_parts(None).unwrap().is_empty());
    }
}
