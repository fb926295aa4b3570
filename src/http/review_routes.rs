//! Changes of records by people: reviews, deletions and restores.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::{Deserialize, Serialize};
use strum::VariantNames;
use utoipa::ToSchema;

use super::{
    Api,
    access::{Principal, Role},
    parameters::{record_id, whole_or_none},
    photos::parse_json,
    problem::{Kind, Problem},
    record_routes::{label, record_response},
};
use crate::{
    aws::Deadline,
    model::Label,
    object::ObjectId,
    records::{Change, ChangeError, Note, Record, RecordJson, ReviewVerdict},
};

/// Highest number of changes in one request.
const MAX_CHANGES: usize = 100;
/// Bytes of one change as JSON: a note has 2,000, each of which may be written as `\u00e4`.
const MAX_CHANGE_BYTES: u64 = 16 << 10;

/// What a reviewer says about a record.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Review)]
pub(super) struct ReviewBody {
    /// confirm: the model is right. relabel: it is `className`. unknown: nobody can tell.
    verdict: Verdict,
    /// The class, if the verdict is relabel. NOT_A_MOTH says that the photo shows no moth.
    #[schema(min_length = 1, max_length = 100, example = "ECLW")]
    class_name: Option<String>,
    /// Whether `className` may be a class that neither a model nor a record has.
    #[serde(default)]
    new_class: bool,
    /// Why, for the history.
    #[schema(min_length = 1, max_length = 2000)]
    note: Option<String>,
}

/// A verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema, VariantNames)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Confirm,
    Relabel,
    Unknown,
}

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
enum Action {
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

/// What the caller knows about the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing.
    Nothing,
    /// It may have any revision: `If-Match: *`.
    Any,
    /// It has this revision.
    Revision(u64),
}

impl Seen {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(value) = headers.get(header::IF_MATCH) else {
            return Ok(Self::Nothing);
        };
        let text = value.to_str().unwrap_or("").trim();
        if text == "*" {
            return Ok(Self::Any);
        }
        // Some clients forget the quotes.
        let quoted = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        let revision = quoted.unwrap_or(text).parse().ok();
        revision.map(Self::Revision).ok_or_else(|| {
            Problem::malformed("If-Match is no ETag of a record: take that of GET /v1/records/{id}")
        })
    }
}

/// A change that is ready to be made.
struct Ready {
    change: Change,
    note: Option<Note>,
}

impl Api {
    /// Makes a change.
    async fn change(
        &self,
        principal: &Principal,
        id: ObjectId,
        ready: &Ready,
        seen: Seen,
        deadline: Deadline,
    ) -> Result<Record, Problem> {
        let ledger = &self.store()?.ledger;
        principal.must_see_all()?;
        let expected = match seen {
            Seen::Nothing => None,
            Seen::Revision(revision) => Some(revision),
            Seen::Any if ready.change == Change::Restore => None,
            Seen::Any => Some(ledger.record(id, deadline).await?.revision),
        };
        let change = ledger.change(
            id,
            &ready.change,
            &principal.name,
            ready.note.as_ref(),
            expected,
            deadline,
        );
        change.await.map_err(|error| match (error, seen) {
            // Of two reviews at once, one is 409. With a revision it is a failed precondition.
            (error @ ChangeError::Conflict { .. }, Seen::Revision(_)) => {
                Problem::from(error).of_kind(Kind::RevisionMismatch)
            }
            (error, _) => error.into(),
        })
    }

    /// Fails if `class` looks like a misspelt class: neither a model nor a record has it.
    pub(super) async fn check_class(&self, class: &Label) -> Result<(), Problem> {
        if *class == Label::unknown() || *class == Label::not_a_moth() {
            return Ok(());
        }
        let serving = self.models.serving();
        let labels = serving.iter().flat_map(|serving| serving.all());
        let labels = labels.flat_map(|named| named.manifest().labels.iter().cloned());
        let mut classes: BTreeSet<Label> = labels.collect();
        classes.extend(self.store()?.ledger.classes(self.deadline()).await?);
        if classes.contains(class) {
            return Ok(());
        }
        let classes: Vec<&str> = classes.iter().map(Label::as_str).collect();
        Err(Problem::new(
            Kind::NotPossible,
            format!(
                "no model and no record has the class {class}. Classes: {}",
                classes.join(", ")
            ),
        ))
    }

