//! `/v1/records`: lists, single records, and their history.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use chrono::{NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Api,
    access::Principal,
    parameters::{Parameters, Segment, record_id},
    preconditions::etag,
    problem::{Kind, Problem},
    store::Store,
};
use crate::{
    aws::Deadline,
    error::{Error, chain},
    model::Label,
    object::ObjectId,
    records::{
        By, ChangeError, Cursor, DEFAULT_DAYS, Filter, HistoryEntry, MAX_DAYS, Order, Query,
        Record, RecordJson, ReviewFilter, Span,
    },
};

/// Highest number of records in a page.
const MAX_LIMIT: usize = 200;
/// Number of records in a page without `limit`.
const DEFAULT_LIMIT: usize = 50;

/// Which records to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParameters {
    /// First night or date. By default 29 days before the last, and in the order leastCertain a year.
    from: Option<NaiveDate>,
    /// Last night or date. By default today.
    to: Option<NaiveDate>,
    /// Whether days are trap nights, which is the default, or dates of upload.
    #[param(inline)]
    by: Option<By>,
    /// The effective class.
    #[param(min_length = 1, max_length = 100, example = "FAW")]
    class: Option<String>,
    /// The station.
    station: Option<String>,
    /// The review.
    #[param(inline)]
    review: Option<ReviewFilter>,
    /// The lowest probability.
    #[param(minimum = 0, maximum = 1)]
    min_probability: Option<f32>,
    /// The highest probability.
    #[param(minimum = 0, maximum = 1)]
    max_probability: Option<f32>,
    /// The model version.
    model: Option<String>,
    /// The order. newest is the default.
    #[param(inline)]
    order: Option<Order>,
    /// Highest number of records in the response.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<usize>,
    /// `nextCursor` of a response with the same parameters.
    cursor: Option<String>,
}

/// A page of records.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordPage {
    /// The records.
    #[schema(value_type = Vec<RecordJson>)]
    records: Vec<Record>,
    /// Where the list goes on; null at its end. A page may be short, or empty, and still go on.
    next_cursor: Option<String>,
    /// Records that cannot be read.
    damaged: Vec<String>,
}

/// The changes of a record.
#[derive(Serialize, ToSchema)]
pub(super) struct History {
    /// Every change by a person, the first one first.
    history: Vec<HistoryEntry>,
}

impl Store {
    /// The date in TIME_ZONE.
    pub(super) fn today(&self) -> NaiveDate {
        Utc::now().with_timezone(&self.rules.time_zone).date_naive()
    }
}

/// Reads a class.
pub(super) fn label(name: &str, text: String) -> Result<Label, Problem> {
    Label::try_from(text)
        .map_err(|error| Problem::new(Kind::NotPossible, format!("{name}: {error}")))
}

/// Checks a probability.
pub(super) fn probability(name: &str, value: Option<f32>) -> Result<Option<f32>, Problem> {
    match value {
        Some(value) if !(0.0..=1.0).contains(&value) => {
            Err(Problem::malformed(format!("{name} is {value}, not 0 to 1")))
        }
        _ => Ok(value),
    }
}

impl Principal {
    /// The station of a list that `asked` for one: a key of a station sees no other.
    pub(super) fn station_of(&self, asked: Option<String>) -> Result<Option<String>, Problem> {
        match (&self.station, asked) {
            (Some(own), Some(asked)) if *own != asked => Err(self.other_station()),
            (Some(own), _) => Ok(Some(own.clone())),
            (None, asked) => Ok(asked),
        }
    }

    /// Fails for a key of a station, which may not see what concerns all stations.
    pub(super) fn must_see_all(&self) -> Result<(), Problem> {
        match &self.station {
            Some(_) => Err(self.other_station()),
            None => Ok(()),
        }
    }

    /// Fails for a key of another station than that of `record`.
    pub(super) fn must_see(&self, record: &Record) -> Result<(), Problem> {
        match &self.station {
            Some(own) if record.station.as_ref() != Some(own) => Err(self.other_station()),
            _ => Ok(()),
        }
    }

