//! `/livez`, `/readyz`, `/health`, `/ping` and `/metrics`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Json, extract::State, http::header, response::IntoResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    problem::{Kind, Problem},
};

/// Whether the process is about to end.
#[derive(Debug, Default)]
pub(super) struct Draining(AtomicBool);

impl Draining {
    pub(super) fn start(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A server that works.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
}

/// Is the process alive?
///
/// Yes, as long as it answers.
#[utoipa::path(get, path = "/livez", tag = "Health", operation_id = "livez",
    responses((status = 200, description = "It is", body = Health)))]
pub(super) async fn livez() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Can the server take requests?
///
/// Yes, if its models passed their self-test, and the process is not about to end. Its other names are `/health` and
/// SageMaker's `/ping`.
#[utoipa::path(get, path = "/readyz", tag = "Health", operation_id = "readyz",
    responses((status = 200, description = "It can", body = Health)))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Result<Json<Health>, Problem> {
    if api.draining.is_on() {
        return Err(Problem::new(Kind::Draining, "the server is stopping"));
    }
    api.models.find(None)?;
    Ok(Json(Health { status: "ok" }))
}

/// Media type of the metrics.
pub(crate) const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Metrics for Prometheus.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<impl IntoResponse, Problem> {
    let text = api.metrics.text(&api.models);
    let text = text.map_err(|error| Problem::new(Kind::Internal, error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text))
}
