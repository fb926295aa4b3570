//! The list of classes.

use aws_sdk_dynamodb::types::AttributeValue;

use super::{
    LEDGER_KEY, Ledger,
    item::{CLASSES, NAMES},
};
use crate::{
    aws::{self, Backoff, Deadline},
    error::Error,
    model::Label,
};

impl Ledger {
    /// Adds `class` to the list of classes, before it gets a counter. To add a member of a set twice has no effect.
    ///
    /// # Errors
    ///
    /// If the table refuses, or does not accept the update before `deadline`.
    pub(crate) async fn register(&self, class: &Label, deadline: Deadline) -> Result<(), Error> {
        let mut backoff = Backoff::new("list the class", deadline);
        loop {
            let update = self
                .client
                .update_item()
                .table_name(&self.ledger)
                .key(LEDGER_KEY, AttributeValue::S(CLASSES.into()))
                .update_expression("ADD #names :class")
                .expression_attribute_names("#names", NAMES)
                .expression_attribute_values(":class", AttributeValue::Ss(vec![class.to_string()]));
            match backoff.attempt(update.send()).await? {
                Ok(_) => return Ok(()),
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error) => return Err(self.failed("write to", error)),
            }
        }
    }
}
