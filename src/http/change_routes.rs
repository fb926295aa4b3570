//! `/v1/reviews`: changes of several records, each with its own outcome.

use std::sync::Arc;

use axum::{Extension, Json, body::Body, extract::State, http::HeaderMap};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api,
    access::{Principal, Role},
    body::BodyKind,
    media_types::{JSON, check_content_type},
    parameters::{record_id, whole_or_none},
    photos::parse_json,
    problem::Problem,
    review_routes::MAX_CHANGE_BYTES,
};
use crate::{
    aws::Deadline,
    records::{Record, RecordJson},
};

/// Highest number of changes in one request.
const MAX_CHANGES: usize = 100;

/// Changes of several records.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Changes)]
pub(super) struct ChangesBody {
    /// The changes, in the order in which they are made.
    #[schema(min_items = 1, max_items = 100)]
    changes: Vec<ChangeBody>,
}

/// A change of one record. What is wrong with it is in its outcome.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Change)]
struct ChangeBody {
    /// UUID of the photo, or a class, a hyphen and the UUID.
    id: String,
    /// What to do. Only an admin may delete and restore.
    action: Action,
    /// The class, if the action is relabel.
    class_name: Option<String>,
    /// Whether `className` may be a class that neither a model nor a record has.
    #[serde(default)]
    new_class: bool,
    /// Why, for the history.
    note: Option<String>,
    /// The revision that the caller has seen. Needed to change what somebody else reviewed.
    #[serde(default, deserialize_with = "whole_or_none")]
    revision: Option<u64>,
}

/// What happens to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Confirm,
    Relabel,
    Unknown,
    Withdraw,
    Delete,
    Restore,
}

/// The outcomes of changes, in their order.
#[derive(Serialize, ToSchema)]
pub(super) struct Outcomes {
    items: Vec<OutcomeItem>,
}

/// The outcome of one change.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OutcomeItem {
    /// Position of the change, from 0.
    index: usize,
    /// Its id, as it was sent.
    id: String,
    /// The status that the change alone would have had.
    #[schema(minimum = 200, maximum = 599)]
    status: u16,
    /// The record afterwards; a deleted one as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RecordJson>)]
    record: Option<Record>,
    /// Why the record was not changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<super::problem::ProblemJson>)]
    problem: Option<Problem>,
}

/// Change several records
///
/// Each change has its own outcome: one that cannot be made takes no other with it.
#[utoipa::path(post, path = "/v1/reviews", tag = "Reviews", operation_id = "changeRecords",
    request_body = ChangesBody,
    responses((status = 200, description = "One outcome for each change", body = Outcomes)))]
pub(super) async fn change_many(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Outcomes>, Problem> {
    check_content_type(&headers, JSON)?;
    principal.must_see_all()?;
    let limit = MAX_CHANGES as u64 * MAX_CHANGE_BYTES;
    let received = api
        .receive(&headers, body, BodyKind::Document(limit))
        .await?;
    let ChangesBody { changes } = parse_json(&received.bytes)?;
    if !(1..=MAX_CHANGES).contains(&changes.len()) {
        return Err(Problem::malformed(format!(
            "there are {} changes, not 1 to {MAX_CHANGES}",
            changes.len()
        )));
    }
    api.store()?;
    let mut items = Vec::with_capacity(changes.len());
    // All of them together have the time of one request.
    let deadline = api.deadline();
    // One after the other: two changes of one record have an order.
    for (index, change) in changes.into_iter().enumerate() {
        let id = change.id.clone();
        let (status, record, problem) = match one(&api, &principal, change, deadline).await {
            Ok(record) => (200, Some(record), None),
            Err(problem) => (problem.status().as_u16(), None, Some(problem)),
        };
        items.push(OutcomeItem {
            index,
            id,
            status,
            record,
            problem,
        });
    }
    Ok(Json(Outcomes { items }))
}

async fn one(
    api: &Api,
    principal: &Principal,
    body: ChangeBody,
    deadline: Deadline,
) -> Result<Record, Problem> {
    let id = record_id(&body.id)?;
    if matches!(body.action, Action::Delete | Action::Restore) {
        principal.must_have(Role::Admin)?;
    }
    let change = api.check_change(
        body.action,
        body.class_name,
        body.new_class,
        body.note,
        deadline,
    );
    let change = change.await?;
    api.change(principal, id, &change, body.revision.into(), deadline)
        .await
}
