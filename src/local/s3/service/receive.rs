//! Uploads: a request body into a blob, checked against what the client announced.

use std::mem;

use axum::http::{HeaderMap, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt;
use s3s::dto::{Checksum as Stated, ChecksumAlgorithm, StreamingBlob};
use s3s::{S3Error, S3ErrorCode, S3Result, StdError, TrailingHeaders, s3_error};

use crate::local::s3::blob::Draft;
use crate::local::s3::checksum::Algorithm;
use crate::local::s3::error::StoreError;
use crate::local::s3::store::Store;

/// Bytes gathered before they are hashed and written in one go, off the async threads.
const WRITE_PIECE: usize = 1024 * 1024;

/// What a client says about a body it sends.
pub(super) struct Announced {
    pub(super) length: Option<i64>,
    pub(super) md5: Option<String>,
    pub(super) algorithm: Option<ChecksumAlgorithm>,
    pub(super) checksums: Stated,
    pub(super) trailers: Option<TrailingHeaders>,
}

impl Announced {
    /// The algorithm of the checksum that the client sends, if it sends one.
    pub(super) fn algorithm(&self) -> S3Result<Option<Algorithm>> {
        let stated = Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.stated(&self.checksums).is_some());
        match &self.algorithm {
            Some(name) if stated.is_none() => algorithm(name).map(Some),
            _ => Ok(stated),
        }
    }
}

pub(super) fn algorithm(name: &ChecksumAlgorithm) -> S3Result<Algorithm> {
    Algorithm::parse(name.as_str())
        .ok_or_else(|| s3_error!(InvalidRequest, "checksum algorithm is not supported"))
}

/// Streams the body into a blob. Memory: one piece.
pub(super) async fn receive(
    store: &Store,
    body: Option<StreamingBlob>,
    announced: Announced,
    algorithm: Algorithm,
) -> S3Result<Draft> {
    let mut writer = store.run(move |store| store.blob_writer(algorithm)).await?;
    let mut piece = Vec::new();
    if let Some(mut body) = body {
        while let Some(bytes) = body.next().await {
            piece.extend_from_slice(&bytes.map_err(broken_body)?);
            if piece.len() >= WRITE_PIECE {
                let full = mem::take(&mut piece);
                (writer, piece) = store.run(move |_| write(writer, full)).await?;
            }
        }
    }
    let draft = store
        .run(move |_| Ok(write(writer, piece)?.0.finish()))
        .await?;
    check(&draft, announced)?;
    Ok(draft)
}

type Writer = crate::local::s3::blob::BlobWriter;

fn write(mut writer: Writer, mut piece: Vec<u8>) -> Result<(Writer, Vec<u8>), StoreError> {
    writer.write(&piece)?;
    piece.clear();
    Ok((writer, piece))
}

fn check(draft: &Draft, announced: Announced) -> S3Result<()> {
    if announced
        .length
        .is_some_and(|length| u64::try_from(length) != Ok(draft.size))
    {
        return Err(s3_error!(IncompleteBody));
    }
    if let Some(md5) = announced.md5 {
        match STANDARD.decode(md5) {
            Ok(digest) if digest == draft.md5 => {}
            Ok(digest) if digest.len() == draft.md5.len() => {
                return Err(StoreError::BadDigest("Content-MD5").into());
            }
            _ => return Err(s3_error!(InvalidDigest, "Content-MD5 is not valid")),
        }
    }
    let algorithm = draft.checksum.algorithm;
    let trailers = announced.trailers.as_ref().and_then(TrailingHeaders::take);
    let trailer = trailers
        .as_ref()
        .and_then(|trailers| trailer(trailers, algorithm));
    match algorithm.stated(&announced.checksums).or(trailer) {
        Some(stated) if stated != draft.checksum.value => {
            Err(StoreError::BadDigest(algorithm.header()).into())
        }
        _ => Ok(()),
    }
}

fn trailer(trailers: &HeaderMap, algorithm: Algorithm) -> Option<&str> {
    trailers.get(algorithm.header())?.to_str().ok()
}

/// The types of these errors are private to s3s: their texts tell the client's fault from a broken connection.
fn broken_body(error: StdError) -> S3Error {
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
