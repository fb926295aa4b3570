//! Rejecting a photo: one conditional put.

use aws_sdk_dynamodb::{
    operation::put_item::PutItemError, types::ReturnValuesOnConditionCheckFailure,
};
use chrono::NaiveDate;

use super::{CommitId, LEDGER_KEY, Ledger, Written, item};
use crate::{
    aws::{self, Backoff, Deadline},
    error::Error,
    object::{ObjectId, ObjectVersion},
    photo::Rejection,
};

impl Ledger {
    /// Records the rejection of `object`, created on `day`, unless it is in the ledger already.
    ///
    /// # Errors
    ///
    /// If the table refuses, does not accept the item before `deadline`, or has a malformed item.
    pub async fn reject(
        &self,
        object: &ObjectVersion,
        id: ObjectId,
        day: Option<NaiveDate>,
        rejection: &Rejection,
        deadline: Deadline,
    ) -> Result<Written<()>, Error> {
        let commit_id = CommitId::draw();
        let rejected = item::rejected(object, id, day, rejection, commit_id);
        let mut backoff = Backoff::new("write the rejection", deadline);
        loop {
            let put = self
                .client
                .put_item()
                .table_name(&self.ledger)
                .set_item(Some(rejected.clone()))
                .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"))
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                );
            let error = match backoff.attempt(put.send()).await? {
                Ok(_) => return Ok(Written::Now(())),
                Err(error) => error,
            };
            match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                    match failed.item() {
                        Some(found) if item::is_ours(found, commit_id) => {
                            return Ok(Written::Now(()));
                        }
                        Some(found) => return Ok(Written::Before(item::entry(found)?)),
                        // DynamoDB returns the item: a response without it was corrupted.
                        None => backoff.pause(error).await?,
                    }
                }
                _ if aws::is_transient(&error) => backoff.pause(error).await?,
                _ => return Err(self.failed("write to", error)),
            }
        }
    }
}
