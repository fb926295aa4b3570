//! Media types: that of a request's body, and those that a caller accepts.

use axum::{
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::{Kind, Problem};

/// Media type of JSON.
pub(super) const JSON: &str = "application/json";

/// The media type in `Content-Type`, in lower case and without parameters; `None` if there is no such header.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().unwrap_or("");
    Some(essence(value))
}

/// A media type in lower case, without its parameters.
pub(super) fn essence(value: &str) -> String {
    let essence = value.split(';').next().unwrap_or("");
    essence.trim().to_ascii_lowercase()
}

/// Fails unless `Content-Type` is `expected`. A form of another site cannot send JSON or CSV.
pub(super) fn check_content_type(headers: &HeaderMap, expected: &str) -> Result<(), Problem> {
    match content_type(headers).as_deref() == Some(expected) {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::UnsupportedMediaType,
            format!("the body must be {expected}: send it with `Content-Type: {expected}`"),
        )),
    }
}

/// Middleware of routes whose responses are JSON: refuses callers that do not accept it.
pub(super) async fn accept_json(request: Request, next: Next) -> Response {
    match accepts_json(request.headers()) {
        true => next.run(request).await,
        false => Problem::new(
            Kind::NotAcceptable,
            "this route responds with JSON: send `Accept: application/json`, or no Accept header",
        )
        .into_response(),
    }
}

/// Whether the headers accept `application/json`.
fn accepts_json(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT);
    if values.iter().next().is_none() {
        return true;
    }
    let ranges = values.iter().filter_map(|value| value.to_str().ok());
    let mut ranges = ranges.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or("").to_ascii_lowercase();
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32))
        });
        !is_refused
            && matches!(
                media_type.as_str(),
                "" | "*/*" | "application/*" | "application/json"
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_accepted_by_name_or_by_range() {
        let accepts = |value: &'static str| {
            accepts_json(&HeaderMap::from_iter([(
                header::ACCEPT,
                value.parse().unwrap(),
            )]))
        };
        for value in [
            "*/*",
            "application/json",
            "text/html, Application/*;q=0.5",
            "",
            "text/html,*/*;q=0.1",
        ] {
            assert!(accepts(value), "{value}");
        }
        for value in [
            "text/html",
            "application/json;q=0",
            "image/*, text/csv",
            "application/jsonl",
        ] {
            assert!(!accepts(value), "{value}");
        }
        assert!(accepts_json(&HeaderMap::new()));
    }
}
