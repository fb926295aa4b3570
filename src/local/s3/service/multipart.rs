//! Operations on multipart uploads.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::caller;
use super::copy::{copy_range, copy_section, copy_source};
use super::put::{stored_headers, write_condition};
use super::read::Conditions;
use super::receive::{Announced, algorithm, receive};
use crate::local::s3::checksum::{Algorithm, show_checksum, stated_checksums};
use crate::local::s3::completion::{Completion, Listed};
use crate::local::s3::error::StoreError;
use crate::local::s3::multipart::Promise;
use crate::local::s3::store::Store;
use crate::local::s3::version::{strong, timestamp};

impl Promise {
    /// Where the client names no type, S3 makes it composite but for CRC64NVME, which cannot be.
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

    pub(super) fn kind(self) -> ChecksumType {
        ChecksumType::from_static(if self.composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        })
    }

    pub(super) fn name(self) -> ChecksumAlgorithm {
        ChecksumAlgorithm::from_static(self.algorithm.name())
    }
}

pub(super) async fn create_multipart_upload(
    store: &Store,
    request: S3Request<CreateMultipartUploadInput>,
) -> S3Result<CreateMultipartUploadOutput> {
    let mut input = request.input;
    let headers = stored_headers!(input);
    let promise = match &input.checksum_algorithm {
        Some(name) => Some(Promise::new(
            algorithm(name)?,
            input.checksum_type.as_ref(),
        )?),
        None => None,
    };
    let (bucket, key) = (input.bucket.clone(), input.key.clone());
    let upload_id = store
        .run(move |store| store.create_upload(&bucket, &key, &headers, promise))
        .await?;
    Ok(CreateMultipartUploadOutput {
        bucket: Some(input.bucket),
        checksum_algorithm: promise.map(Promise::name),
        checksum_type: promise.map(Promise::kind),
        key: Some(input.key),
        upload_id: Some(upload_id),
        ..Default::default()
    })
}

pub(super) async fn upload_part(
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
    let announced = Announced {
        length: input.content_length,
        md5: input.content_md5.take(),
        algorithm: input.checksum_algorithm.take(),
        checksums: stated_checksums!(input),
        trailers: request.trailing_headers,
    };
    let algorithm = match (upload.promise, announced.algorithm()?) {
        (Some(promise), Some(stated)) if promise.algorithm != stated => {
            return Err(StoreError::InvalidRequest(
                "checksum algorithm of the part is not the upload's",
            )
            .into());
        }
        (Some(promise), _) => promise.algorithm,
        (None, stated) => stated.unwrap_or(Algorithm::DEFAULT),
    };
    let draft = receive(store, input.body, announced, algorithm).await?;
    let part = store
        .run(move |store| {
            store.put_part(
                &input.bucket,
                &input.key,
                &input.upload_id,
                input.part_number,
                draft,
            )
        })
        .await?;
    let mut output = UploadPartOutput {
        e_tag: Some(strong(&part.etag)),
        ..Default::default()
    };
    show_checksum!(output, &part.checksum);
    Ok(output)
}

pub(super) async fn upload_part_copy(
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
    let conditions = Conditions {
        if_match: input.copy_source_if_match,
        if_none_match: input.copy_source_if_none_match,
        if_modified_since: input.copy_source_if_modified_since,
        if_unmodified_since: input.copy_source_if_unmodified_since,
    };
    let found = copy_source(store, input.copy_source, conditions).await?;
    let source_version = found.versioning.shown(&found.version.id);
    let range = copy_range(input.copy_source_range.as_deref(), found.content.size)?;
    let algorithm = upload
        .promise
        .map_or(Algorithm::DEFAULT, |promise| promise.algorithm);
    let part = store
        .run(move |store| {
            let draft = copy_section(store, found, range, algorithm)?;
            store.put_part(
                &input.bucket,
                &input.key,
                &input.upload_id,
                input.part_number,
                draft,
            )
        })
        .await?;
    let mut result = CopyPartResult {
        e_tag: Some(strong(&part.etag)),
        last_modified: Some(timestamp(part.modified)),
        ..Default::default()
    };
    show_checksum!(result, &part.checksum);
    Ok(UploadPartCopyOutput {
        copy_part_result: Some(result),
        copy_source_version_id: source_version,
        ..Default::default()
    })
}

pub(super) async fn complete_multipart_upload(
    store: &Store,
    request: S3Request<CompleteMultipartUploadInput>,
) -> S3Result<CompleteMultipartUploadOutput> {
    let mut input = request.input;
    let listed = input
        .multipart_upload
        .take()
        .and_then(|upload| upload.parts);
    let mut parts = Vec::new();
    for mut part in listed.unwrap_or_default() {
        let (Some(number), Some(etag)) = (part.part_number, part.e_tag.take()) else {
            return Err(s3_error!(MalformedXML, "a part lacks its number or ETag"));
        };
        parts.push(Listed {
            number,
            etag: etag.into_value(),
            checksums: stated_checksums!(part),
        });
    }
    let completion = Completion {
        bucket: input.bucket.clone(),
        key: input.key.clone(),
        upload: input.upload_id.clone(),
        parts,
        condition: write_condition(input.if_match.take(), input.if_none_match.take())?,
        checksums: stated_checksums!(input),
        size: input
            .mpu_object_size
            .and_then(|size| u64::try_from(size).ok()),
        caller: caller(&request.extensions),
    };
    let written = store.run(move |store| store.complete(&completion)).await?;
    let mut output = CompleteMultipartUploadOutput {
        checksum_type: Some(written.checksum.kind()),
        e_tag: Some(strong(&written.etag)),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        bucket: Some(input.bucket),
        key: Some(input.key),
        version_id: written.version_id,
        ..Default::default()
    };
    show_checksum!(output, &written.checksum);
    Ok(output)
}

pub(super) async fn abort_multipart_upload(
    store: &Store,
    request: S3Request<AbortMultipartUploadInput>,
) -> S3Result<AbortMultipartUploadOutput> {
    let input = request.input;
    store
        .run(move |store| store.abort(&input.bucket, &input.key, &input.upload_id))
        .await?;
    Ok(AbortMultipartUploadOutput::default())
}
