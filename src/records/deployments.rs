//! The deployments table in the ledger: one item, read and written whole.

use aws_sdk_dynamodb::types::AttributeValue;
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
        let mut backoff = Backoff::new("write the deployments", deadline);
        let mut item = ledger_key(DEPLOYMENTS.to_owned());
        for (name, value) in [
            (CSV, deployments.to_csv()),
            ("By", by.to_string()),
            ("At", item::timestamp(Utc::now())),
        ] {
            item.insert(name.into(), AttributeValue::S(value));
        }
        loop {
            let put = self.client.put_item().table_name(&self.ledger);
            let put = put.set_item(Some(item.clone()));
            match backoff.attempt(put.send()).await? {
                Ok(_) => return Ok(()),
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error) => return Err(self.failed("write to", error)),
            }
        }
    }
}

/// The table in its item.
pub(super) fn deployments_of(item: &Item) -> Result<Deployments, Error> {
    let csv = item::text(item, CSV)?;
    Deployments::parse(csv.as_bytes()).map_err(|_| Error::LedgerItem {
        key: DEPLOYMENTS.to_owned(),
        attribute: CSV,
    })
}
