//! Corrects the responses of s3s, and logs those that report a failure of the server.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;

/// Limit on the XML of a response that is rewritten, in bytes. The real ones have a few hundred.
const MAX_XML: usize = 1024 * 1024;

/// How s3s reports a wrong signature: without a message.
const WRONG_SIGNATURE: &str = "<Code>SignatureDoesNotMatch</Code></Error>";

/// S3's message for a wrong signature, with a hint.
const WRONG_SIGNATURE_EXPLAINED: &str = "<Code>SignatureDoesNotMatch</Code><Message>The request signature we \
    calculated does not match the signature you provided. Check your key and signing method. \
    AWS_SECRET_ACCESS_KEY must be the secret access key that this server was started with, and nothing on the way \
    may change the request.</Message></Error>";

/// The properties of a request on which its response depends.
pub(crate) struct RequestInfo {
    method: Method,
    path: String,
    /// Whether this is GetObjectAttributes, the only operation for which S3 writes the ETag without quotes.
    is_get_attributes: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    expects_continue: bool,
    /// Whether the body is empty.
    is_empty: bool,
}

impl RequestInfo {
    pub(crate) fn new(request: &Request) -> Self {
        let headers = request.headers();
        let has_attributes = request.uri().query().is_some_and(|query| {
            query
                .split('&')
                .any(|parameter| parameter == "attributes" || parameter.starts_with("attributes="))
        });
        Self {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            is_get_attributes: has_attributes && headers.contains_key("x-amz-object-attributes"),
            expects_continue: headers.contains_key(EXPECT),
            is_empty: headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length == "0"),
        }
    }
}

/// Corrects a response of s3s.
///
/// # Errors
///
/// If the XML of the response cannot be read.
pub(crate) async fn complete(
    request: &RequestInfo,
    response: Response,
) -> Result<Response, axum::Error> {
    // The client may not have sent the body. botocore before 1.44 mistakes a final response that arrives instead of
    // 100 Continue for the response to the next request on the connection, too, and sends that request twice.
    let closes = request.expects_continue && (request.is_empty || !response.status().is_success());
    let mut response = correct(request, response).await?;
    if closes {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

async fn correct(request: &RequestInfo, response: Response) -> Result<Response, axum::Error> {
    match response.status() {
        // s3s gives every error a body of XML, but a 304 must not have a body.
        StatusCode::NOT_MODIFIED => Ok(without_body(response)),
        StatusCode::FORBIDDEN => {
            let explain = |xml: &str| xml.replace(WRONG_SIGNATURE, WRONG_SIGNATURE_EXPLAINED);
            rewrite_xml(response, explain).await
        }
        StatusCode::OK if request.is_get_attributes => rewrite_xml(response, unquote_etag).await,
        status if status.is_server_error() => {
            let log = |xml: &str| {
                let error = error_text(xml);
                let RequestInfo { method, path, .. } = request;
                tracing::error!(%method, path, %status, error, "the embedded S3 failed");
                xml.to_owned()
            };
            rewrite_xml(response, log).await
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

/// The code and the message in the XML of an error, or the XML itself if it has no code.
fn error_text(xml: &str) -> String {
    let element = |start, end| Some(xml.split_once(start)?.1.split_once(end)?.0);
    let code = element("<Code>", "</Code>").unwrap_or(xml);
    let text = match element("<Message>", "</Message>") {
        Some(message) => format!("{code}: {message}"),
        None => code.to_owned(),
    };
    // The ampersand comes last: an unescaped one must not begin another entity.
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

/// Replaces the XML of a response.
async fn rewrite_xml(
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
    use axum::body::{Body, to_bytes};
    use axum::http::header::{CONNECTION, EXPECT};
    use axum::http::{Request, StatusCode};
    use axum::response::Response;

    use super::{RequestInfo, complete, error_text};
    use crate::test_log::Log;

    fn info(uri: &str, header: (&str, &str)) -> RequestInfo {
        let request = Request::builder().uri(uri).header(header.0, header.1);
        RequestInfo::new(&request.body(Body::empty()).unwrap())
    }

    async fn completed(info: &RequestInfo, status: u16, xml: &'static str) -> (Response, String) {
        let mut response = Response::new(Body::from(xml));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let response = complete(info, response).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let response = Response::from_parts(parts, Body::empty());
        (response, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn logged_error_is_unescaped_text() {
        let xml = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code>\
            <Message>file &quot;a&amp;lt;&quot;: full</Message></Error>";
        assert_eq!(error_text(xml), "InternalError: file \"a&lt;\": full");
        let xml = "<Error><Code>NotImplemented</Code></Error>";
        assert_eq!(error_text(xml), "NotImplemented");
        assert_eq!(error_text("out of order"), "out of order");
    }

    #[tokio::test]
    async fn only_get_object_attributes_has_an_etag_without_quotes() {
        let xml = "<ETag>\"e\"</ETag>";
        let attributes = ("x-amz-object-attributes", "ETag");
        for (uri, expected) in [
            ("/moths/a?attributes", "<ETag>e</ETag>"),
            ("/moths/a?versionId=null&attributes=", "<ETag>e</ETag>"),
            ("/moths/a?attributes2", xml),
            ("/moths/a", xml),
        ] {
            let (_, body) = completed(&info(uri, attributes), 200, xml).await;
            assert_eq!(body, expected, "{uri}");
        }
    }

    #[tokio::test]
    async fn connection_closes_if_the_client_still_holds_its_body_back() {
        let waiting = info("/", (EXPECT.as_str(), "100-continue"));
        let (refused, _) = completed(&waiting, 404, "").await;
        assert_eq!(refused.headers()[CONNECTION], "close");
        let (accepted, _) = completed(&waiting, 200, "").await;
        assert!(!accepted.headers().contains_key(CONNECTION));
        let (refused, _) = completed(&info("/", ("host", "localhost")), 404, "").await;
        assert!(!refused.headers().contains_key(CONNECTION));
    }

    #[tokio::test]
    async fn not_modified_has_no_body_and_a_wrong_signature_has_a_message() {
        let get = info("/", ("host", "localhost"));
        assert_eq!(completed(&get, 304, "<Error/>").await.1, "");
        let xml = "<Error><Code>SignatureDoesNotMatch</Code></Error>";
        let (_, body) = completed(&get, 403, xml).await;
        assert!(body.contains("AWS_SECRET_ACCESS_KEY"), "{body}");
    }

    #[tokio::test]
    async fn only_a_failure_of_the_server_is_logged_and_once() {
        let (log, _guard) = Log::start();
        let get = info("/moths/a", ("host", "localhost"));
        let xml = "<Error><Code>InternalError</Code><Message>no blob</Message></Error>";
        completed(&get, 404, xml).await;
        assert!(log.lines().is_empty());
        let (_, body) = completed(&get, 500, xml).await;
        assert_eq!(body, xml);
        let lines = log.lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        for text in ["ERROR", "/moths/a", "InternalError: no blob"] {
            assert!(lines[0].contains(text), "{}", lines[0]);
        }
    }
}
