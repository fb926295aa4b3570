//! The HTTP API: one router behind every entry point.
//!
//! | entry point | how |
//! |---|---|
//! | Lambda | the function answers HTTP events of API Gateway and of function URLs: `http/lambda.rs` |
//! | any container | `serve`: `http/server.rs` |
//! | SageMaker | the same `serve`: `/ping` and `/invocations` |
//! | laptop | `local --serve` |
//!
//! # The path of a request
//!
//! ```text
//! entry point ─▶ observe (id, log, metrics, body of a problem) ─▶ identify (who) ─▶ require (role of the route) ─▶ handler
//! ```
//!
//! A handler returns JSON, or a `Problem`. Handlers compute nothing themselves: they parse the request, call the
//! library with a deadline, and translate the result. Every resource of a request is bounded: bytes and time of a body
//! (`body.rs`), photos and memory at once (`admission.rs`), connections (`server.rs`).

mod access;
mod admission;
mod body;
mod cache;
mod change_routes;
mod classification;
mod classify;
mod count_routes;
mod deployment_routes;
mod export_routes;
pub(crate) mod health;
mod identify;
pub(crate) mod lambda;
mod media_types;
mod metrics;
mod model_routes;
mod models;
mod observe;
mod openapi;
mod origin;
mod parameters;
mod photo_routes;
mod photo_schemas;
mod photos;
mod preconditions;
mod problem;
mod rate;
mod record_routes;
mod review_routes;
mod server;
mod store;
mod upload_file;
mod upload_routes;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    middleware::{Next, from_fn, from_fn_with_state},
    routing::{get, post},
};
use utoipa_axum::{router::OpenApiRouter, routes};

pub use self::{
    access::{ApiKeys, ApiKeysError, NewApiKey, Principal, Role},
    identify::{Access, Anonymous},
    models::{ModelFolders, Models, ModelsError},
    server::{ListenError, Server},
    store::{Photos, Store},
};
use self::{
    admission::Admission,
    health::Draining,
    identify::{identify, require},
    metrics::Metrics,
    observe::observe,
    problem::{Kind, Problem},
    rate::Rates,
};
use crate::{aws::Deadline, config::ComputeConfig};

/// Time limit of what one request asks of tables and bucket. API Gateway gives up after 30 s.
const DEADLINE: Duration = Duration::from_secs(25);

/// What the routes share.
pub struct Api {
    models: Models,
    access: Access,
    store: Option<Store>,
    settings: Settings,
    admission: Admission,
    metrics: Metrics,
    rates: Option<Arc<Rates>>,
    draining: Draining,
}

/// Limits of an API, and the settings of its entry point.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of one photo: MAX_IMAGE_BYTES.
    pub max_photo: u64,
    /// Limit of a request body in bytes, if the entry point has one.
    pub max_body: Option<u64>,
    /// Limit of a response body in bytes, if the entry point has one.
    pub max_response: Option<u64>,
    /// Number of photos that are classified at once.
    pub cpus: usize,
    /// Whether `/metrics` is one of the routes.
    pub has_metrics: bool,
    /// Number of requests that one caller may send in a minute, if there is a limit.
    pub per_minute: Option<NonZeroU32>,
    /// Where people sign in, if they do.
    pub sign_in: Option<SignIn>,
}

impl Settings {
    /// The limits of `compute`, and no others.
    pub fn of(compute: &ComputeConfig) -> Self {
        Self {
            max_photo: compute.limits.bytes,
            max_body: None,
            max_response: None,
            cpus: compute.cpus,
            has_metrics: false,
            per_minute: None,
            sign_in: None,
        }
    }
}

/// Where people sign in: an OpenID provider, and the id of this API's client there. API Gateway checks their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignIn {
    /// URL of the provider.
    pub issuer: String,
    /// Id of the client, which has no secret: Authorization Code with PKCE.
    pub client_id: String,
}