    async fn ready(
        &self,
        action: Action,
        class_name: Option<String>,
        is_new: bool,
        note: Option<String>,
    ) -> Result<Ready, Problem> {
        let class = class_name
            .map(|class| label("className", class))
            .transpose()?;
        let verdict = |verdict| Change::Review(verdict);
        let change = match (action, class) {
            (Action::Relabel, Some(class)) => {
                if !is_new {
                    let checked = self.check_class(&class).await;
                    checked.map_err(|problem| problem.and("Send newClass if it is a new one"))?;
                }
                verdict(ReviewVerdict::Relabel(class))
            }
            (Action::Relabel, None) => {
                return Err(not_possible("relabel needs className"));
            }
            (_, Some(_)) => {
                return Err(not_possible("className is for relabel alone"));
            }
            (Action::Confirm, None) => verdict(ReviewVerdict::Confirm),
            (Action::Unknown, None) => verdict(ReviewVerdict::Unknown),
            (Action::Withdraw, None) => Change::Withdraw,
            (Action::Delete, None) => Change::Delete,
            (Action::Restore, None) => Change::Restore,
        };
        let note = note.map(|note| note.parse()).transpose()?;
        Ok(Ready { change, note })
    }
}

fn not_possible(detail: &str) -> Problem {
    Problem::new(Kind::NotPossible, detail)
}

/// A change without class and note.
fn plain(change: Change) -> Ready {
    Ready { change, note: None }
}

/// Fails unless the body is JSON: a form of another site cannot send that.
pub(super) fn check_json(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim();
    match essence.eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::UnsupportedMediaType,
            "send JSON, with Content-Type: application/json",
        )),
    }
}

/// Review a record
///
/// What the model said stays in the record. `If-Match` names the revision that the reviewer has seen.
#[utoipa::path(put, path = "/v1/records/{id}/review", tag = "Reviews", operation_id = "putReview",
    params(
        ("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID"),
        ("If-Match" = Option<String>, Header, description = "ETag of the record, or *", pattern = r#"^("[0-9]{1,9}"|\*)$"#, nullable = false),
    ),
    request_body = ReviewBody,
    responses((status = 200, description = "The record afterwards", body = RecordJson<'static>)))]
pub(super) async fn put_review(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_json(&headers)?;
    let id = record_id(&id)?;
    let received = api.receive(&headers, body, MAX_CHANGE_BYTES).await?;
    let review: ReviewBody = parse_json(&received.bytes)?;
    let seen = Seen::of(&headers)?;
    let action = match review.verdict {
        Verdict::Confirm => Action::Confirm,
        Verdict::Relabel => Action::Relabel,
        Verdict::Unknown => Action::Unknown,
    };
    let ready = api
        .ready(action, review.class_name, review.new_class, review.note)
        .await?;
    let record = api
        .change(&principal, id, &ready, seen, api.deadline())
        .await?;
    Ok(record_response(&record))
}

/// Take a review back
#[utoipa::path(delete, path = "/v1/records/{id}/review", tag = "Reviews", operation_id = "deleteReview",
    params(
        ("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID"),
        ("If-Match" = Option<String>, Header, description = "ETag of the record, or *", pattern = r#"^("[0-9]{1,9}"|\*)$"#, nullable = false),
    ),
    responses((status = 200, description = "The record afterwards", body = RecordJson<'static>)))]
pub(super) async fn delete_review(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, seen) = (record_id(&id)?, Seen::of(&headers)?);
    let record = api
        .change(
            &principal,
            id,
            &plain(Change::Withdraw),
            seen,
            api.deadline(),
        )
        .await?;
    Ok(record_response(&record))
}

/// Delete a record
///
/// The photo stays, and is not counted again. The record can be restored within 30 days.
#[utoipa::path(delete, path = "/v1/records/{id}", tag = "Records", operation_id = "deleteRecord",
    params(
        ("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID"),
        ("If-Match" = Option<String>, Header, description = "ETag of the record, or *", pattern = r#"^("[0-9]{1,9}"|\*)$"#, nullable = false),
    ),
    responses((status = 204, description = "It is deleted")))]
pub(super) async fn delete_record(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (id, seen) = (record_id(&id)?, Seen::of(&headers)?);
    api.change(&principal, id, &plain(Change::Delete), seen, api.deadline())
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restore a deleted record
#[utoipa::path(post, path = "/v1/records/{id}/restore", tag = "Records", operation_id = "restoreRecord",
    params(("id" = String, Path, description = "UUID of the photo, or a class, a hyphen and the UUID")),
    responses((status = 200, description = "The record", body = RecordJson<'static>)))]
pub(super) async fn restore(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = record_id(&id)?;
    let restore = plain(Change::Restore);
    let record = api
        .change(&principal, id, &restore, Seen::Nothing, api.deadline())
        .await?;
    Ok(record_response(&record))
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
    check_json(&headers)?;
    let limit = MAX_CHANGES as u64 * MAX_CHANGE_BYTES;
    let received = api.receive(&headers, body, limit).await?;
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
    let ready = api
        .ready(body.action, body.class_name, body.new_class, body.note)
        .await?;
    let seen = body.revision.map_or(Seen::Nothing, Seen::Revision);
    api.change(principal, id, &ready, seen, deadline).await
}
