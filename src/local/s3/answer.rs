//! What an answer of s3s lacks before it is sent.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

/// The answers rewritten here are shorter by far.
const MAX_XML: usize = 1024 * 1024;

/// How s3s says that a signature is wrong, and in what words S3 does, with what to do here.
const WRONG_SIGNATURE: [&str; 2] = [
    "<Code>SignatureDoesNotMatch</Code></Error>",
    "<Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does not match the signature \
     you provided. Check your key and signing method. AWS_SECRET_ACCESS_KEY must be the secret access key that this \
     server was started with, and nothing on the way may change the request.</Message></Error>",
];

/// What of a request its answer depends on.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// GetObjectAttributes, the one answer in which S3 writes an ETag without quotes.
    attributes: bool,
    /// Whether the client waits for `100 Continue` before it sends its body.
    waits: bool,
    /// Whether that body is empty.
    is_empty: bool,
}

impl Asked {
    pub(super) fn of(request: &Request) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let mut names = query
            .split('&')
            .map(|parameter| parameter.split('=').next());
        Self {
            attributes: request.headers().contains_key("x-amz-object-attributes")
                && names.any(|name| name == Some("attributes")),
            waits: request.headers().contains_key(EXPECT),
            is_empty: request
                .headers()
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length == "0"),
        }
    }
}

/// Completes an answer of s3s.
pub(super) async fn complete(asked: Asked, response: Response) -> Result<Response, axum::Error> {
    let is_final = asked.is_empty || !response.status().is_success();
    let mut response = rewritten(asked, response).await?;
    // Nothing reads the body that a client still holds back. botocore before 1.44 takes an answer that comes
    // instead of 100 Continue for the connection's next answer too, and sends the next photo twice.
    if asked.waits && is_final {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

async fn rewritten(asked: Asked, response: Response) -> Result<Response, axum::Error> {
    match response.status() {
        // s3s gives every error an XML body; this one must not announce any.
        StatusCode::NOT_MODIFIED => Ok(without_body(response)),
        StatusCode::FORBIDDEN => {
            let explain = |text: &str| text.replace(WRONG_SIGNATURE[0], WRONG_SIGNATURE[1]);
            rewrite(response, explain).await
        }
        StatusCode::OK if asked.attributes => rewrite(response, unquote_etag).await,
        _ => Ok(response),
    }
}

fn without_body(mut response: Response) -> Response {
    *response.body_mut() = Body::empty();
    response.headers_mut().remove(CONTENT_LENGTH);
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn unquote_etag(xml: &str) -> String {
    xml.replace("<ETag>\"", "<ETag>")
        .replace("\"</ETag>", "</ETag>")
}

/// Rewrites the XML of an answer, which is short.
async fn rewrite(
    response: Response,
    rewrite: impl FnOnce(&str) -> String,
) -> Result<Response, axum::Error> {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, MAX_XML).await?;
    let text = std::str::from_utf8(&body).map_err(axum::Error::new)?;
    parts.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::from(rewrite(text))))
}