impl Api {
    /// An API with these `models` for those who have `access`. Without a `store` it only classifies.
    pub fn new(models: Models, access: Access, store: Option<Store>, settings: Settings) -> Self {
        Self {
            models,
            access,
            store,
            admission: Admission::new(settings.cpus),
            rates: settings.per_minute.map(|most| Arc::new(Rates::new(most))),
            settings,
            metrics: Metrics::new(),
            draining: Draining::default(),
        }
    }

    /// The models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    ///
    /// If they cannot be formatted.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.metrics.text(&self.models)
    }

    /// A deadline for the calls of one request.
    fn deadline(&self) -> Deadline {
        Deadline::after(DEADLINE)
    }
}

/// The router of `api`.
pub fn router(api: Arc<Api>) -> Router {
    let (mut router, openapi) = routes().split_for_parts();
    if api.settings.has_metrics {
        router = router.route("/metrics", get(health::metrics));
    }
    router
        .merge(openapi::routes(openapi, api.settings.sign_in.as_ref()))
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(Arc::clone(&api), identify))
        .layer(from_fn_with_state(Arc::clone(&api), observe))
        .with_state(api)
}

/// Every route that the reference describes, by the role that it needs.
fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::with_openapi(openapi::base())
        .merge(open())
        .merge(of_role(Role::Reader, in_json(reader()).merge(files())))
        .merge(of_role(Role::Uploader, in_json(uploader())))
        .merge(of_role(Role::Reviewer, in_json(reviewer())))
        .merge(of_role(Role::Admin, in_json(admin())))
}

/// Routes for everybody.
fn open() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .route("/health", get(health::readyz))
        .route("/ping", get(health::readyz))
        .route("/problems/{kind}", get(problem::page))
}

fn reader() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(classify::classify))
        .routes(routes!(classify::classify_batch))
        .routes(routes!(classify::classify_with))
        .route("/classify", post(classify::classify))
        .route("/batch-classify", post(classify::classify_batch))
        .route("/invocations", post(classify::classify))
        // Where the client of SageMaker's runtime sends a photo, so that it can be pointed at `serve`.
        .route("/endpoints/{name}/invocations", post(classify::classify))
        .routes(routes!(model_routes::list))
        .routes(routes!(record_routes::list))
        .routes(routes!(record_routes::get))
        .routes(routes!(record_routes::history))
        .routes(routes!(count_routes::counts))
        .routes(routes!(count_routes::rejections))
        .routes(routes!(count_routes::drift))
}

/// Routes for readers whose responses are files.
fn files() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(photo_routes::photo))
        .routes(routes!(photo_routes::thumbnail))
        .routes(routes!(deployment_routes::get))
        .routes(routes!(export_routes::export))
}

fn uploader() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(upload_routes::create))
        .routes(routes!(upload_routes::status))
}

fn reviewer() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(
            review_routes::put_review,
            review_routes::delete_review
        ))
        .routes(routes!(change_routes::change_many))
}

fn admin() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(model_routes::reload))
        .routes(routes!(review_routes::delete_record))
        .routes(routes!(review_routes::restore))
        .routes(routes!(deployment_routes::put))
}

/// `router`, for callers with this `role` or a greater one.
fn of_role(role: Role, router: OpenApiRouter<Arc<Api>>) -> OpenApiRouter<Arc<Api>> {
    router.route_layer(from_fn(move |request: Request, next: Next| {
        require(role, request, next)
    }))
}

/// `router`, for callers that accept JSON: all its responses are JSON.
fn in_json(router: OpenApiRouter<Arc<Api>>) -> OpenApiRouter<Arc<Api>> {
    router.route_layer(from_fn(media_types::accept_json))
}

async fn no_route() -> Problem {
    Problem::new(
        Kind::NotFound,
        "this server has no route with this path: /docs/ lists all routes",
    )
}

async fn no_method() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "this route does not have this method: the header Allow lists its methods",
    )
}
