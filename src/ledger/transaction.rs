//! The transaction that counts a group of predictions, and how its cancellation is read.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::{
    error::{BuildError, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{
        AttributeValue, CancellationReason, Put, ReturnValuesOnConditionCheckFailure,
        TransactWriteItem, Update,
    },
};

use super::{CommitId, LEDGER_KEY, Ledger, item, item::Item};
use crate::prediction::Prediction;

impl Ledger {
    /// The items of the transaction that gives `predictions`, which are not empty, the ordinals from `issued` + 1 on: the
    /// object items, the records, the counter of the day, the counter of the night.
    pub(super) fn transaction(
        &self,
        counter_key: &str,
        predictions: &[&Prediction],
        issued: u64,
        commit_id: CommitId,
    ) -> Result<Vec<TransactWriteItem>, BuildError> {
        let ordinal = |index: usize| issued + 1 + index as u64;
        let mut items = Vec::with_capacity(2 * predictions.len() + COUNTERS);
        for (index, prediction) in predictions.iter().enumerate() {
            let object = Put::builder()
                .table_name(&self.ledger)
                .set_item(Some(item::counted(prediction, ordinal(index), commit_id)))
                .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"))
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .build()?;
            items.push(TransactWriteItem::builder().put(object).build());
        }
        for (index, prediction) in predictions.iter().enumerate() {
            let record = Put::builder()
                .table_name(&self.predictions)
                .set_item(Some(item::record(prediction, ordinal(index))))
                .build()?;
            items.push(TransactWriteItem::builder().put(record).build());
        }
        for counter in [
            self.counter(counter_key, predictions, issued)?,
            self.night(predictions)?,
        ] {
            items.push(TransactWriteItem::builder().update(counter).build());
        }
        Ok(items)
    }

    /// Moves the counter from `issued` on by the number of `predictions`, if it is still at `issued`, and counts them in
    /// their confidence bins.
    fn counter(
        &self,
        key: &str,
        predictions: &[&Prediction],
        issued: u64,
    ) -> Result<Update, BuildError> {
        let more = predictions.len() as u64;
        let mut bins: BTreeMap<String, u64> = BTreeMap::new();
        for prediction in predictions {
            let bin = item::bin_attribute(&prediction.model_version, prediction.probability());
            *bins.entry(bin).or_default() += 1;
        }
        let mut counter = Update::builder()
            .table_name(&self.ledger)
            .key(LEDGER_KEY, AttributeValue::S(key.to_owned()))
            .expression_attribute_values(":last", item::number(issued + more))
            .expression_attribute_values(":more", item::number(more));
        let mut add = "Live :more".to_owned();
        for (number, (bin, members)) in bins.into_iter().enumerate() {
            // The names have a dot, which an expression would take for a path.
            counter = counter
                .expression_attribute_names(format!("#b{number}"), bin)
                .expression_attribute_values(format!(":b{number}"), item::number(members));
            add += &format!(", #b{number} :b{number}");
        }
        let counter = counter.update_expression(format!("SET Issued = :last ADD {add}"));
        match issued {
            0 => counter.condition_expression("attribute_not_exists(Issued)"),
            _ => counter
                .condition_expression("Issued = :issued")
                .expression_attribute_values(":issued", item::number(issued)),
        }
        .build()
    }

    /// Adds the predictions to their night. `Changes` tells an audit that the counter moved while it read.
    fn night(&self, predictions: &[&Prediction]) -> Result<Update, BuildError> {
        let key = predictions
            .first()
            .map(|first| item::night_key(first.capture.night, first.class()));
        Update::builder()
            .table_name(&self.ledger)
            .set_key(key.map(|key| HashMap::from([(LEDGER_KEY.into(), AttributeValue::S(key))])))
            .update_expression("ADD Live :more, Changes :one")
            .expression_attribute_values(":more", item::number(predictions.len()))
            .expression_attribute_values(":one", item::number(1))
            .build()
    }
}

