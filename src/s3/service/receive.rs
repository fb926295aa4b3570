//! Receives a request body into a blob, and verifies it against the length and digests that the client sent.

use std::mem;

use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use s3s::dto::{self, ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders, s3_error};

use crate::checksum::Algorithm;
use crate::error::StoreError;
use crate::store::Store;
use crate::store::blob::{BlobWriter, NewBlob};

/// A body is hashed and written in pieces of this many bytes, on a thread that may block.
const WRITE_SIZE: usize = 1024 * 1024;

/// What a client says about the body that it sends.
pub(crate) struct AnnouncedBody {
    /// `Content-Length`, or the decoded length of a body in chunks. In bytes.
    pub(crate) length: Option<i64>,
    /// `Content-MD5`, in base64.
    pub(crate) md5: Option<String>,
    /// `x-amz-sdk-checksum-algorithm`
    pub(crate) algorithm: Option<ChecksumAlgorithm>,
    /// The algorithm of the checksum that `x-amz-trailer` announces.
    pub(crate) trailer_algorithm: Option<Algorithm>,
    /// `x-amz-checksum-…`
    pub(crate) checksums: dto::Checksum,
    /// The headers after the body.
    pub(crate) trailers: Option<TrailingHeaders>,
}

impl AnnouncedBody {
    /// The algorithm of the client's checksum; `None` if it announces no checksum.
    pub(crate) fn algorithm(&self) -> S3Result<Option<Algorithm>> {
        let sent = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.value_in(&self.checksums).is_some());
        match (&self.algorithm, sent.or(self.trailer_algorithm)) {
            (_, Some(algorithm)) => Ok(Some(algorithm)),
            (Some(name), None) => parse_algorithm(name).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// The algorithm of the checksum that the client will send after the body.
pub(crate) fn trailer_algorithm(headers: &HeaderMap) -> S3Result<Option<Algorithm>> {
    let Some(names) = headers.get("x-amz-trailer") else {
        return Ok(None);
    };
    let names = names
        .to_str()
        .map_err(|error| s3_error!(error, InvalidRequest, "x-amz-trailer is not text"))?;
    Ok(Algorithm::ALL.into_iter().find(|algorithm| {
        let mut names = names.split(',').map(str::trim);
        names.any(|name| name.eq_ignore_ascii_case(algorithm.header()))
    }))
}

pub(crate) fn parse_algorithm(name: &ChecksumAlgorithm) -> S3Result<Algorithm> {
    Algorithm::parse(name.as_str())
        .ok_or_else(|| s3_error!(InvalidRequest, "checksum algorithm is not supported"))
}

/// Streams `body` into a blob and verifies it. Holds at most one piece in memory.
pub(crate) async fn receive(
    store: &Store,
    mut body: Option<StreamingBlob>,
    announced: AnnouncedBody,
    algorithm: Algorithm,
) -> S3Result<NewBlob> {
    let blob = match store_body(store, body.as_mut(), algorithm).await {
        Ok(blob) => blob,
        Err(error) => {
            // A client that is still sending would see a broken connection instead of the answer.
            if let Some(mut rest) = body {
                while let Some(Ok(_)) = rest.next().await {}
            }
            return Err(error);
        }
    };
    // Trailers exist only after the body was read.
    let trailers = announced.trailers.as_ref().and_then(TrailingHeaders::take);
    verify(&blob, &announced, trailers.as_ref())?;
    Ok(blob)
}

/// Streams `body` into a blob.
async fn store_body(
    store: &Store,
    body: Option<&mut StreamingBlob>,
    algorithm: Algorithm,
) -> S3Result<NewBlob> {
    let mut writer = store.run(move |store| store.blob_writer(algorithm)).await?;
    let mut piece = Vec::new();
    if let Some(body) = body {
        while let Some(bytes) = body.next().await {
            piece.extend_from_slice(&bytes.map_err(body_error)?);
            if piece.len() >= WRITE_SIZE {
                let full = mem::take(&mut piece);
                (writer, piece) = store.run(move |_| write(writer, full)).await?;
            }
        }
    }
    let blob = store.run(move |_| Ok(write(writer, piece)?.0.finish()));
    Ok(blob.await?)
}

/// Writes `piece`, and returns its memory for the next one.
fn write(mut writer: BlobWriter, mut piece: Vec<u8>) -> Result<(BlobWriter, Vec<u8>), StoreError> {
    writer.write(&piece)?;
    piece.clear();
    Ok((writer, piece))
}

fn verify(blob: &NewBlob, announced: &AnnouncedBody, trailers: Option<&HeaderMap>) -> S3Result<()> {
    if announced
        .length
        .is_some_and(|length| u64::try_from(length) != Ok(blob.size))
    {
        return Err(s3_error!(IncompleteBody));
    }
    if let Some(md5) = &announced.md5 {
        match STANDARD.decode(md5) {
            Ok(digest) if digest == blob.md5 => {}
            Ok(digest) if digest.len() == blob.md5.len() => {
                return Err(StoreError::BadDigest("Content-MD5").into());
            }
            _ => return Err(s3_error!(InvalidDigest, "Content-MD5 is not valid")),
        }
    }
    let algorithm = blob.checksum.algorithm;
    let expected = match algorithm.value_in(&announced.checksums) {
        Some(value) => Some(value.as_bytes()),
        None => trailers
            .and_then(|trailers| trailers.get(algorithm.header()))
            .map(|value| value.as_bytes()),
    };
    match expected {
        Some(expected) if expected != blob.checksum.value.as_bytes() => {
            Err(StoreError::BadDigest(algorithm.header()).into())
        }
        None if announced.trailer_algorithm.is_some() => Err(s3_error!(
            InvalidRequest,
            "the body does not end with the checksum that x-amz-trailer announces"
        )),
        _ => Ok(()),
    }
}

/// Tells a fault of the client from a broken connection. The types of these errors are private to s3s, so only
/// their texts can be compared.
fn body_error(error: StdError) -> S3Error {
    let text = error.to_string();
    if text.contains("Sha256Mismatch") {
        let mut error = S3Error::with_message(
            S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()),
            "x-amz-content-sha256 does not match the bytes received",
        );
        error.set_status_code(StatusCode::BAD_REQUEST);
        error
    } else if text.contains("SignatureMismatch") {
        s3_error!(SignatureDoesNotMatch, "signature of a chunk does not match")
    } else {
        s3_error!(IncompleteBody, "body could not be read: {text}")
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue};
    use s3s::dto;

    use super::{AnnouncedBody, NewBlob, trailer_algorithm, verify};
    use crate::checksum::Algorithm;
    use crate::store::testing::store;

    /// CRC32 of the bytes "a".
    const CRC32: &str = "6Le+Qw==";

    fn announced() -> AnnouncedBody {
        AnnouncedBody {
            length: None,
            md5: None,
            algorithm: None,
            trailer_algorithm: None,
            checksums: dto::Checksum::default(),
            trailers: None,
        }
    }

    fn code(blob: &NewBlob, announced: &AnnouncedBody, trailer: Option<&[u8]>) -> String {
        let trailers = trailer.map(|value| {
            let value = HeaderValue::from_bytes(value).unwrap();
            HeaderMap::from_iter([("x-amz-checksum-crc32".parse().unwrap(), value)])
        });
        match verify(blob, announced, trailers.as_ref()) {
            Ok(()) => "OK".to_owned(),
            Err(error) => error.code().as_str().to_owned(),
        }
    }

    #[test]
    fn body_is_verified_against_length_md5_and_checksum() {
        let (_folder, store) = store();
        let mut writer = store.blob_writer(Algorithm::Crc32).unwrap();
        writer.write(b"a").unwrap();
        let blob = writer.finish();
        for (length, expected) in [(1, "OK"), (2, "IncompleteBody"), (-1, "IncompleteBody")] {
            let announced = AnnouncedBody {
                length: Some(length),
                ..announced()
            };
            assert_eq!(code(&blob, &announced, None), expected);
        }
        for (md5, expected) in [
            ("DMF1ucDxtqgxw5niaXcmYQ==", "OK"),
            ("1B2M2Y8AsgTpgAmY7PhCfg==", "BadDigest"),
            ("AA==", "InvalidDigest"),
            ("?", "InvalidDigest"),
        ] {
            let announced = AnnouncedBody {
                md5: Some(md5.to_owned()),
                ..announced()
            };
            assert_eq!(code(&blob, &announced, None), expected);
        }
        let trailers: [(&[u8], _); 3] = [
            (CRC32.as_bytes(), "OK"),
            (b"AAAAAA==", "BadDigest"),
            (b"\xff", "BadDigest"),
        ];
        for (trailer, expected) in trailers {
            assert_eq!(code(&blob, &announced(), Some(trailer)), expected);
        }
        let announcing = AnnouncedBody {
            trailer_algorithm: Some(Algorithm::Crc32),
            ..announced()
        };
        let trailer = Some(CRC32.as_bytes());
        assert_eq!(code(&blob, &announcing, trailer), "OK");
        assert_eq!(code(&blob, &announcing, None), "InvalidRequest");
        let mut header = announced();
        header.checksums.checksum_crc32 = Some("AAAAAA==".to_owned());
        assert_eq!(code(&blob, &header, None), "BadDigest");
    }

    #[test]
    fn sent_checksum_decides_the_algorithm() {
        let mut body = announced();
        assert_eq!(body.algorithm().unwrap(), None);
        body.algorithm = Some(dto::ChecksumAlgorithm::from_static("SHA1"));
        assert_eq!(body.algorithm().unwrap(), Some(Algorithm::Sha1));
        body.trailer_algorithm = Some(Algorithm::Crc32c);
        assert_eq!(body.algorithm().unwrap(), Some(Algorithm::Crc32c));
        body.checksums.checksum_crc32 = Some(CRC32.to_owned());
        assert_eq!(body.algorithm().unwrap(), Some(Algorithm::Crc32));
        body = announced();
        body.algorithm = Some(dto::ChecksumAlgorithm::from_static("MD5"));
        body.algorithm().unwrap_err();
    }

    #[test]
    fn trailer_header_names_an_algorithm() {
        for (names, algorithm) in [
            ("x-amz-checksum-sha256", Some(Algorithm::Sha256)),
            ("x-other, X-Amz-Checksum-CRC32C", Some(Algorithm::Crc32c)),
            ("x-other", None),
        ] {
            let names = HeaderValue::from_static(names);
            let headers = HeaderMap::from_iter([("x-amz-trailer".parse().unwrap(), names)]);
            assert_eq!(trailer_algorithm(&headers).unwrap(), algorithm);
        }
        assert_eq!(trailer_algorithm(&HeaderMap::new()).unwrap(), None);
    }
}
