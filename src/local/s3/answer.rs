//! What an answer of s3s lacks before it is sent.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;

/// Errors are short; what is longer is none.
const MAX_ERROR: usize = 1024 * 1024;

/// How s3s says that a signature is wrong, and in what words S3 does, with what to do here.
const WRONG_SIGNATURE: [&str; 2] = [
    "<Code>SignatureDoesNotMatch</Code></Error>",
    "<Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature \
     you provided. Check your key and signing method. AWS_SECRET_ACCESS_KEY must be the secret access key that this \
     server was started with, and nothing on the way may change the request.</Message></Error>",
];

/// Completes an answer of s3s.
pub(super) async fn complete(response: Response) -> Result<Response, axum::Error> {
    match response.status() {
        // s3s gives every error an XML body; this one must not announce any.
        StatusCode::NOT_MODIFIED => Ok(without_body(response)),
        StatusCode::FORBIDDEN => explain_signature(response).await,
        _ => Ok(response),
    }
}

fn without_body(mut response: Response) -> Response {
    *response.body_mut() = Body::empty();
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

async fn explain_signature(response: Response) -> Result<Response, axum::Error> {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_ERROR).await?;
    let explained = match std::str::from_utf8(&body) {
        Ok(text) => Bytes::from(text.replace(WRONG_SIGNATURE[0], WRONG_SIGNATURE[1])),
        Err(_) => body,
    };
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(explained)))
}
