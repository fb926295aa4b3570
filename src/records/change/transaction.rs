//! The transaction of a change, and how its cancellation is read.

use aws_sdk_dynamodb::{
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        AttributeValue, CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update, builders::UpdateBuilder,
    },
};
use chrono::TimeDelta;

use super::Plan;
use crate::{
    aws::{self, Backoff, Deadline},
    error::Error,
    ledger::{
        CLASS_PREDICTION_ID, CommitId, LEDGER_KEY, Ledger, TO_REVIEW,
        item::{self, Item},
    },
    object::ObjectId,
    records::{
        Review,
        deltas::Deltas,
        history::{Entry, Kind},
        record::{REVIEW_STATUS, REVIEWED_AT, REVIEWED_BY, REVIEWED_CLASS, REVISION},
        state::{DELETED_RECORD, EXPIRES_AT, deleted_key, key_of, ledger_key},
    },
};

/// How long a deleted record can be restored.
const KEPT: TimeDelta = TimeDelta::days(30);

impl Ledger {
    /// The items of the transaction, the history item first.
    pub(super) fn transaction_of(
        &self,
        id: ObjectId,
        plan: &Plan,
        entry: &Entry,
        commit_id: CommitId,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let history = Put::builder()
            .table_name(&self.ledger)
            .set_item(Some(entry.item(id, commit_id)))
            .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let mut items = vec![TransactWriteItem::builder().put(history.build()?).build()];
        let (before, after) = (&plan.stored.record, &plan.after);
        let deltas = match plan.kind {
            Kind::Deleted => {
                items.extend(self.deletion(id, plan, entry)?);
                Deltas::between(Some(before), None)
            }
            Kind::Restored => {
                items.extend(self.restore(id, plan)?);
                Deltas::between(None, Some(after))
            }
            Kind::Confirmed | Kind::Relabelled | Kind::Unknown | Kind::Withdrawn => {
                let update = self.review(plan)?;
                items.push(TransactWriteItem::builder().update(update).build());
                Deltas::between(Some(before), Some(after))
            }
        };
        items.extend(deltas.updates(self)?);
        Ok(items)
    }

    /// Writes the review of the record, or removes it.
    fn review(&self, plan: &Plan) -> Result<Update, BuildError> {
        let mut update = Update::builder()
            .table_name(&self.predictions)
            .set_key(Some(key_of(&plan.after)))
            .expression_attribute_values(":revision", item::number(plan.after.revision));
        let mut set = format!("SET {REVISION} = :revision");
        let mut remove = Vec::new();
        match &plan.after.review {
            Some(review) => {
                for (place, (name, value)) in review_attributes(review).into_iter().enumerate() {
                    set += &format!(", {name} = :v{place}");
                    update = update.expression_attribute_values(
                        format!(":v{place}"),
                        AttributeValue::S(value),
                    );
                }
            }
            None => remove.extend([REVIEW_STATUS, REVIEWED_CLASS, REVIEWED_BY, REVIEWED_AT]),
        }
        // The rank stays, so that a withdrawal knows whether the record had waited.
        let queue = TO_REVIEW.partition_key;
        match plan.after.waits_for_review {
            true => {
                set += &format!(", {queue} = :queue");
                let class = AttributeValue::S(plan.after.class.to_string());
                update = update.expression_attribute_values(":queue", class);
            }
            false => remove.push(queue),
        }
        if !remove.is_empty() {
            set += &format!(" REMOVE {}", remove.join(", "));
        }
        let (condition, values) = plan.unchanged();
        for (name, value) in values {
            update = update.expression_attribute_values(name, value);
        }
        update
            .update_expression(set)
            .condition_expression(condition)
            .build()
    }

    /// Removes the record, keeps a copy, and marks the object as deleted.
    fn deletion(
        &self,
        id: ObjectId,
        plan: &Plan,
        entry: &Entry,
    ) -> Result<[TransactWriteItem; 3], BuildError> {
        let (condition, values) = plan.unchanged();
        let delete = Delete::builder()
            .table_name(&self.predictions)
            .set_key(Some(key_of(&plan.stored.record)))
            .condition_expression(condition)
            .set_expression_attribute_values((!values.is_empty()).then_some(values));
        let mut copy = ledger_key(deleted_key(id));
        let mut record = plan.stored.item.clone();
        record.insert(REVISION.into(), item::number(entry.revision));
        copy.insert(DELETED_RECORD.into(), AttributeValue::M(record));
        let expires = (plan.at + KEPT).timestamp();
        copy.insert(EXPIRES_AT.into(), item::number(expires));
        let put = Put::builder().table_name(&self.ledger).set_item(Some(copy));
        let object = self
            .object(id, "COUNTED", "DELETED")
            .update_expression(format!(
                "SET #status = :after, {REVISION} = :revision, DeletedBy = :by, DeletedAt = :at"
            ))
            .expression_attribute_values(":revision", item::number(entry.revision))
            .expression_attribute_values(":by", AttributeValue::S(entry.by.clone()))
            .expression_attribute_values(":at", AttributeValue::S(item::timestamp(entry.at)));
        Ok([
            TransactWriteItem::builder().delete(delete.build()?).build(),
            TransactWriteItem::builder().put(put.build()?).build(),
            TransactWriteItem::builder().update(object.build()?).build(),
        ])
    }

