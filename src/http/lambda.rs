//! The entry point on Lambda: HTTP events of API Gateway (payload 2.0) and of function URLs, which have the same shape.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

mod event;

use std::sync::Arc;

use axum::{Router, body::to_bytes, http::header, response::Response};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use self::event::{EventError, request};
use super::{
    Api,
    media_types::essence,
    observe::RequestSummary,
    problem::{Kind, PROBLEM_JSON, Problem},
    router,
};

/// Bytes of a body: base64 makes 6 MB of it, and Lambda accepts an event of 6,291,556 bytes.
pub(crate) const MAX_BODY: u64 = 4_500_000;
/// Bytes of a response's body. Lambda accepts a response of 6,291,556 bytes.
pub(crate) const MAX_RESPONSE: u64 = 4_500_000;
/// The router as a function.
pub(crate) struct LambdaAdapter(Router);

/// The response to an event, and what its metrics need.
pub(crate) struct LambdaReply {
    /// What Lambda gets.
    pub(crate) response: Value,
    pub(crate) status: u16,
    pub(crate) summary: Option<RequestSummary>,
}

/// Whether `event` is an HTTP event.
pub(crate) fn is_http(event: &Value) -> bool {
    event["requestContext"]["http"].is_object()
}

impl LambdaAdapter {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self(router(api))
    }

    /// Answers an HTTP event. One that cannot be read gets the status 400.
    pub(crate) async fn handle(&self, event: Value) -> LambdaReply {
        let request = match request(event) {
            Ok(request) => request,
            Err(error) => {
                return LambdaReply {
                    response: malformed(&error),
                    status: 400,
                    summary: None,
                };
            }
        };
        let Ok(mut response) = self.0.clone().oneshot(request).await;
        let summary = response.extensions_mut().remove::<RequestSummary>();
        let response = lambda_response(response).await;
        LambdaReply {
            status: response.status,
            response: response.json,
            summary,
        }
    }
}

/// A response as Lambda wants it.
struct JsonResponse {
    json: Value,
    status: u16,
}

/// The response as Lambda wants it. One that is too large, or breaks off, becomes a problem.
async fn lambda_response(response: Response) -> JsonResponse {
    let (parts, body) = response.into_parts();
    let bytes = match to_bytes(body, MAX_RESPONSE as usize).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "the response broke off, or is too large");
            let problem = Problem::new(
                Kind::Internal,
                "the response is too large for Lambda: ask for fewer items",
            );
            return JsonResponse {
                json: problem_response(&problem),
                status: problem.status().as_u16(),
            };
        }
    };
    let media_type = parts.headers.get(header::CONTENT_TYPE);
    let is_text = media_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(is_text);
    let text = match is_text {
        true => std::str::from_utf8(&bytes).ok(),
        false => None,
    };
    let mut headers = Map::new();
    for (name, value) in &parts.headers {
        // API Gateway writes it itself.
        if name == header::CONTENT_LENGTH {
            continue;
        }
        // Every header value of the routes is text, and a request id may be UTF-8.
        let value = String::from_utf8_lossy(value.as_bytes());
        headers.insert(name.to_string(), value.into());
    }
    let json = json!({
        "statusCode": parts.status.as_u16(),
        "headers": headers,
        "body": text.map_or_else(|| STANDARD.encode(&bytes), ToOwned::to_owned),
        "isBase64Encoded": text.is_none(),
    });
    JsonResponse {
        json,
        status: parts.status.as_u16(),
    }
}

fn is_text(media_type: &str) -> bool {
    let essence = essence(media_type);
    essence.starts_with("text/")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/problem+json"
                | "application/jsonl"
                | "application/openmetrics-text"
        )
}

fn malformed(error: &EventError) -> Value {
    tracing::error!(%error, "an event cannot be read");
    problem_response(&Problem::malformed(error.to_string()))
}

fn problem_response(problem: &Problem) -> Value {
    json!({
        "statusCode": problem.status().as_u16(),
        "headers": {"content-type": PROBLEM_JSON},
        "body": json!(problem).to_string(),
        "isBase64Encoded": false,
    })
}