/// The counters of a transaction: of the day and of the night.
const COUNTERS: usize = 2;

/// Why a transaction was cancelled.
pub(super) struct Cancellation<'a> {
    /// The object items that exist already, each with its position in the group.
    pub(super) existing: Vec<(usize, &'a Item)>,
    /// Whether another writer moved or locked a counter.
    pub(super) counter_moved: bool,
}

/// Why a transaction of `members` predictions failed.
pub(super) enum Failure<'a> {
    /// DynamoDB cancelled it.
    Cancelled(Cancellation<'a>),
    /// DynamoDB considers the request itself invalid: a retry does not help.
    Invalid,
    /// DynamoDB cancelled it, but the response is corrupted: its reasons are not those of this transaction.
    Unreadable,
    /// Another error: throttling, a lost connection, a refusal.
    Other,
}

impl<'a> Failure<'a> {
    pub(super) fn of(error: &'a SdkError<TransactWriteItemsError>, members: usize) -> Self {
        let reasons = match error.as_service_error() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                cancelled.cancellation_reasons()
            }
            _ => return Self::Other,
        };
        Self::from_reasons(reasons, members)
    }

    /// The reasons are in the order of the transaction's items: objects, records, counters.
    fn from_reasons(reasons: &'a [CancellationReason], members: usize) -> Self {
        if reasons
            .iter()
            .any(|reason| reason.code() == Some("ValidationError"))
        {
            return Self::Invalid;
        }
        let (Some(objects), Some(counters)) = (reasons.get(..members), reasons.get(2 * members..))
        else {
            return Self::Unreadable;
        };
        if counters.len() != COUNTERS {
            return Self::Unreadable;
        }
        let mut existing = Vec::new();
        for (member, reason) in objects.iter().enumerate() {
            if reason.code() == Some(CONDITION_FAILED) {
                let Some(item) = reason.item() else {
                    return Self::Unreadable;
                };
                existing.push((member, item));
            }
        }
        let conflicts = [Some(CONDITION_FAILED), Some("TransactionConflict")];
        Self::Cancelled(Cancellation {
            existing,
            counter_moved: counters
                .iter()
                .any(|counter| conflicts.contains(&counter.code())),
        })
    }
}

const CONDITION_FAILED: &str = "ConditionalCheckFailed";

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: &str, item: Option<Item>) -> CancellationReason {
        CancellationReason::builder()
            .code(code)
            .set_item(item)
            .build()
    }

    #[test]
    fn reasons_belong_to_the_members_by_their_position() {
        let item = Item::from([(LEDGER_KEY.into(), AttributeValue::S("object/b".into()))]);
        let reasons = [
            reason("None", None),
            reason(CONDITION_FAILED, Some(item.clone())),
            reason("None", None),
            reason("None", None),
            reason("TransactionConflict", None),
            reason("None", None),
        ];
        let Failure::Cancelled(cancellation) = Failure::from_reasons(&reasons, 2) else {
            panic!("not a cancellation");
        };
        assert_eq!(cancellation.existing, [(1, &item)]);
        assert!(cancellation.counter_moved);
    }

    #[test]
    fn an_invalid_request_is_not_retried() {
        let reasons = [reason("None", None), reason("ValidationError", None)];
        assert!(matches!(
            Failure::from_reasons(&reasons, 2),
            Failure::Invalid
        ));
    }

    #[test]
    fn reasons_that_do_not_fit_the_transaction_are_not_attributed() {
        let none = reason("None", None);
        let failed = reason(CONDITION_FAILED, None);
        for reasons in [
            vec![],
            vec![none.clone(); 5],
            vec![none.clone(); 7],
            // The item that failed its condition is missing.
            [vec![failed], vec![none; 5]].concat(),
        ] {
            let failure = Failure::from_reasons(&reasons, 2);
            assert!(matches!(failure, Failure::Unreadable), "{reasons:?}");
        }
    }
}
