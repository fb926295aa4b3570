//! Completion of a multipart upload: the listed parts become one version.

use s3s::crypto::{Checksum as _, Md5};

use super::Store;
use super::blob::BlobReader;
use super::completed_uploads::{recall, remember};
use super::notification::EventName;
use super::objects::{CreatedVersion, NewVersion};
use super::uploads::{self, CompletionRequest, ListedPart, Part, Upload, UploadChecksum};
use crate::checksum::{Algorithm, Checksum};
use crate::error::StoreError;

/// The least size of a part other than the last, in bytes:
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html>.
const MIN_PART_SIZE: u64 = 5 * 1024 * 1024;

impl Store {
    /// Joins the listed parts into a version. A repeated request gets the result of the first, and does nothing.
    pub(crate) fn complete_upload(
        &self,
        request: &CompletionRequest,
    ) -> Result<CreatedVersion, StoreError> {
        match self.join_parts(request) {
            // An earlier or a concurrent request may have completed the upload. The version that it created may be
            // what makes the condition of this request fail.
            Err(error @ (StoreError::NoSuchUpload(_) | StoreError::PreconditionFailed { .. })) => {
                recall(&self.connection(), request)?.ok_or(error)
            }
            joined => joined,
        }
    }

    fn join_parts(&self, request: &CompletionRequest) -> Result<CreatedVersion, StoreError> {
        let (upload, parts, blobs) = self.open_parts(request)?;
        let algorithm = match upload.checksum {
            Some(announced) if !announced.composite => announced.algorithm,
            _ => Algorithm::DEFAULT,
        };
        let mut writer = self.blob_writer(algorithm)?;
        for blob in blobs {
            let size = blob.size;
            writer.copy(blob, 0..size)?;
        }
        let blob = writer.finish();
        let checksum = match upload.checksum {
            Some(UploadChecksum {
                algorithm,
                composite: true,
            }) => {
                let checksums: Vec<_> = parts.iter().map(|part| &part.checksum).collect();
                Checksum::composite(algorithm, &checksums)?
            }
            _ => blob.checksum.clone(),
        };
        if request.size.is_some_and(|size| size != blob.size) {
            return Err(StoreError::InvalidRequest(
                "x-amz-mp-object-size is not the sum of the parts",
            ));
        }
        let expected = checksum.algorithm.value_in(&request.checksums);
        if expected.is_some_and(|expected| !checksum.equals(expected)) {
            return Err(StoreError::BadDigest("checksum of the whole object"));
        }
        let new = NewVersion {
            bucket: request.bucket.clone(),
            key: request.key.clone(),
            headers: upload.headers,
            etag: multipart_etag(&parts)?,
            blob,
            checksum,
            condition: request.condition.clone(),
            event_name: EventName::CompleteMultipartUpload,
            caller: request.caller.clone(),
        };
        self.create(new, |transaction, created| {
            // A concurrent completion or abort may have removed the upload while the parts were copied.
            uploads::upload(
                transaction,
                &request.bucket,
                &request.key,
                &request.upload_id,
            )?;
            remember(transaction, request, created)?;
            uploads::remove_upload(transaction, &request.upload_id)
        })
    }

    /// The upload, the listed parts, and their blobs.
    fn open_parts(
        &self,
        request: &CompletionRequest,
    ) -> Result<(Upload, Vec<Part>, Vec<BlobReader>), StoreError> {
        let connection = self.connection();
        let id = &request.upload_id;
        let upload = uploads::upload(&connection, &request.bucket, &request.key, id)?;
        let parts = match_parts(uploads::parts(&connection, id)?, &request.parts)?;
        let blobs = parts
            .iter()
            .map(|part| self.open_blob(&part.blob, part.size))
            .collect::<Result<_, _>>()?;
        Ok((upload, parts, blobs))
    }
}

/// The uploaded parts that the client listed. `uploaded` ascends by number.
fn match_parts(uploaded: Vec<Part>, listed: &[ListedPart]) -> Result<Vec<Part>, StoreError> {
    if listed.is_empty() {
        return Err(StoreError::InvalidRequest("no part is listed"));
    }
    if !listed.is_sorted_by(|one, next| one.number < next.number) {
        return Err(StoreError::InvalidPartOrder);
    }
    let mut uploaded = uploaded.into_iter();
    let mut matched = Vec::with_capacity(listed.len());
    for wanted in listed {
        // Both lists ascend: the parts that this skips are not listed.
        let part = uploaded
            .find(|part| part.number >= wanted.number)
            .filter(|part| part.number == wanted.number && part.etag == wanted.etag)
            .ok_or(StoreError::InvalidPart(wanted.number))?;
        let expected = part.checksum.algorithm.value_in(&wanted.checksums);
        if expected.is_some_and(|expected| expected != part.checksum.value) {
            return Err(StoreError::InvalidPart(wanted.number));
        }
        matched.push(part);
    }
    let all_but_last = &matched[..matched.len() - 1];
    match all_but_last.iter().find(|part| part.size < MIN_PART_SIZE) {
        Some(part) => Err(StoreError::PartTooSmall {
            number: part.number,
            size: part.size,
        }),
        None => Ok(matched),
    }
}

