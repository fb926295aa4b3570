//! The transaction of a change, and how its cancellation is read.

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
        history::{ChangeKind, HistoryEntry},
        record::{REVIEW_STATUS, REVIEWED_AT, REVIEWED_BY, REVIEWED_CLASS, REVISION},
        state::{DELETED_RECORD, EXPIRES_AT, KEPT, deleted_key, key_of, ledger_key},
    },
};
use aws_sdk_dynamodb::{
    error::BuildError,
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        AttributeValue, CancellationReason, Delete, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update, builders::UpdateBuilder,
    },
};

impl Ledger {
    /// The items of the transaction, the history item first.
    pub(super) fn transaction_of(
        &self,
        id: ObjectId,
        plan: &Plan,
        entry: &HistoryEntry,
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
            ChangeKind::Deleted => {
                items.extend(self.deletion(id, plan, entry)?);
                Deltas::between(Some(before), None)
            }
            ChangeKind::Restored => {
                items.extend(self.restore(id, plan)?);
                Deltas::between(None, Some(after))
            }
            ChangeKind::Confirmed
            | ChangeKind::Relabelled
            | ChangeKind::Unknown
            | ChangeKind::Withdrawn => {
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
        entry: &HistoryEntry,
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
            ))
            .condition_expression(format!("#status = :before AND {REVISION} = :deletion"))
            .expression_attribute_values(":deletion", item::number(plan.stored.record.revision));
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
        match (reasons[0].code(), reasons[0].item()) {
            (CONDITION_FAILED, Some(found)) => Self::Exists(found),
            // The answer is corrupted, or the history item is on its way: perhaps ours.
            (CONDITION_FAILED, None) | (Some("TransactionConflict"), _) => Self::Passing,
            _ => Self::Moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(codes: [&str; 3], found: Option<Item>) -> Vec<CancellationReason> {
        let reason = |(place, code): (usize, &str)| {
            let reason = CancellationReason::builder().code(code);
            let found = found.clone().filter(|_| place == 0);
            reason.set_item(found).build()
        };
        codes.into_iter().enumerate().map(reason).collect()
    }

    #[test]
    fn a_cancellation_says_what_to_do_next() {
        const FAILED: &str = "ConditionalCheckFailed";
        const CONFLICT: &str = "TransactionConflict";
        let found = || Some(ledger_key("history/…/1".to_owned()));
        let kind = |codes, found| match Refusal::of(&reasons(codes, found), 3) {
            Refusal::Exists(_) => "exists",
            Refusal::Moved => "moved",
            Refusal::Invalid => "invalid",
            Refusal::Passing => "passing",
        };
        assert_eq!(kind([FAILED, FAILED, "None"], found()), "exists");
        assert_eq!(kind([FAILED, "None", "None"], None), "passing");
        assert_eq!(kind(["None", FAILED, "None"], None), "moved");
        // Our own first attempt may still hold the history item.
        assert_eq!(kind([CONFLICT, FAILED, "None"], None), "passing");
        assert_eq!(kind(["None", "None", CONFLICT], None), "passing");
        assert_eq!(kind(["None", "ValidationError", "None"], None), "invalid");
        let short = reasons(["None", FAILED, "None"], None);
        assert!(matches!(Refusal::of(&short, 7), Refusal::Passing));
    }
}
