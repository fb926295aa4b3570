//! `/v1/classify`, `/v1/classify/batch` and their aliases. Nothing is stored or counted.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderName},
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    access::Principal,
    body::BodyKind,
    classification::{Classification, ClassifiedPhoto, DEFAULT_TOP, Timing},
    models::NamedModel,
    parameters::{Parameters, Segment},
    photo_schemas::{BatchFormSchema, BatchSchema, FileBytes, FormSchema, PhotoSchema},
    photos::{self, BodyOptions, PhotoCount, PhotoSource},
    problem::{Kind, Problem, ProblemJson},
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
    /// Number of predictions in the response.
    #[param(minimum = 1, maximum = 1000, default = 5)]
    top: Option<u64>,
    /// Name of the model.
    model: Option<String>,
}

/// The outcomes of a batch, in the order of its photos.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batch {
    items: Vec<BatchItem>,
}

/// The outcome of one photo of a batch.
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
/// `/v1/classify` with the model in the path.
#[utoipa::path(
    post, path = "/v1/models/{model}/classify", tag = "Classify", operation_id = "classifyWithModel",
    params(
        ("model" = String, Path, description = "Name of the model", example = "model"),
        ("top" = Option<usize>, Query, description = "Number of predictions in the response", minimum = 1, maximum = 1000),
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
            "the path and the parameter `model` name two models: send one of them",
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
    photos::check_content(headers, PhotoCount::One)?;
    let limit = encoded(api.settings.max_photo) + SLACK;
    let mut received = api.receive(headers, body, BodyKind::Photos(limit)).await?;
    let (photo, options) = photos::read_one(headers, &mut received).await?;
    let ClassifyOptions { model, top } = ClassifyOptions::of(api, parameters, options)?;
    let _permit = api.admission.enter(1)?;
    let classified = classify_photo(api, principal, model, photo).await?;
    drop(received.memory);
    let headers = timing_headers(classified.timing);
    Ok((headers, Json(classified.classification(top))).into_response())
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
    photos::check_content(&headers, PhotoCount::Batch)?;
    let mut received = api
        .receive(&headers, body, BodyKind::Photos(MAX_BATCH_BYTES))
        .await?;
    let (photos, options) = photos::read_batch(&headers, &mut received).await?;
    let choice = ClassifyOptions::of(&api, parameters, options)?;
    let _permits = api.admission.enter(photos.len())?;
    let items = photos.into_iter().enumerate().map(|(index, photo)| {
        let (api, principal, model) = (&api, &principal, Arc::clone(&choice.model));
        async move {
            let name = match &photo {
                PhotoSource::Bytes { name, .. } => name.clone(),
                PhotoSource::Object(object) => Some(object.key.clone()),
                PhotoSource::Unreadable(_) => None,
            };
            let result = classify_photo(api, principal, model, photo).await;
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
        result: Result<ClassifiedPhoto, Problem>,
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

/// The model that classifies, and the number of its predictions in the response.
struct ClassifyOptions {
    model: Arc<NamedModel>,
    top: usize,
}

impl ClassifyOptions {
    /// The options in the query and in the body.
    fn of(api: &Api, parameters: ClassifyParameters, body: BodyOptions) -> Result<Self, Problem> {
        let model = one_of("model", parameters.model, body.model)?;
        let top = one_of("top", parameters.top, body.top)?.unwrap_or(DEFAULT_TOP);
        if !(1..=MAX_TOP).contains(&top) {
            return Err(Problem::malformed(format!(
                "top is {top}, not 1 to {MAX_TOP}"
            )));
        }
        Ok(Self {
            model: api.models.find(model.as_deref())?,
            // At most MAX_TOP.
            top: top as usize,
        })
    }
}

/// The option `name`, which query and body must not give different values.
fn one_of<T: PartialEq>(
    name: &str,
    query: Option<T>,
    body: Option<T>,
) -> Result<Option<T>, Problem> {
    match (query, body) {
        (Some(query), Some(body)) if query != body => Err(Problem::new(
            Kind::NotPossible,
            format!("the query and the body have different values of {name}: send one of them"),
        )),
        (query, body) => Ok(query.or(body)),
    }
}

async fn classify_photo(
    api: &Api,
    principal: &Principal,
    model: Arc<NamedModel>,
    photo: PhotoSource,
) -> Result<ClassifiedPhoto, Problem> {
    match photo {
        PhotoSource::Bytes { bytes, .. } => api.compute(model, bytes).await,
        PhotoSource::Unreadable(problem) => Err(problem),
        PhotoSource::Object(object) => {
            // Held until the photo is classified.
            let _permit = api.admission.fetch().await;
            let photo = api.object(principal, &object).await?;
            api.compute(model, photo).await
        }
    }
}

/// Bytes of `bytes` in base64.
fn encoded(bytes: u64) -> u64 {
    bytes.div_ceil(3).saturating_mul(4)
}

fn timing_headers(timing: Timing) -> [(HeaderName, String); 2] {
    let cache = if timing.is_hit { "hit" } else { "miss" };
    [
        (X_CACHE, cache.to_owned()),
        (SERVER_TIMING, timing.header()),
    ]
}
