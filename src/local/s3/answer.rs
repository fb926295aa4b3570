//! What an answer of s3s lacks before it is sent, and the log of those that tell of a failure.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderValue, Method, StatusCode};
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
pub(super) struct Asked {
    method: Method,
    path: String,
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
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
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
    // Nothing reads the body that a client still holds back. botocore before 1.44 takes an answer that comes
    // instead of 100 Continue for the connection's next answer too, and sends the next photo twice.
    let closes = asked.waits && (asked.is_empty || !response.status().is_success());
    let mut response = rewritten(asked, response).await?;
    if closes {
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
        status if status.is_server_error() => {
            let log = |xml: &str| {
                let error = error_text(xml);
                let Asked { method, path, .. } = &asked;
                tracing::error!(%method, path, %status, error, "the embedded S3 failed");
                xml.to_owned()
            };
            rewrite(response, log).await
        }
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

/// Code and message of an error.
fn error_text(xml: &str) -> String {
    let element = |start, end| Some(xml.split_once(start)?.1.split_once(end)?.0);
    let code = element("<Code>", "</Code>").unwrap_or(xml);
    let text = match element("<Message>", "</Message>") {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    };
    // The ampersand comes last, so that none that it makes is taken for the start of another.
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    entities.iter().fold(text, |text, (entity, character)| {
        text.replace(entity, character)
    })
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

#[cfg(test)]
mod tests {
    use super::error_text;

    #[test]
    fn errors_are_logged_as_text() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code>\
            <Message>file &quot;a&amp;lt;&quot;: full</Message></Error>";
        assert_eq!(error_text(xml), "InternalError: file \"a&lt;\": full");
        let xml = "<Error><Code>NotImplemented</Code></Error>";
        assert_eq!(error_text(xml), "NotImplemented");
        assert_eq!(error_text("out of order"), "out of order");
    }
}
