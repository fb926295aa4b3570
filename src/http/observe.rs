//! What every request gets: an id, a line in the log, metrics, and the body of its problem.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::HttpBody,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use super::{
    Api,
    access::Principal,
    problem::{Kind, PROBLEM_JSON, Problem},
};
use crate::respond::milliseconds;

/// Header of the request's id.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id that a client may choose.
const MAX_ID: usize = 64;
/// The route in log and metrics if no route fits, so that scanners do not make new ones.
const NO_ROUTE: &str = "none";

/// The request id of API Gateway.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// A finished request, for the metrics of the entry point.
#[derive(Debug, Clone)]
pub(crate) struct RequestSummary {
    /// Route template.
    pub(crate) route: String,
    pub(crate) duration: Duration,
}

/// Middleware around all routes.
pub(super) async fn observe(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let in_flight = api.metrics.start();
    let id = request_id(&mut request);
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", id);
    // A panic is a defect of one request. Its line is in the log, with the id.
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = answered.instrument(span).await.unwrap_or_else(|_| {
        Problem::new(Kind::Internal, "the server failed: report the request id").into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = with_body(response, &problem, &path, &id);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(X_REQUEST_ID, value);
    }
    // Responses are data: no browser may take one for a page, keep it for others, or show it in a frame.
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    if api.draining.is_on() {
        // The client takes its next request to another server.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let elapsed = started.elapsed();
    let status = response.status().as_u16();
    let principal = response.extensions().get::<Principal>();
    tracing::info!(
        target: "access",
        method,
        route,
        status,
        ms = milliseconds(elapsed),
        bytes = response.body().size_hint().exact(),
        request = id,
        principal = principal.map(|principal| principal.name.as_str()),
        "request"
    );
    api.metrics.answered(method, &route, status, elapsed);
    drop(in_flight);
    response.extensions_mut().insert(RequestSummary {
        route,
        duration: elapsed,
    });
    response
}

/// The id from API Gateway, from the client, or a new one.
fn request_id(request: &mut Request) -> String {
    if let Some(RequestId(id)) = request.extensions_mut().remove::<RequestId>() {
        return id;
    }
    let sent = request.headers().get(X_REQUEST_ID);
    let sent = sent.and_then(|id| id.to_str().ok());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match sent {
        Some(id) if (1..=MAX_ID).contains(&id.len()) && id.bytes().all(is_plain) => id.to_owned(),
        _ => Uuid::new_v4().to_string(),
    }
}

/// Methods are a closed list in log and metrics.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

fn with_body(response: Response, problem: &Problem, path: &str, id: &str) -> Response {
    let (mut parts, _) = response.into_parts();
    let (json, body) = Json(problem.json(Some(path), Some(id)))
        .into_response()
        .into_parts();
    let length = json.headers.get(header::CONTENT_LENGTH).cloned();
    parts.headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    let media_type = HeaderValue::from_static(PROBLEM_JSON);
    parts.headers.insert(header::CONTENT_TYPE, media_type);
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests {
    use axum::{
        Router,
        body::{Body, to_bytes},
        middleware::from_fn_with_state,
        routing::get,
    };
    use tower::ServiceExt;

    use super::*;
    use crate::{
        config::ComputeConfig,
        http::{Access, Anonymous, ApiKeys, ModelFolders, Models, Settings},
    };

    fn api() -> Arc<Api> {
        let folders = ModelFolders {
            default: None,
            more: None,
        };
        let compute = ComputeConfig::read(|_| None).unwrap();
        let access = Access {
            keys: ApiKeys::default(),
            anonymous: Anonymous::Nobody,
        };
        let settings = Settings::of(&compute);
        Arc::new(Api::new(
            Models::new(folders, compute),
            access,
            None,
            settings,
        ))
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_of_one_request() {
        async fn fails() {
            panic!("as a defect would")
        }
        let api = api();
        let router: Router = Router::new()
            .route("/fails", get(fails))
            .layer(from_fn_with_state(Arc::clone(&api), observe))
            .with_state(api);
        let request = Request::get("/fails").header("x-request-id", "r1");
        let request = request.body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()["x-request-id"], "r1");
        let body = to_bytes(response.into_body(), 10_000).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["type"], "/problems/internal");
        assert!(!problem.to_string().contains("defect would"));
    }
}
