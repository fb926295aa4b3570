//! The deployments table in the ledger: one item, read and written whole.

use aws_sdk_dynamodb::{operation::put_item::PutItemError, types::AttributeValue};
use chrono::Utc;

use super::{Author, state::ledger_key};
use crate::{
    aws::{self, Backoff, Deadline},
    deployments::Deployments,
    error::Error,
    ledger::{
        Ledger,
        item::{self, Item},
    },
};

/// Key of the item.
pub(super) const DEPLOYMENTS: &str = "deployments";
/// The table as CSV.
const CSV: &str = "Csv";

impl Ledger {
    /// The deployments table; `None` if there is none.
    ///
    /// # Errors
    ///
    /// If the table cannot be read before `deadline`, or its item is malformed.
    pub async fn deployments(&self, deadline: Deadline) -> Result<Option<Deployments>, Error> {
        let mut items = self.read(vec![DEPLOYMENTS.to_owned()], deadline).await?;
        let Some(item) = items.remove(DEPLOYMENTS) else {
            return Ok(None);
        };
        deployments_of(&item).map(Some)
    }

    /// Replaces the deployments table.
    ///
    /// # Errors
    ///
    /// If the table refuses, or does not accept the item before `deadline`.
    pub async fn put_deployments(
        &self,
        deployments: &Deployments,
        by: &Author,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let item = table_item(deployments, by);
        self.put_table(item, None, deadline).await.map(|_| ())
    }

    /// Replaces the deployments table if it still is `current`; `None` if there is none. Returns whether it was.
    ///
    /// A repeat after a lost answer finds the new table, which is as good.
    ///
    /// # Errors
    ///
    /// As [`put_deployments`](Self::put_deployments).
    pub async fn replace_deployments(
        &self,
        current: Option<&Deployments>,
        deployments: &Deployments,
        by: &Author,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        let mut seen = vec![deployments.to_csv()];
        seen.extend(current.map(Deployments::to_csv));
        let item = table_item(deployments, by);
        self.put_table(item, Some((current.is_none(), seen)), deadline)
            .await
    }

    /// Puts the item. With a condition, only if the CSV is one of those, or if there is no item and there may be none.
    async fn put_table(
        &self,
        item: Item,
        condition: Option<(bool, Vec<String>)>,
        deadline: Deadline,
    ) -> Result<bool, Error> {
        let mut backoff = Backoff::new("write the deployments", deadline);
        loop {
            let mut put = self.client.put_item().table_name(&self.ledger);
            if let Some((may_be_none, seen)) = &condition {
                let mut expressions: Vec<String> = Vec::new();
                if *may_be_none {
                    expressions.push(format!("attribute_not_exists({CSV})"));
                }
                for (index, csv) in seen.iter().enumerate() {
                    expressions.push(format!("{CSV} = :csv{index}"));
                    let value = AttributeValue::S(csv.clone());
                    put = put.expression_attribute_values(format!(":csv{index}"), value);
                }
                put = put.condition_expression(expressions.join(" OR "));
            }
            let put = put.set_item(Some(item.clone()));
            match backoff.attempt(put.send()).await? {
                Ok(_) => return Ok(true),
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error)
                    if error
                        .as_service_error()
                        .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
                {
                    return Ok(false);
                }
                Err(error) => return Err(self.failed("write to", error)),
            }
        }
    }
}

/// The item of the table.
fn table_item(deployments: &Deployments, by: &Author) -> Item {
    let mut item = ledger_key(DEPLOYMENTS.to_owned());
    for (name, value) in [
        (CSV, deployments.to_csv()),
        ("By", by.to_string()),
        ("At", item::timestamp(Utc::now())),
    ] {
        item.insert(name.into(), AttributeValue::S(value));
    }
    item
}

/// The table in its item.
pub(super) fn deployments_of(item: &Item) -> Result<Deployments, Error> {
    let csv = item::text(item, CSV)?;
    Deployments::parse(csv.as_bytes()).map_err(|_| Error::LedgerItem {
        key: DEPLOYMENTS.to_owned(),
        attribute: CSV,
    })
}