    /// Puts the record back, removes the copy, and marks the object as counted.
    fn restore(&self, id: ObjectId, plan: &Plan) -> Result<[TransactWriteItem; 3], BuildError> {
        let mut record = plan.stored.item.clone();
        record.insert(REVISION.into(), item::number(plan.after.revision));
        let put = Put::builder()
            .table_name(&self.predictions)
            .set_item(Some(record))
            .condition_expression(format!("attribute_not_exists({CLASS_PREDICTION_ID})"));
        let delete = Delete::builder()
            .table_name(&self.ledger)
            .set_key(Some(ledger_key(deleted_key(id))))
            .condition_expression(format!("attribute_exists({LEDGER_KEY})"));
        let object = self
            .object(id, "DELETED", "COUNTED")
            .update_expression(format!(
                "SET #status = :after REMOVE {REVISION}, DeletedBy, DeletedAt"
            ));
        Ok([
            TransactWriteItem::builder().put(put.build()?).build(),
            TransactWriteItem::builder().delete(delete.build()?).build(),
            TransactWriteItem::builder().update(object.build()?).build(),
        ])
    }

    /// An update of the `object/…` item from one status to another.
    fn object(&self, id: ObjectId, before: &str, after: &str) -> UpdateBuilder {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        Update::builder()
            .table_name(&self.ledger)
            .set_key(Some(ledger_key(item::object_key(id))))
            .condition_expression("#status = :before")
            .expression_attribute_names("#status", "Status")
            .expression_attribute_values(":before", text(before))
            .expression_attribute_values(":after", text(after))
    }

    /// Sends the transaction until DynamoDB has committed or refused it.
    pub(super) async fn send(
        &self,
        items: Vec<TransactWriteItem>,
        commit_id: CommitId,
        deadline: Deadline,
    ) -> Result<Sent, Error> {
        let mut backoff = Backoff::new("change the record", deadline);
        loop {
            let transaction = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()));
            let error = match backoff.attempt(transaction.send()).await? {
                Ok(_) => return Ok(Sent::Done),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                    match Refusal::of(cancelled.cancellation_reasons(), items.len()) {
                        Refusal::Exists(found) if item::is_ours(found, commit_id) => {
                            return Ok(Sent::Done);
                        }
                        Refusal::Exists(found) => return Ok(Sent::Found(found.clone())),
                        Refusal::Moved => return Ok(Sent::Moved),
                        Refusal::Invalid => return Err(self.failed("write to", error)),
                        Refusal::Passing => backoff.pause(error).await?,
                    }
                }
                _ if aws::is_transient(&error) => backoff.pause(error).await?,
                _ => return Err(self.failed("write to", error)),
            }
        }
    }
}

fn review_attributes(review: &Review) -> [(&'static str, String); 4] {
    [
        (REVIEW_STATUS, review.status.to_string()),
        (REVIEWED_CLASS, review.class.to_string()),
        (REVIEWED_BY, review.by.clone()),
        (REVIEWED_AT, item::timestamp(review.at)),
    ]
}

/// What became of a transaction.
pub(super) enum Sent {
    /// This call committed it.
    Done,
    /// The history has this item already, from another call.
    Found(Item),
    /// The record or the object is not as it was read.
    Moved,
}

/// Why a transaction was cancelled.
enum Refusal<'a> {
    /// The history item exists.
    Exists(&'a Item),
    /// Another condition failed.
    Moved,
    /// DynamoDB considers the request itself invalid.
    Invalid,
    /// A conflict with another transaction, throttling, or an unreadable response.
    Passing,
}

impl<'a> Refusal<'a> {
    /// The reasons are in the order of the transaction's `items`.
    fn of(reasons: &'a [CancellationReason], items: usize) -> Self {
        const CONDITION_FAILED: Option<&str> = Some("ConditionalCheckFailed");
        let has = |code| reasons.iter().any(|reason| reason.code() == code);
        if has(Some("ValidationError")) {
            return Self::Invalid;
        }
        if reasons.len() != items || !has(CONDITION_FAILED) {
            return Self::Passing;
        }
        match (reasons[0].code() == CONDITION_FAILED, reasons[0].item()) {
            (true, Some(found)) => Self::Exists(found),
            (true, None) => Self::Passing,
            (false, _) => Self::Moved,
        }
    }
}