    pub(super) fn other_station(&self) -> Problem {
        Problem::new(
            Kind::Forbidden,
            format!("{} may use its own station only", self.name),
        )
    }
}

impl ListParameters {
    fn query(&self, principal: &Principal, store: &Store) -> Result<Query, Problem> {
        let order = self.order.unwrap_or(Order::Newest);
        let days = match (order, self.from.or(self.to)) {
            (Order::LeastCertain, None) => MAX_DAYS,
            _ => DEFAULT_DAYS,
        };
        let by = self.by.unwrap_or(By::Night);
        let class = self.class.clone();
        Ok(Query {
            span: Span::with_defaults(by, self.from, self.to, days, store.today())?,
            filter: Filter {
                class: class.map(|class| label("class", class)).transpose()?,
                station: principal.station_of(self.station.clone())?,
                review: self.review,
                min_probability: probability("minProbability", self.min_probability)?,
                max_probability: probability("maxProbability", self.max_probability)?,
                model_version: self.model.clone(),
            },
            order,
        })
    }
}

/// List records
#[utoipa::path(get, path = "/v1/records", tag = "Records", operation_id = "listRecords",
    params(ListParameters),
    responses((status = 200, description = "A page of records", body = RecordPage)))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Parameters(parameters): Parameters<ListParameters>,
) -> Result<Json<RecordPage>, Problem> {
    let store = api.store()?;
    let query = parameters.query(&principal, store)?;
    let deadline = api.deadline();
    if let Some(class) = &query.filter.class {
        api.check_class(class, deadline).await?;
    }
    let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::malformed(format!(
            "limit is {limit}, not 1 to {MAX_LIMIT}"
        )));
    }
    let cursor: Option<Cursor> = match parameters.cursor.as_deref() {
        None | Some("") => None,
        Some(text) => Some(text.parse()?),
    };
    let page = store
        .ledger
        .records(&query, limit, cursor, deadline)
        .await?;
    Ok(Json(RecordPage {
        records: page.records,
        next_cursor: page.next.map(|cursor| cursor.to_string()),
        damaged: texts(&page.damaged),
    }))
}

/// Errors as texts of a response.
pub(super) fn texts(errors: &[Error]) -> Vec<String> {
    errors.iter().map(|error| chain(error)).collect()
}

impl Api {
    /// A record that `principal` may see.
    pub(super) async fn record(
        &self,
        id: ObjectId,
        principal: &Principal,
        deadline: Deadline,
    ) -> Result<Record, Problem> {
        let record = self.store()?.ledger.record(id, deadline).await;
        let record = record.map_err(|error| match (&principal.station, error) {
            (_, error @ ChangeError::Ledger(_)) | (None, error) => error.into(),
            // Nobody knows whose it was.
            (Some(_), _) => principal.other_station(),
        })?;
        principal.must_see(&record)?;
        Ok(record)
    }
}

/// A record as a response. Its `ETag` is the revision.
pub(super) fn record_response(record: &Record) -> Response {
    ([(header::ETAG, etag(record.revision))], Json(record)).into_response()
}

/// Read a record
///
/// Its `ETag` is the revision, for `If-Match`.
#[utoipa::path(get, path = "/v1/records/{id}", tag = "Records", operation_id = "getRecord",
    params(("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID")),
    responses((status = 200, description = "The record", body = RecordJson<'static>)))]
pub(super) async fn get(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let record = api
        .record(record_id(&id)?, &principal, api.deadline())
        .await?;
    Ok(record_response(&record))
}

/// Read the history of a record
///
/// A deleted record has its history too.
#[utoipa::path(get, path = "/v1/records/{id}/history", tag = "Records", operation_id = "getHistory",
    params(("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID")),
    responses((status = 200, description = "Every change by a person", body = History)))]
pub(super) async fn history(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Segment(id): Segment,
) -> Result<Json<History>, Problem> {
    let id = record_id(&id)?;
    let deadline = api.deadline();
    if principal.station.is_some() {
        api.record(id, &principal, deadline).await?;
    }
    let history = api.store()?.ledger.history(id, deadline).await?;
    Ok(Json(History { history }))
}
