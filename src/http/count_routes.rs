//! `/v1/counts`, `/v1/rejections` and `/v1/drift`: what happened on some days.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Extension, Json, extract::State};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    access::Principal,
    models::Models,
    parameters::Parameters,
    problem::Problem,
    record_routes::{label, texts},
};
use crate::records::{
    By, Confidences, DEFAULT_DAYS, DayCounts, Drift, MAX_REJECTIONS, Rejected, RejectedJson,
    Rejections, Span,
};

/// Which days to count.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CountParameters {
    /// First night or date. By default 29 days before the last.
    from: Option<NaiveDate>,
    /// Last night or date, at most 365 days after the first. By default today.
    to: Option<NaiveDate>,
    /// Whether days are trap nights, which is the default, or dates of upload.
    #[param(inline)]
    by: Option<By>,
    /// Only this effective class.
    #[param(min_length = 1, max_length = 100, example = "FAW")]
    class: Option<String>,
    /// Only this station. Its records are read one by one.
    station: Option<String>,
}

/// Numbers of records.
#[derive(Serialize, ToSchema)]
pub(super) struct Counts {
    /// What the days are.
    by: By,
    /// Every day, the first one first. A day without photos has the total 0.
    days: Vec<Day>,
}

/// Numbers of records of one day.
#[derive(Serialize, ToSchema)]
struct Day {
    /// The night or date.
    day: NaiveDate,
    /// All records.
    total: u64,
    /// Records by effective class. A class without records is absent.
    classes: BTreeMap<String, u64>,
}

impl From<DayCounts> for Day {
    fn from(counts: DayCounts) -> Self {
        let total = counts.total();
        let classes = counts.classes.into_iter();
        Self {
            day: counts.day,
            total,
            classes: classes
                .map(|(class, number)| (class.to_string(), number))
                .collect(),
        }
    }
}

/// Count records by night or date
///
/// A reviewer's class counts before the model's. Deleted records do not count.
#[utoipa::path(get, path = "/v1/counts", tag = "Counts", operation_id = "countRecords",
    params(CountParameters),
    responses((status = 200, description = "One item for each day", body = Counts)))]
pub(super) async fn counts(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<CountParameters>,
) -> Result<Json<Counts>, Problem> {
    let store = api.store()?;
    let by = parameters.by.unwrap_or(By::Night);
    let (from, to) = (parameters.from, parameters.to);
    let span = Span::with_defaults(by, from, to, DEFAULT_DAYS, store.today())?;
    let class = parameters.class.map(|class| label("class", class));
    let class = class.transpose()?;
    let deadline = api.deadline();
    if let Some(class) = &class {
        api.check_class(class, deadline).await?;
    }
    let mut days = match principal.station_of(parameters.station)? {
        Some(station) => {
            let _permit = api.admission.read_long()?;
            let counts = store.ledger.counts_of_station(span, &station, || deadline);
            counts.await?
        }
        None => store.ledger.counts(span, deadline).await?,
    };
    if let Some(only) = class {
        for day in &mut days {
            day.classes.retain(|class, _| *class == only);
        }
    }
    Ok(Json(Counts {
        by,
        days: days.into_iter().map(Day::from).collect(),
    }))
}

/// Which rejected photos to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RejectionParameters {
    /// First date of upload. By default 29 days before the last.
    from: Option<NaiveDate>,
    /// Last date of upload. By default today.
    to: Option<NaiveDate>,
    /// Highest number of photos in the response.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    limit: Option<usize>,
}

/// Number of rejected photos without `limit`.
const DEFAULT_REJECTIONS: usize = 200;

/// Photos that were refused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RejectionList {
    /// The photos, the latest first.
    #[schema(value_type = Vec<RejectedJson>)]
    rejections: Vec<Rejected>,
    /// Whether these are all. If not, ask for earlier days.
    is_complete: bool,
    /// Items that cannot be read.
    damaged: Vec<String>,
}

/// List rejected photos
#[utoipa::path(get, path = "/v1/rejections", tag = "Counts", operation_id = "listRejections",
    params(RejectionParameters),
    responses((status = 200, description = "The photos, and why they were refused", body = RejectionList)))]
pub(super) async fn rejections(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<RejectionParameters>,
) -> Result<Json<RejectionList>, Problem> {
    principal.must_see_all()?;
    let store = api.store()?;
    let (from, to) = (parameters.from, parameters.to);
    let span = Span::with_defaults(By::Date, from, to, DEFAULT_DAYS, store.today())?;
    let limit = parameters.limit.unwrap_or(DEFAULT_REJECTIONS);
    if !(1..=MAX_REJECTIONS).contains(&limit) {
        return Err(Problem::malformed(format!(
            "limit is {limit}, not 1 to {MAX_REJECTIONS}"
        )));
    }
    let Rejections { photos, damaged } =
        store.ledger.rejections(span, limit, api.deadline()).await?;
    Ok(Json(RejectionList {
        is_complete: photos.len() < limit,
        rejections: photos,
        damaged: texts(&damaged),
    }))
}

/// Which dates to compare.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DriftParameters {
    /// First date of upload. By default 29 days before the last.
    from: Option<NaiveDate>,
    /// Last date of upload. By default today.
    to: Option<NaiveDate>,
}

/// What the model versions did.
#[derive(Serialize, ToSchema)]
pub(super) struct DriftList {
    /// One item for each model version with records in these days.
    models: Vec<Drift>,
}

/// Compare each model version with its reference, and with its reviewers
#[utoipa::path(get, path = "/v1/drift", tag = "Models", operation_id = "getDrift",
    params(DriftParameters),
    responses((status = 200, description = "Confidence now and before, and confusion from reviews", body = DriftList)))]
pub(super) async fn drift(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<DriftParameters>,
) -> Result<Json<DriftList>, Problem> {
    principal.must_see_all()?;
    let store = api.store()?;
    let (from, to) = (parameters.from, parameters.to);
    let span = Span::with_defaults(By::Date, from, to, DEFAULT_DAYS, store.today())?;
    let references = references(&api.models)?;
    let models = store
        .ledger
        .drift(span, &references, api.deadline())
        .await?;
    Ok(Json(DriftList { models }))
}

/// The references in the manifests of the models that serve, by model version.
fn references(models: &Models) -> Result<BTreeMap<String, Confidences>, Problem> {
    let serving = models.loaded()?;
    let references = serving.all().filter_map(|named| {
        let manifest = named.manifest();
        let reference = manifest.reference.as_ref()?;
        let confidences = Confidences {
            bins: reference.bins,
            unknown: reference.unknown,
        };
        Some((manifest.model_version().to_owned(), confidences))
    });
    Ok(references.collect())
}
