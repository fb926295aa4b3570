//! `/v1/deployments`: the table of cameras, stations and times, as CSV.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{
    Api,
    access::Principal,
    body::BodyKind,
    media_types::check_content_type,
    preconditions::{Precondition, etag},
    problem::{Kind, Problem},
};
use crate::deployments::{Deployments, MAX_BYTES};

/// Media type of the table.
const CSV: &str = "text/csv; charset=utf-8";

/// A table that was stored.
#[derive(Serialize, ToSchema)]
pub(super) struct StoredDeployments {
    /// Number of deployments.
    deployments: usize,
}

/// Entity tag of the table, without quotes: the beginning of its SHA-256.
fn tag(csv: &str) -> String {
    hex::encode(&Sha256::digest(csv.as_bytes())[..16])
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
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(CSV)),
        (header::ETAG, etag(tag(&csv))),
    ];
    Ok((headers, csv).into_response())
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
    responses((status = 200, description = "It is stored", body = StoredDeployments)))]
pub(super) async fn put(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<StoredDeployments>, Problem> {
    principal.must_see_all()?;
    check_content_type(&headers, "text/csv")?;
    let received = api
        .receive(&headers, body, BodyKind::Document(MAX_BYTES as u64))
        .await?;
    let deployments = Deployments::parse(&received.bytes)
        .map_err(|error| Problem::new(Kind::NotPossible, error.to_string()))?;
    let ledger = &api.store()?.ledger;
    let deadline = api.deadline();
    let precondition = Precondition::of(&headers)?;
    if precondition == Precondition::None {
        ledger
            .put_deployments(&deployments, &principal.name, deadline)
            .await?;
    } else {
        let current = ledger.deployments(deadline).await?;
        let stale = || {
            Problem::new(
                Kind::RevisionMismatch,
                "somebody else changed the deployments table: read it again, and bring your change into it",
            )
        };
        let holds = match (&current, precondition) {
            (Some(current), Precondition::Tag(expected)) => expected == tag(&current.to_csv()),
            (None, Precondition::Tag(_)) => false,
            (current, Precondition::Exists) => current.is_some(),
            (current, Precondition::Absent | Precondition::None) => current.is_none(),
        };
        if !holds {
            return Err(stale());
        }
        let replaced =
            ledger.replace_deployments(current.as_ref(), &deployments, &principal.name, deadline);
        if !replaced.await? {
            return Err(stale());
        }
    }
    Ok(Json(StoredDeployments {
        deployments: deployments.rows().len(),
    }))
}
