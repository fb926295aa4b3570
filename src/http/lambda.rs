//! The door on Lambda: HTTP events of API Gateway (payload 2.0) and of function URLs, which have the same shape.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, Request, Uri, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::{
    Api,
    access::{Principal, Role},
    identify::Vouched,
    observe::{Answered, RequestId},
    problem::{Kind, PROBLEM_JSON, Problem},
    router,
};

/// Bytes of a body: base64 makes 6 MB of it, and Lambda accepts an event of 6,291,556 bytes.
pub(crate) const MAX_BODY: u64 = 4_500_000;
/// Bytes of an answer's body. Lambda accepts an answer of 6,291,556 bytes.
pub(crate) const MAX_ANSWER: u64 = 4_500_000;
/// Characters that API Gateway may have decoded, and that no URI has.
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}')
    .add(b'\\')
    .add(b'^')
    .add(b'|');
/// Stage whose name is not in the path.
const DEFAULT_STAGE: &str = "$default";

/// The router as a function.
pub(crate) struct LambdaDoor(Router);

/// An HTTP event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpEvent {
    raw_path: String,
    #[serde(default)]
    raw_query_string: String,
    #[serde(default)]
    headers: HashMap<String, String>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
    request_context: RequestContext,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext {
    http: Http,
    #[serde(default)]
    stage: String,
    request_id: Option<String>,
    authorizer: Option<Authorizer>,
}

#[derive(Debug, Deserialize)]
struct Http {
    method: String,
}

#[derive(Debug, Deserialize)]
struct Authorizer {
    jwt: Option<Jwt>,
}

#[derive(Debug, Deserialize)]
struct Jwt {
    #[serde(default)]
    claims: Map<String, Value>,
}

/// An HTTP event that is none.
#[derive(Debug, thiserror::Error)]
enum EventError {
    #[error("the event is no HTTP event: {0}")]
    Event(#[from] serde_json::Error),
    #[error("the body is not base64")]
    Body(#[from] base64::DecodeError),
    #[error("the request cannot be read: {0}")]
    Request(#[from] axum::http::Error),
    #[error("the header {0:?} cannot be read")]
    Header(String),
    #[error("the path cannot be read: {0}")]
    Uri(#[from] axum::http::uri::InvalidUri),
}

/// The answer to an event, and what its metrics need.
pub(crate) struct LambdaAnswer {
    /// What Lambda gets.
    pub(crate) answer: Value,
    pub(crate) status: u16,
    pub(crate) answered: Option<Answered>,
}

/// Whether `event` is an HTTP event.
pub(crate) fn is_http(event: &Value) -> bool {
    event["requestContext"]["http"].is_object()
}

impl LambdaDoor {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self(router(api))
    }

    /// Answers an HTTP event. One that cannot be read gets the status 400.
    pub(crate) async fn answer(&self, event: Value) -> LambdaAnswer {
        let request = match request(event) {
            Ok(request) => request,
            Err(error) => {
                return LambdaAnswer {
                    answer: malformed(&error),
                    status: 400,
                    answered: None,
                };
            }
        };
        let Ok(mut response) = self.0.clone().oneshot(request).await;
        let answered = response.extensions_mut().remove::<Answered>();
        let answer = answer(response).await;
        LambdaAnswer {
            status: answer.status,
            answer: answer.json,
            answered,
        }
    }
}

fn request(event: Value) -> Result<Request<Body>, EventError> {
    let event: HttpEvent = serde_json::from_value(event)?;
    let context = event.request_context;
    let path = path_of(&event.raw_path, &context.stage);
    let uri: Uri = match event.raw_query_string.as_str() {
        "" => path.parse()?,
        query => format!("{path}?{query}").parse()?,
    };
    let body = match (event.body, event.is_base64_encoded) {
        (None, _) => Body::empty(),
        (Some(body), true) => STANDARD.decode(body)?.into(),
        (Some(body), false) => body.into(),
    };
    let mut request = Request::builder()
        .method(context.http.method.as_str())
        .uri(uri)
        .body(body)?;
    for (name, value) in event.headers {
        let invalid = || EventError::Header(name.clone());
        let value = HeaderValue::try_from(value).map_err(|_| invalid())?;
        let name = HeaderName::try_from(&name).map_err(|_| invalid())?;
        request.headers_mut().insert(name, value);
    }
    if let Some(id) = context.request_id {
        request.extensions_mut().insert(RequestId(id));
    }
    if let Some(jwt) = context.authorizer.and_then(|authorizer| authorizer.jwt) {
        request.extensions_mut().insert(vouched(&jwt.claims));
    }
    Ok(request)
}

/// The path without the stage, as a URI has it.
fn path_of<'a>(raw: &'a str, stage: &str) -> Cow<'a, str> {
    let path = match stage {
        "" | DEFAULT_STAGE => raw,
        stage => raw
            .strip_prefix('/')
            .and_then(|path| path.strip_prefix(stage))
            .filter(|rest| rest.is_empty() || rest.starts_with('/'))
            .unwrap_or(raw),
    };
    match path {
        "" => "/".into(),
        path => utf8_percent_encode(path, NOT_IN_PATHS).into(),
    }
}

/// Who signed in, by the claims that API Gateway's authorizer has checked.
fn vouched(claims: &Map<String, Value>) -> Vouched {
    let role = groups(claims)
        .filter_map(|group| group.parse::<Role>().ok())
        .max();
    let names = ["email", "cognito:username", "username", "sub"];
    let mut names = names.iter().filter_map(|name| claims.get(*name)?.as_str());
    match (role, names.find_map(|name| name.parse().ok())) {
        (Some(role), Some(name)) => Vouched::As(Principal {
            name,
            role,
            station: None,
        }),
        _ => Vouched::WithoutRole,
    }
}

/// The groups of a user. API Gateway writes the list as a text: `[reader admin]`.
fn groups(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let texts: Vec<&str> = match claims.get("cognito:groups") {
        Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => {
            let list = text.trim_start_matches('[').trim_end_matches(']');
            list.split(' ').collect()
        }
        _ => Vec::new(),
    };
    texts.into_iter()
}

/// A response as Lambda wants it.
struct JsonAnswer {
    json: Value,
    status: u16,
}

/// The response as Lambda wants it. One that is too large, or breaks off, becomes a problem.
async fn answer(response: Response) -> JsonAnswer {
    let (parts, body) = response.into_parts();
    let bytes = match to_bytes(body, MAX_ANSWER as usize).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "the answer broke off, or is too large");
            let problem = Problem::new(Kind::Internal, "the answer is too large: ask for less");
            return JsonAnswer {
                json: problem_answer(&problem),
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
        if let Ok(value) = value.to_str() {
            headers.insert(name.to_string(), value.into());
        }
    }
    let json = json!({
        "statusCode": parts.status.as_u16(),
        "headers": headers,
        "body": text.map_or_else(|| STANDARD.encode(&bytes), ToOwned::to_owned),
        "isBase64Encoded": text.is_none(),
    });
    JsonAnswer {
        json,
        status: parts.status.as_u16(),
    }
}

