//! Errors of the HTTP API: problem details, RFC 9457.

mod from;
mod kind;
mod page;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

pub(super) use kind::Kind;
pub(super) use page::page;

/// Media type of a problem.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was refused.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The JSON of a problem.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Problem)]
pub(super) struct ProblemJson<'a> {
    /// What kind of problem it is: an address of this server.
    #[schema(example = "/problems/unsupported")]
    r#type: String,
    /// The kind in words.
    title: &'a str,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: &'a str,
    /// Path of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// Id of the request in the server's log.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    /// More members, which depend on the type.
    #[serde(flatten)]
    #[schema(value_type = Object, inline, additional_properties)]
    members: &'a Map<String, Value>,
}

impl Problem {
    /// A problem of this `kind`; `detail` names the object, the reason and the way out.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let mut headers = Vec::new();
        if let Some(seconds) = kind.retry_after() {
            headers.push((header::RETRY_AFTER, seconds));
        }
        if kind == Kind::Unauthorized {
            let challenge = HeaderValue::from_static("Bearer realm=\"moth-classifier\"");
            headers.push((header::WWW_AUTHENTICATE, challenge));
        }
        Self {
            kind,
            detail: shortened(detail.into()),
            members: Map::new(),
            headers,
        }
    }

    /// A body or parameter cannot be read.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, detail)
    }

    /// With one more member.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// The same with another kind.
    pub(super) fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// With the seconds after which a repeat may succeed.
    pub(super) fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((header::RETRY_AFTER, seconds.into()));
        self
    }

    /// With one more sentence.
    pub(super) fn and(mut self, sentence: &str) -> Self {
        self.detail = shortened(format!("{}. {sentence}", self.detail));
        self
    }

    /// Its kind.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// Its HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// Its JSON, for the request at the path `instance` with this id.
    pub(super) fn json<'a>(
        &'a self,
        instance: Option<&'a str>,
        request_id: Option<&'a str>,
    ) -> ProblemJson<'a> {
        ProblemJson {
            r#type: self.kind.uri(),
            title: self.kind.title(),
            status: self.status().as_u16(),
            detail: &self.detail,
            instance,
            request_id,
            members: &self.members,
        }
    }
}

/// Longest detail, in bytes. It may repeat what a caller sent.
const MAX_DETAIL: usize = 1000;

/// The beginning of a long text.
fn shortened(mut text: String) -> String {
    if text.len() > MAX_DETAIL {
        text.truncate(text.floor_char_boundary(MAX_DETAIL));
        text.push('…');
    }
    text
}

impl Serialize for Problem {
    /// As an item of a response: without the request's path and id.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.json(None, None).serialize(serializer)
    }
}

impl IntoResponse for Problem {
    /// The response without a body. `observe` writes it, because it knows the request.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        for (name, value) in &self.headers {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::Rejection;

    #[test]
    fn every_rejection_has_a_kind_of_its_own() {
        let rejections = [
            Rejection::Empty,
            Rejection::TooManyBytes { bytes: 2, limit: 1 },
            Rejection::TooManyPixels {
                width: 2,
                height: 1,
                limit: 1,
            },
            Rejection::NotAPhoto,
            Rejection::Unsupported {
                what: "HEIC",
                todo: "convert it",
            },
            Rejection::Truncated(image::ImageFormat::Jpeg),
            Rejection::Damaged {
                format: image::ImageFormat::Jpeg,
                reason: "?".into(),
            },
            Rejection::Gone,
        ];
        let kinds: std::collections::HashSet<Kind> = rejections
            .iter()
            .map(|rejection| Problem::from(rejection).kind())
            .collect();
        assert_eq!(kinds.len(), rejections.len());
        let problem = Problem::from(&rejections[0]);
        assert_eq!(problem.detail, rejections[0].to_string());
    }

    #[test]
    fn a_detail_repeats_no_more_than_a_page() {
        let problem = Problem::malformed("é".repeat(1_000_000));
        assert!(problem.detail.len() < 1010 && problem.detail.ends_with("é…"));
    }
}
