//! Changes of records by people: reviews, deletions and restores.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use serde::Deserialize;
use strum::VariantNames;
use utoipa::ToSchema;

use super::{
    Api,
    access::Principal,
    change_routes::Action,
    parameters::{Segment, record_id},
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

/// What the caller knows about the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nothing.
    Nothing,
    /// It may have any revision: `If-Match: *`.
    Any,
    /// It has this revision.
    Revision(u64),
}

impl Seen {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::IF_MATCH).iter();
        let (Some(value), more) = (values.next(), values.next()) else {
            return Ok(Self::Nothing);
        };
        if more.is_some() {
            return Err(Problem::malformed(
                "there are two If-Match headers: send one",
            ));
        }
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
pub(super) struct Ready {
    change: Change,
    note: Option<Note>,
}

impl Api {
    /// Makes a change.
    pub(super) async fn change(
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

    pub(super) async fn ready(
        &self,
        action: Action,
        class_name: Option<String>,
        is_new: bool,
        note: Option<String>,
        deadline: Deadline,
    ) -> Result<Ready, Problem> {
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
    Segment(id): Segment,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_json(&headers)?;
    principal.must_see_all()?;
    let id = record_id(&id)?;
    let received = api.receive(&headers, body, MAX_CHANGE_BYTES).await?;
    let review: ReviewBody = parse_json(&received.bytes)?;
    let seen = Seen::of(&headers)?;
    let action = match review.verdict {
        Verdict::Confirm => Action::Confirm,
        Verdict::Relabel => Action::Relabel,
        Verdict::Unknown => Action::Unknown,
    };
    let deadline = api.deadline();
    let ready = api.ready(
        action,
        review.class_name,
        review.new_class,
        review.note,
        deadline,
    );
    let ready = ready.await?;
    let record = api.change(&principal, id, &ready, seen, deadline).await?;
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
    Segment(id): Segment,
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
    Segment(id): Segment,
) -> Result<Response, Problem> {
    let id = record_id(&id)?;
    let restore = plain(Change::Restore);
    let record = api
        .change(&principal, id, &restore, Seen::Nothing, api.deadline())
        .await?;
    Ok(record_response(&record))
}
