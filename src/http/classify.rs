//! `/v1/classify`, `/v1/classify/batch` and their aliases. Nothing is stored or counted.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    access::Principal,
    classification::{Classification, Computed, DEFAULT_TOP, Timing},
    models::Named,
    parameters::{Parameters, Segment},
    photo_schemas::{BatchFormSchema, BatchSchema, FileBytes, FormSchema, PhotoSchema},
    photos::{self, Asked, MAX_BATCH, Number, Sent},
    problem::{Problem, ProblemJson},
};

/// Bytes of a batch: 32 photos of 2 MB.
pub(super) const MAX_BATCH_BYTES: u64 = 64 << 20;
/// Bytes of a form or JSON beside its photo.
const SLACK: u64 = 64 << 10;
/// Highest `top`.
const MAX_TOP: u64 = 1000;
/// Whether the result was in the cache.
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Parameters of a classification.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClassifyParameters {
    /// Number of predictions in the answer.
    #[param(minimum = 1, maximum = 1000, default = 5)]
    top: Option<u64>,
    /// Name of the model.
    model: Option<String>,
}

/// The answers for a batch, in the order of its photos.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batch {
    items: Vec<BatchItem>,
}

/// The answer for one photo of a batch.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BatchItem {
    /// Position of the photo, from 0.
    index: usize,
    /// Name of its file, if the form says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// The status that the photo alone would have had.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// What the model says, if the status is 200.
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Classification>,
    /// What is wrong with the photo, otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemJson>)]
    problem: Option<Problem>,
}

/// Classify a photo
///
/// The body is a photo, a form, or JSON. Nothing is stored or counted.
#[utoipa::path(
    post, path = "/v1/classify", tag = "Classify", operation_id = "classify",
    params(ClassifyParameters),
    request_body(content(
        (FileBytes = "image/jpeg"), (FileBytes = "image/png"), (FileBytes = "image/webp"), (FileBytes = "application/octet-stream"),
        (FormSchema = "multipart/form-data"), (PhotoSchema = "application/json")
    )),
    responses((status = 200, description = "What the model says", body = Classification))
)]
pub(super) async fn classify(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<ClassifyParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    one(&api, &principal, parameters, &headers, body).await
}

/// Classify a photo with a model
///
/// Like `/v1/classify`, with the model in the path.
#[utoipa::path(
    post, path = "/v1/models/{model}/classify", tag = "Classify", operation_id = "classifyWithModel",
    params(
        ("model" = String, Path, description = "Name of the model", example = "model"),
        ("top" = Option<usize>, Query, description = "Number of predictions in the answer", minimum = 1, maximum = 1000),
    ),
    request_body(content(
        (FileBytes = "image/jpeg"), (FileBytes = "image/png"), (FileBytes = "image/webp"), (FileBytes = "application/octet-stream"),
        (FormSchema = "multipart/form-data"), (PhotoSchema = "application/json")
    )),
    responses((status = 200, description = "What the model says", body = Classification))
)]
pub(super) async fn classify_with(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Segment(model): Segment,
    Parameters(mut parameters): Parameters<ClassifyParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if parameters.model.is_some_and(|other| other != model) {
        return Err(Problem::malformed(
            "the path and the parameter model name two models: name one",
        ));
    }
    parameters.model = Some(model);
    one(&api, &principal, parameters, &headers, body).await
}

async fn one(
    api: &Arc<Api>,
    principal: &Principal,
    parameters: ClassifyParameters,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    photos::check_content(headers, Number::One)?;
    let limit = encoded(api.settings.max_photo) + SLACK;
    let mut received = api.receive(headers, body, limit).await?;
    let asked = photos::read(headers, &mut received, Number::One).await?;
    let choice = Choice::of(api, parameters, &asked)?;
    let _place = api.admission.enter(1)?;
    let mut computed = Vec::new();
    for photo in asked.photos {
        computed.push(photo_of(api, principal, Arc::clone(&choice.model), photo).await?);
    }
    drop(received.memory);
    let computed = computed
        .pop()
        .ok_or_else(|| Problem::malformed("there is no photo"))?;
    let timing = computed.timing;
    let mut response = Json(computed.classification(choice.top)).into_response();
    add_timing(&mut response, timing);
    Ok(response)
}

