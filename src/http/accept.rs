//! Refuses callers that accept no JSON.

use axum::{
    extract::Request,
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::{Kind, Problem};

/// Middleware of routes whose answers are JSON.
pub(super) async fn json(request: Request, next: Next) -> Response {
    match accepts_json(request.headers()) {
        true => next.run(request).await,
        false => Problem::new(
            Kind::NotAcceptable,
            "the answer is JSON: send `Accept: application/json`, or no Accept",
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
        let media = parts.next().unwrap_or("").to_ascii_lowercase();
        let is_refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.is_some_and(|weight| weight.parse() == Ok(0.0_f32))
        });
        !is_refused
            && matches!(
                media.as_str(),
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
