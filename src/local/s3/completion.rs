//! Completion of a multipart upload: the parts listed become one version.

use std::fs::File;

use s3s::crypto::{Checksum as _, Md5};
use s3s::dto;

use super::blob::hex;
use super::checksum::{Algorithm, Checksum};
use super::completed::{recall, remember};
use super::error::StoreError;
use super::multipart::{Part, parts, remove_upload, upload};
use super::notification::{Caller, Cause};
use super::objects::{NewVersion, WriteCondition, Written};
use super::store::Store;

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>
const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;

/// A part as the client lists it on completion.
pub(super) struct Listed {
    pub(super) number: i32,
    pub(super) etag: String,
    pub(super) checksums: dto::Checksum,
}

/// A completion as the client asks for it.
pub(super) struct Completion {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) parts: Vec<Listed>,
    pub(super) condition: WriteCondition,
    pub(super) checksums: dto::Checksum,
    pub(super) size: Option<u64>,
    pub(super) caller: Caller,
}

impl Store {
    /// Joins the listed parts into a version. The same completion again gives the same result and does nothing.
    pub(super) fn complete(&self, completion: &Completion) -> Result<Written, StoreError> {
        match self.join(completion) {
            // Completed before, or meanwhile by a request beside this one. Its version may be what a condition of
            // this one forbids.
            Err(error @ (StoreError::NoSuchUpload(_) | StoreError::PreconditionFailed { .. })) => {
                recall(&self.connection(), completion)?.ok_or(error)
            }
            joined => joined,
        }
    }

    fn join(&self, completion: &Completion) -> Result<Written, StoreError> {
        let Completion {
            bucket,
            key,
            upload: id,
            ..
        } = completion;
        let (upload, parts, files) = {
            let connection = self.connection();
            let upload = upload(&connection, bucket, key, id)?;
            let parts = choose(parts(&connection, id)?, &completion.parts)?;
            // Opened under the lock, so that none of them goes away meanwhile.
            let mut files = Vec::with_capacity(parts.len());
            for part in &parts {
                let path = self.blob_path(&part.blob);
                files.push(File::open(&path).map_err(StoreError::file(path))?);
            }
            (upload, parts, files)
        };
        let whole = upload.promise.filter(|promise| !promise.composite);
        let algorithm = whole.map_or(Algorithm::DEFAULT, |promise| promise.algorithm);
        let mut writer = self.blob_writer(algorithm)?;
        for file in files {
            writer.write_from(file)?;
        }
        let draft = writer.finish();
        let checksum = match upload.promise {
            Some(promise) if promise.composite => {
                let checksums: Vec<_> = parts.iter().map(|part| &part.checksum).collect();
                Checksum::composite(promise.algorithm, &checksums).unwrap_or(draft.checksum.clone())
            }
            _ => draft.checksum.clone(),
        };
        if completion.size.is_some_and(|size| size != draft.size) {
            return Err(StoreError::InvalidRequest(
                "x-amz-mp-object-size is not the sum of the parts",
            ));
        }
        if let Some(stated) = checksum.algorithm.stated(&completion.checksums)
            // Clients may leave the number of parts off.
            && stated != checksum.value
            && !checksum.value.starts_with(&format!("{stated}-"))
        {
            return Err(StoreError::BadDigest("checksum of the whole object"));
        }
        let new = NewVersion {
            bucket: bucket.clone(),
            key: key.clone(),
            headers: upload.headers,
            etag: etag(&parts),
            draft,
            checksum,
            condition: completion.condition.clone(),
            cause: Cause::CompleteMultipartUpload,
            caller: completion.caller.clone(),
        };
        self.create(new, |transaction, written| {
            // Another completion or an abort may have been quicker.
            super::multipart::upload(transaction, bucket, key, id)?;
            remember(transaction, completion, written)?;
            remove_upload(transaction, id)
        })
    }
}

/// The uploaded parts that the client listed.
fn choose(uploaded: Vec<Part>, listed: &[Listed]) -> Result<Vec<Part>, StoreError> {
    if listed.is_empty() {
        return Err(StoreError::InvalidRequest("no part is listed"));
    }
    if !listed.is_sorted_by(|one, next| one.number < next.number) {
        return Err(StoreError::InvalidPartOrder);
    }
    let mut uploaded = uploaded.into_iter();
    let mut chosen = Vec::with_capacity(listed.len());
    for wanted in listed {
        // Both ascend: what is skipped here was not listed.
        let part = uploaded
            .find(|part| part.number >= wanted.number)
            .filter(|part| part.number == wanted.number && part.etag == wanted.etag)
            .ok_or(StoreError::InvalidPart(wanted.number))?;
        let stated = part.checksum.algorithm.stated(&wanted.checksums);
        if stated.is_some_and(|stated| stated != part.checksum.value) {
            return Err(StoreError::InvalidPart(wanted.number));
        }
        chosen.push(part);
    }
    let all_but_last = &chosen[..chosen.len() - 1];
    match all_but_last.iter().find(|part| part.size < MIN_PART_SIZE) {
        Some(part) => Err(StoreError::PartTooSmall {
            number: part.number,
            size: part.size,
        }),
        None => Ok(chosen),
    }
}

/// The MD5 of the parts' MD5s, and their number.
fn etag(parts: &[Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        let digest: Vec<u8> = part
            .etag
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                pair.iter().fold(0, |byte, &digit| {
                    byte << 4 | (digit as char).to_digit(16).unwrap_or(0) as u8
                })
            })
            .collect();
        md5.update(&digest);
    }
    format!("{}-{}", hex(&md5.finalize()), parts.len())
}