/// The ETag of a multipart object: the MD5 of the parts' binary MD5s, a hyphen, and the number of parts.
fn multipart_etag(parts: &[Part]) -> Result<String, StoreError> {
    let mut md5 = Md5::new();
    for part in parts {
        let mut digest = [0; 16];
        hex::decode_to_slice(&part.etag, &mut digest).map_err(StoreError::unparsable(format!(
            "ETag {:?} of part {} is not an MD5",
            part.etag, part.number
        )))?;
        md5.update(&digest);
    }
    Ok(format!("{}-{}", hex::encode(md5.finalize()), parts.len()))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use s3s::dto;

    use super::super::testing::{BUCKET, caller, damage, store};
    use super::{
        CompletionRequest, ListedPart, MIN_PART_SIZE, Part, StoreError, UploadChecksum,
        match_parts, multipart_etag,
    };
    use crate::checksum::Algorithm;
    use crate::store::objects::WriteCondition;
    use crate::store::version::Headers;

    /// MD5 of no bytes.
    const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn part(number: i32, size: u64, etag: &str) -> Part {
        Part {
            number,
            modified: DateTime::UNIX_EPOCH,
            blob: String::new(),
            size,
            etag: etag.to_owned(),
            checksum: Algorithm::Crc32.hasher().finish(),
        }
    }

    fn listed(number: i32, etag: &str) -> ListedPart {
        ListedPart {
            number,
            etag: etag.to_owned(),
            checksums: dto::Checksum::default(),
        }
    }

    #[test]
    fn multipart_etag_is_the_md5_of_the_binary_md5s() {
        let one = multipart_etag(&[part(1, 0, EMPTY)]).unwrap();
        assert_eq!(one, "59adb24ef3cdbe0297f05b395827453f-1");
        for malformed in ["", "d41d", "no hexadecimal digits in here..."] {
            let etag = multipart_etag(&[part(1, 0, malformed)]);
            assert!(matches!(etag, Err(StoreError::Damaged { .. })));
        }
    }

    #[test]
    fn listed_parts_must_be_uploaded_in_order_and_large_enough() {
        let uploaded = || {
            vec![
                part(1, MIN_PART_SIZE, "a"),
                part(2, 1, "b"),
                part(4, 1, "c"),
            ]
        };
        let matched = |listed: &[ListedPart]| match match_parts(uploaded(), listed) {
            Ok(parts) => Ok(parts.iter().map(|part| part.number).collect::<Vec<_>>()),
            Err(error) => Err(error.to_string()),
        };
        let not_found = |number| Err(StoreError::InvalidPart(number).to_string());
        assert_eq!(matched(&[listed(1, "a"), listed(4, "c")]), Ok(vec![1, 4]));
        assert_eq!(matched(&[listed(2, "b")]), Ok(vec![2]));
        assert_eq!(matched(&[listed(1, "b")]), not_found(1));
        assert_eq!(matched(&[listed(1, "a"), listed(3, "c")]), not_found(3));
        assert_eq!(matched(&[listed(5, "c")]), not_found(5));
        let order = Err(StoreError::InvalidPartOrder.to_string());
        assert_eq!(matched(&[listed(2, "b"), listed(1, "a")]), order);
        assert_eq!(matched(&[listed(1, "a"), listed(1, "a")]), order);
        let small = matched(&[listed(2, "b"), listed(4, "c")]);
        assert!(
            small
                .unwrap_err()
                .contains("part 2 of the upload has 1 bytes")
        );
        assert_eq!(matched(&[]), Err("no part is listed".to_owned()));
        let mut wrong = listed(2, "b");
        wrong.checksums.checksum_crc32 = Some("AAAAAQ==".to_owned());
        assert_eq!(matched(&[wrong]), not_found(2));
    }

    #[test]
    fn part_with_the_checksum_of_another_algorithm_is_an_error() {
        let (_folder, store) = store();
        let checksum = UploadChecksum {
            algorithm: Algorithm::Sha256,
            composite: true,
        };
        let id = store.create_upload(BUCKET, "a", &Headers::default(), Some(checksum));
        let id = id.unwrap();
        let blob = store.blob_writer(Algorithm::Sha256).unwrap().finish();
        store.put_part(BUCKET, "a", &id, 1, blob).unwrap();
        let other = r#"{"algorithm":"Crc32","value":"AAAAAA==","composite":false}"#;
        damage(&store, &format!("UPDATE part SET checksum = '{other}'"));
        let completed = store.complete_upload(&CompletionRequest {
            bucket: BUCKET.to_owned(),
            key: "a".to_owned(),
            upload_id: id,
            parts: vec![listed(1, EMPTY)],
            condition: WriteCondition::Always,
            checksums: dto::Checksum::default(),
            size: None,
            caller: caller(),
        });
        let error = completed.unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
