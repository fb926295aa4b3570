//! HTTP events as requests.

use std::{borrow::Cow, collections::HashMap};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Request, Uri},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::http::{
    access::{Principal, Role},
    identify::Vouched,
    observe::RequestId,
};

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

/// Why an HTTP event cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventError {
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

pub(super) fn request(event: Value) -> Result<Request<Body>, EventError> {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
