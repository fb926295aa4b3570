//! Queries and scans of the tables, with retries.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::{
    aws::{self, Backoff, Deadline},
    error::Error,
    ledger::{Index, LEDGER_KEY, Ledger, item::Item},
};

/// One page of a DynamoDB query or scan.
pub(super) struct Fetched {
    pub(super) items: Vec<Item>,
    /// The key from which the query or scan goes on, if there is more.
    pub(super) next: Option<Item>,
}

/// A query of one partition of a table or index.
#[derive(Debug, Clone)]
pub(super) struct Partition<'a> {
    pub(super) table: &'a str,
    /// `None` for the table itself.
    pub(super) index: Option<Index>,
    /// Name and value of the partition key.
    pub(super) key: (&'static str, String),
    /// Only items whose sort key, with this name, is greater than this value.
    pub(super) after: Option<(&'static str, String)>,
    /// Where an earlier query stopped.
    pub(super) start: Option<Item>,
    /// Whether the items come in the order of the sort key, or in the reverse.
    pub(super) forward: bool,
    /// Highest number of items.
    pub(super) limit: i32,
}

impl Ledger {
    /// Reads one page of `partition`: at most its limit, and at most 1 MB.
    pub(super) async fn fetch(
        &self,
        partition: &Partition<'_>,
        deadline: Deadline,
    ) -> Result<Fetched, Error> {
        let mut backoff = Backoff::new("read the records", deadline);
        let mut names = HashMap::from([("#partition".to_owned(), partition.key.0.to_owned())]);
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let mut values = HashMap::from([(":partition".to_owned(), text(&partition.key.1))]);
        let mut condition = "#partition = :partition".to_owned();
        if let Some((name, after)) = &partition.after {
            condition += " AND #sort > :after";
            names.insert("#sort".into(), (*name).into());
            values.insert(":after".into(), text(after));
        }
        let mut start = partition.start.clone();
        loop {
            let query = self
                .client
                .query()
                .table_name(partition.table)
                .set_index_name(partition.index.map(|index| index.name.to_owned()))
                .key_condition_expression(&condition)
                .set_expression_attribute_names(Some(names.clone()))
                .set_expression_attribute_values(Some(values.clone()))
                .set_exclusive_start_key(start.clone())
                .scan_index_forward(partition.forward)
                .limit(partition.limit);
            match backoff.attempt(query.send()).await? {
                // DynamoDB always says how many items there are: an answer without that is corrupted.
                Ok(response) if response.items.is_none() => {
                    backoff.pause("the response has no items").await?;
                }
                // An empty page may go on.
                Ok(response)
                    if response.items().is_empty() && response.last_evaluated_key.is_some() =>
                {
                    start = response.last_evaluated_key;
                }
                Ok(response) => {
                    return Ok(Fetched {
                        next: response.last_evaluated_key,
                        items: response.items.unwrap_or_default(),
                    });
                }
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error) => return Err(self.failed_on(partition.table, "read", error)),
            }
        }
    }

    /// Reads one page of `table`, up to 1 MB, as it was written last: all items, or those of the ledger whose key begins
    /// with `prefix`.
    pub(super) async fn scan(
        &self,
        table: &str,
        prefix: Option<&str>,
        start: Option<Item>,
        deadline: Deadline,
    ) -> Result<Fetched, Error> {
        let mut backoff = Backoff::new("read the tables", deadline);
        loop {
            let mut scan = self
                .client
                .scan()
                .table_name(table)
                .consistent_read(true)
                .set_exclusive_start_key(start.clone());
            if let Some(prefix) = prefix {
                scan = scan
                    .filter_expression(format!("begins_with({LEDGER_KEY}, :prefix)"))
                    .expression_attribute_values(":prefix", AttributeValue::S(prefix.to_owned()));
            }
            match backoff.attempt(scan.send()).await? {
                Ok(response) if response.items.is_none() => {
                    backoff.pause("the response has no items").await?;
                }
                Ok(response) => {
                    return Ok(Fetched {
                        next: response.last_evaluated_key,
                        items: response.items.unwrap_or_default(),
                    });
                }
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error) => return Err(self.failed_on(table, "read", error)),
            }
        }
    }
}
