//! Changes of records by people: reviews, deletions and restores.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use strum::VariantNames;
use utoipa::ToSchema;

use super::{
    Api,
    access::Principal,
    body::BodyKind,
    change_routes::Action,
    media_types::{JSON, check_content_type},
    parameters::{Segment, record_id},
    photos::parse_json,
    preconditions::Precondition,
    problem::{Kind, Problem},
    record_routes::{label, record_response},
};
use crate::{
    aws::Deadline,
    model::Label,
    object::ObjectId,
    records::{Change, ChangeError, Note, Record, RecordJson, ReviewVerdict},
};

/// Bytes of one change as JSON: a note has 2,000, each of which may be written as `\u00e4`.
pub(super) const MAX_CHANGE_BYTES: u64 = 16 << 10;

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

/// The revision that a record must have, so that a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ExpectedRevision {
    /// The request says nothing. A review of somebody else is a conflict.
    NotGiven,
    /// The one that it has now: `If-Match: *`.
    Current,
    /// This one.
    Exactly(u64),
}

impl From<Option<u64>> for ExpectedRevision {
    fn from(revision: Option<u64>) -> Self {
        revision.map_or(Self::NotGiven, Self::Exactly)
    }
}

impl TryFrom<Precondition> for ExpectedRevision {
    type Error = Problem;

    fn try_from(precondition: Precondition) -> Result<Self, Problem> {
        match precondition {
            Precondition::None => Ok(Self::NotGiven),
            Precondition::Exists => Ok(Self::Current),
            Precondition::Tag(tag) => tag.parse().map(Self::Exactly).map_err(|_| {
                Problem::malformed(
                    "If-Match is not the ETag of a record: send the ETag of GET /v1/records/{id}",
                )
            }),
            Precondition::Absent => Err(Problem::malformed(
                "If-None-Match has no meaning here, because the record exists: send If-Match",
            )),
        }
    }
}

/// A change whose class and note were checked.
pub(super) struct CheckedChange {
    change: Change,
    note: Option<Note>,
}

impl Api {
    /// Changes the record `id` in the name of `principal`.
    pub(super) async fn change(
        &self,
        principal: &Principal,
        id: ObjectId,
        CheckedChange { change, note }: &CheckedChange,
        expected: ExpectedRevision,
        deadline: Deadline,
    ) -> Result<Record, Problem> {
        let ledger = &self.store()?.ledger;
        principal.must_see_all()?;
        let revision = match expected {
            ExpectedRevision::NotGiven => None,
            ExpectedRevision::Exactly(revision) => Some(revision),
            ExpectedRevision::Current => Some(ledger.record(id, deadline).await?.revision),
        };
        let changed = ledger.change(
            id,
            change,
            &principal.name,
            note.as_ref(),
            revision,
            deadline,
        );
        changed.await.map_err(|error| match (error, expected) {
            // Without a revision, the later of two reviews gets 409. With one, its precondition has failed: 412.
            (error @ ChangeError::Conflict { .. }, ExpectedRevision::Exactly(_)) => {
                Problem::from(error).of_kind(Kind::RevisionMismatch)
            }
            (error, _) => error.into(),
        })
    }

    /// Fails if `class` looks like a misspelt class: neither a model nor a record has it.
    pub(super) async fn check_class(
        &self,
        class: &Label,
        deadline: Deadline,
    ) -> Result<(), Problem> {
        if *class == Label::unknown() || *class == Label::not_a_moth() {
            return Ok(());
        }
        let serving = self.models.loaded()?;
        let labels = serving
            .all()
            .flat_map(|named| named.manifest().labels.iter().cloned());
        let mut classes: BTreeSet<Label> = labels.collect();
        classes.extend(self.store()?.ledger.classes(deadline).await?);
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

    /// Checks a change that a request describes. `is_new` allows a class that neither a model nor a record has.
    pub(super) async fn check_change(
        &self,
        action: Action,
        class_name: Option<String>,
        is_new: bool,
        note: Option<String>,
        deadline: Deadline,
    ) -> Result<CheckedChange, Problem> {
        let class = class_name
            .map(|class| label("className", class))
            .transpose()?;
        let verdict = |verdict| Change::Review(verdict);
        let change = match (action, class) {
            (Action::Relabel, Some(class)) => {
                if !is_new {
                    let checked = self.check_class(&class, deadline).await;
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
        Ok(CheckedChange { change, note })
    }
}

fn not_possible(detail: &str) -> Problem {
    Problem::new(Kind::NotPossible, detail)
}

/// A change without class and note.
fn plain(change: Change) -> CheckedChange {
    CheckedChange { change, note: None }
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
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_content_type(&headers, JSON)?;
    principal.must_see_all()?;
    let id = record_id(&id)?;
    let received = api
        .receive(&headers, body, BodyKind::Document(MAX_CHANGE_BYTES))
        .await?;
    let review: ReviewBody = parse_json(&received.bytes)?;
    let expected = Precondition::of(&headers)?.try_into()?;
    let action = match review.verdict {
        Verdict::Confirm => Action::Confirm,
        Verdict::Relabel => Action::Relabel,
        Verdict::Unknown => Action::Unknown,
    };
    let deadline = api.deadline();
    let change = api.check_change(
        action,
        review.class_name,
        review.new_class,
        review.note,
        deadline,
    );
    let change = change.await?;
    let record = api
        .change(&principal, id, &change, expected, deadline)
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
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (id, expected) = (record_id(&id)?, Precondition::of(&headers)?.try_into()?);
    let withdraw = plain(Change::Withdraw);
    let record = api
        .change(&principal, id, &withdraw, expected, api.deadline())
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
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let (id, expected) = (record_id(&id)?, Precondition::of(&headers)?.try_into()?);
    let delete = plain(Change::Delete);
    api.change(&principal, id, &delete, expected, api.deadline())
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
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let id = record_id(&id)?;
    let restore = plain(Change::Restore);
    let record = api
        .change(
            &principal,
            id,
            &restore,
            ExpectedRevision::NotGiven,
            api.deadline(),
        )
        .await?;
    Ok(record_response(&record))
}