fn is_text(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or("").trim();
    essence.starts_with("text/")
        || matches!(
            essence,
            "application/json"
                | "application/problem+json"
                | "application/jsonl"
                | "application/openmetrics-text"
        )
}

fn malformed(error: &EventError) -> Value {
    tracing::error!(%error, "an event cannot be read");
    problem_answer(&Problem::malformed(error.to_string()))
}

fn problem_answer(problem: &Problem) -> Value {
    json!({
        "statusCode": problem.status().as_u16(),
        "headers": {"content-type": PROBLEM_JSON},
        "body": json!(problem).to_string(),
        "isBase64Encoded": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_is_no_part_of_the_path() {
        for (raw, stage, path) in [
            ("/v1/counts", "$default", "/v1/counts"),
            ("/prod/v1/counts", "prod", "/v1/counts"),
            ("/prod", "prod", "/"),
            ("/production/v1", "prod", "/production/v1"),
            ("/v1/a b/é", "$default", "/v1/a%20b/%C3%A9"),
            ("/v1/a%20b", "$default", "/v1/a%20b"),
            ("", "", "/"),
        ] {
            assert_eq!(path_of(raw, stage), path);
        }
    }

    #[test]
    fn the_greatest_group_is_the_role() {
        let role = |claims: Value| match vouched(claims.as_object().unwrap()) {
            Vouched::As(principal) => Some((principal.role, principal.name.to_string())),
            Vouched::WithoutRole => None,
        };
        for groups in [json!("[reader admin]"), json!(["admin"]), json!("admin")] {
            let claims = json!({"cognito:groups": groups, "email": "a@b.example", "sub": "1"});
            assert_eq!(role(claims), Some((Role::Admin, "a@b.example".to_owned())));
        }
        assert_eq!(
            role(json!({"sub": "1", "cognito:groups": "[x,admin]"})),
            None
        );
        assert_eq!(role(json!({"sub": "1"})), None);
        assert_eq!(role(json!({"sub": "1", "cognito:groups": "[root]"})), None);
        assert_eq!(role(json!({"cognito:groups": "[admin]"})), None);
    }

    #[test]
    fn an_event_that_is_no_request_is_an_error() {
        for event in [
            json!({"requestContext": {"http": {}}}),
            json!({"rawPath": "/", "body": "!", "isBase64Encoded": true, "requestContext": {"http": {"method": "GET"}}}),
            json!({"rawPath": "/", "requestContext": {"http": {"method": "G T"}}}),
            json!({"rawPath": "/", "rawQueryString": "a b", "requestContext": {"http": {"method": "GET"}}}),
        ] {
            assert!(request(event).is_err());
        }
    }
}