/// Classify several photos
///
/// Each photo has its own status: one bad photo takes no good one with it.
#[utoipa::path(
    post, path = "/v1/classify/batch", tag = "Classify", operation_id = "classifyBatch",
    params(ClassifyParameters),
    request_body(content((BatchFormSchema = "multipart/form-data"), (BatchSchema = "application/json"))),
    responses((status = 200, description = "One item for each photo", body = Batch))
)]
pub(super) async fn classify_batch(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<ClassifyParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Batch>, Problem> {
    photos::check_content(&headers, Number::Batch)?;
    let mut received = api.receive(&headers, body, MAX_BATCH_BYTES).await?;
    let asked = photos::read(&headers, &mut received, Number::Batch).await?;
    debug_assert!(asked.photos.len() <= MAX_BATCH);
    let choice = Choice::of(&api, parameters, &asked)?;
    let _places = api.admission.enter(asked.photos.len())?;
    let items = asked.photos.into_iter().enumerate().map(|(index, photo)| {
        let (api, principal, model) = (&api, &principal, Arc::clone(&choice.model));
        async move {
            let name = match &photo {
                Sent::Bytes { name, .. } => name.clone(),
                Sent::Object(object) => Some(object.key.clone()),
                Sent::Unreadable(_) => None,
            };
            let result = photo_of(api, principal, model, photo).await;
            BatchItem::new(index, name, result, choice.top)
        }
    });
    let items = join_all(items).await;
    drop(received.memory);
    Ok(Json(Batch { items }))
}

impl BatchItem {
    fn new(
        index: usize,
        name: Option<String>,
        result: Result<Computed, Problem>,
        top: usize,
    ) -> Self {
        let (status, result, problem) = match result {
            Ok(computed) => (200, Some(computed.classification(top)), None),
            Err(problem) => (problem.status().as_u16(), None, Some(problem)),
        };
        Self {
            index,
            name,
            status,
            result,
            problem,
        }
    }
}

/// What to answer with.
struct Choice {
    model: Arc<Named>,
    top: usize,
}

impl Choice {
    fn of(api: &Api, parameters: ClassifyParameters, asked: &Asked) -> Result<Self, Problem> {
        let model = parameters.model.as_deref().or(asked.model.as_deref());
        let mut tops = [parameters.top, asked.top].into_iter().flatten();
        if let Some(top) = tops.find(|top| !(1..=MAX_TOP).contains(top)) {
            return Err(Problem::malformed(format!(
                "top is {top}, not 1 to {MAX_TOP}"
            )));
        }
        let top = parameters.top.or(asked.top).unwrap_or(DEFAULT_TOP);
        Ok(Self {
            model: api.models.find(model)?,
            // At most MAX_TOP.
            top: top as usize,
        })
    }
}

async fn photo_of(
    api: &Api,
    principal: &Principal,
    model: Arc<Named>,
    photo: Sent,
) -> Result<Computed, Problem> {
    match photo {
        Sent::Bytes { bytes, .. } => api.compute(model, bytes).await,
        Sent::Unreadable(problem) => Err(problem),
        Sent::Object(object) => {
            // Held until the photo is classified.
            let _turn = api.admission.fetch().await;
            let photo = api.object(principal, &object).await?;
            api.compute(model, photo).await
        }
    }
}

/// Bytes of `bytes` in base64.
fn encoded(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(4)
}

fn add_timing(response: &mut Response, timing: Timing) {
    let cache = HeaderValue::from_static(if timing.is_hit { "hit" } else { "miss" });
    let headers = response.headers_mut();
    headers.insert(X_CACHE, cache);
    if let Ok(value) = HeaderValue::from_str(&timing.header()) {
        headers.insert(SERVER_TIMING, value);
    }
}
