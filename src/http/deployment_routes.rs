//! `/v1/deployments`: the table of cameras, stations and times, as CSV.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{
    Api,
    access::Principal,
    problem::{Kind, Problem},
};
use crate::deployments::{Deployments, MAX_BYTES};

/// Media type of the table.
const CSV: &str = "text/csv; charset=utf-8";

/// A table that was stored.
#[derive(Serialize, ToSchema)]
pub(super) struct Imported {
    /// Number of deployments.
    deployments: usize,
}

/// Names a version of the table.
fn etag(csv: &str) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(csv.as_bytes())[..16]))
}

/// The one value of a precondition.
fn precondition<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return match headers.contains_key(name) {
            true => Err(Problem::malformed(format!(
                "there are two {name} headers: send one"
            ))),
            false => Ok(None),
        };
    };
    let text = value
        .to_str()
        .map_err(|_| Problem::malformed(format!("{name} is no ETag")))?;
    Ok(Some(text.trim()))
}

/// Read the deployments table
#[utoipa::path(get, path = "/v1/deployments", tag = "Deployments", operation_id = "getDeployments",
    responses((status = 200, description = "The table", body = String, content_type = "text/csv")))]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
) -> Result<Response, Problem> {
    principal.must_see_all()?;
    let deployments = api.store()?.ledger.deployments(api.deadline()).await?;
    let deployments = deployments.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "there is no deployments table: an admin makes one with PUT /v1/deployments",
        )
    })?;
    let csv = deployments.to_csv();
    let etag = HeaderValue::from_str(&etag(&csv));
    let mut response = ([(header::CONTENT_TYPE, CSV)], csv).into_response();
    if let Ok(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// Replace the deployments table
///
/// Photos that come from now on follow it. `If-Match` names the version that the caller has seen; `If-None-Match: *` says
/// that there is none yet.
#[utoipa::path(put, path = "/v1/deployments", tag = "Deployments", operation_id = "putDeployments",
    params(
        ("If-Match" = Option<String>, Header, description = "ETag of the table that is replaced"),
        ("If-None-Match" = Option<String>, Header, description = "*: there is no table yet", pattern = r"^\*$", nullable = false),
    ),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, description = "It is stored", body = Imported)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Imported>, Problem> {
    principal.must_see_all()?;
    let content = headers.get(header::CONTENT_TYPE);
    let content = content.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = content.split(';').next().unwrap_or("").trim();
    if !essence.eq_ignore_ascii_case("text/csv") {
        return Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send the table with Content-Type: text/csv",
        ));
    }
    let received = api.receive(&headers, body, MAX_BYTES as u64).await?;
    let deployments = Deployments::parse(&received.bytes)
        .map_err(|error| Problem::new(Kind::NotPossible, error.to_string()))?;
    let ledger = &api.store()?.ledger;
    let deadline = api.deadline();
    let (matches, none_matches) = (
        precondition(&headers, &header::IF_MATCH)?,
        precondition(&headers, &header::IF_NONE_MATCH)?,
    );
    if none_matches.is_some_and(|text| text != "*") || matches.is_some() && none_matches.is_some() {
        return Err(Problem::malformed(
            "send either If-Match with the ETag of the table, or If-None-Match: *",
        ));
    }
    if matches.is_none() && none_matches.is_none() {
        ledger
            .put_deployments(&deployments, &principal.name, deadline)
            .await?;
    } else {
        let current = ledger.deployments(deadline).await?;
        let tag = current.as_ref().map(|current| etag(&current.to_csv()));
        let is_seen = match (&tag, matches) {
            (Some(tag), Some(seen)) => seen == "*" || seen == tag,
            (None, Some(_)) => false,
            (tag, None) => tag.is_none(),
        };
        let stale = || {
            Problem::new(
                Kind::RevisionMismatch,
                "somebody else changed the deployments table: read it again, and bring your change into it",
            )
        };
        if !is_seen {
            return Err(stale());
        }
        let replaced =
            ledger.replace_deployments(current.as_ref(), &deployments, &principal.name, deadline);
        if !replaced.await? {
            return Err(stale());
        }
    }
    Ok(Json(Imported {
        deployments: deployments.rows().len(),
    }))
}
