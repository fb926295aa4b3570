//! Consistent reads of the ledger.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    operation::batch_get_item::BatchGetItemOutput,
    types::{AttributeValue, KeysAndAttributes},
};

use super::{
    Entry, LEDGER_KEY, Ledger,
    item::{self, Item},
};
use crate::{
    aws::{self, Backoff, Deadline},
    error::{Error, Source},
    object::ObjectId,
};

impl Ledger {
    /// The entries of those object versions in `ids` that the ledger knows. The ids are distinct and at
    /// most [`MAX_LOOKUP`](super::MAX_LOOKUP).
    ///
    /// # Errors
    ///
    /// If the table cannot be read before `deadline`. An `Err` in the map concerns one malformed item.
    pub async fn lookup(
        &self,
        ids: &[ObjectId],
        deadline: Deadline,
    ) -> Result<HashMap<ObjectId, Result<Entry, Error>>, Error> {
        let keys = ids.iter().map(|&id| item::object_key(id)).collect();
        let items = self.read(keys, deadline).await?;
        let mut known = HashMap::new();
        for &id in ids {
            // An absent item is an object version that is neither counted nor rejected.
            if let Some(found) = items.get(&item::object_key(id)) {
                known.insert(id, item::entry(found));
            }
        }
        Ok(known)
    }

    /// The items with these `keys`, by key. The keys are distinct and at most
    /// [`MAX_LOOKUP`](super::MAX_LOOKUP).
    pub(crate) async fn read(
        &self,
        mut keys: Vec<String>,
        deadline: Deadline,
    ) -> Result<HashMap<String, Item>, Error> {
        let mut backoff = Backoff::new("read the ledger", deadline);
        let mut found = HashMap::new();
        while !keys.is_empty() {
            let key =
                |key: &String| HashMap::from([(LEDGER_KEY.into(), AttributeValue::S(key.clone()))]);
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys.iter().map(key).collect()))
                .consistent_read(true)
                .build()
                .map_err(|error| self.failed("read", error))?;
            let get = self
                .client
                .batch_get_item()
                .request_items(&self.ledger, request);
            let problem: Source = match backoff.attempt(get.send()).await? {
                Ok(response) => match Page::of(response, &self.ledger)? {
                    Some(page) => {
                        for item in page.items {
                            found.insert(item::key(&item)?, item);
                        }
                        keys = page.unprocessed;
                        if keys.is_empty() {
                            break;
                        }
                        "the table had no capacity left".into()
                    }
                    None => "the response has no items of the table".into(),
                },
                Err(error) if aws::is_transient(&error) => error.into(),
                Err(error) => return Err(self.failed("read", error)),
            };
            backoff.pause(problem).await?;
        }
        Ok(found)
    }
}

/// The part of a `BatchGetItem` response that concerns one table.
#[derive(Debug, PartialEq)]
struct Page {
    items: Vec<Item>,
    /// Keys for which the table had no capacity.
    unprocessed: Vec<String>,
}

impl Page {
    /// `None` if the response does not mention `table` at all. DynamoDB always does: an answer without it
    /// is corrupted, and must not be taken for "no such items".
    fn of(response: BatchGetItemOutput, table: &str) -> Result<Option<Self>, Error> {
        let items = response
            .responses
            .and_then(|mut tables| tables.remove(table));
        let unprocessed = response
            .unprocessed_keys
            .and_then(|mut tables| tables.remove(table));
        if items.is_none() && unprocessed.is_none() {
            return Ok(None);
        }
        let unprocessed = unprocessed.iter().flat_map(KeysAndAttributes::keys);
        Ok(Some(Self {
            unprocessed: unprocessed.map(item::key).collect::<Result<_, _>>()?,
            // All keys may be unprocessed.
            items: items.unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(key: &str) -> Item {
        Item::from([(LEDGER_KEY.into(), AttributeValue::S(key.into()))])
    }

    #[test]
    fn an_answer_without_the_table_does_not_mean_that_the_items_are_absent() {
        let empty = BatchGetItemOutput::builder().build();
        assert_eq!(Page::of(empty, "ledger").unwrap(), None);
        let other = BatchGetItemOutput::builder().responses("other", vec![item("a")]);
        assert_eq!(Page::of(other.build(), "ledger").unwrap(), None);
        let none = BatchGetItemOutput::builder().responses("ledger", vec![]);
        let page = Page::of(none.build(), "ledger").unwrap().unwrap();
        assert_eq!((page.items.len(), page.unprocessed.len()), (0, 0));
    }

    #[test]
    fn unprocessed_keys_are_read_next() {
        let rest = KeysAndAttributes::builder()
            .keys(item("b"))
            .build()
            .unwrap();
        let response = BatchGetItemOutput::builder()
            .responses("ledger", vec![item("a")])
            .unprocessed_keys("ledger", rest)
            .build();
        let page = Page::of(response, "ledger").unwrap().unwrap();
        assert_eq!(page.items, [item("a")]);
        assert_eq!(page.unprocessed, ["b"]);
    }
}
