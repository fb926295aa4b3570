//! Counting exactly once: the commit protocol over the two tables.
//!
//! The ledger has the partition key `LedgerKey` and two kinds of items:
//!
//! - `object/<uuid>`: that an object version was COUNTED, or REJECTED and why;
//! - `count/<date>/<class>`: `Issued`, the last ordinal given out, which only ever grows, and `Live`,
//!   the number of records there are.
//!
//! Predictions of one day and class are committed together. One `TransactWriteItems` puts each
//! object's item if it is absent, puts the records with the ordinals n + 1 … n + k, and sets `Issued`
//! to n + k on the condition that it is still n. So a version is counted once whoever else tries, and
//! the ordinals of a day and class are 1..N without gap or repeat. A plain `ADD` would not do: the SDK
//! repeats a call whose answer was lost, and it would add twice.
//!
//! A cancelled transaction hands back what stood in its way. Objects that are counted already drop out;
//! what is left is tried again, after a pause with full jitter. The counter's new n is read after that
//! pause. The cancellation could tell it before: but in a burst it is old by then, and the attempt
//! wasted, where a read costs a thirtieth of it. Bursts drain 2 to 8 times faster so.
//!
//! Each item carries a `CommitId` drawn for each call of [`Ledger::commit`] and [`Ledger::reject`]. It
//! tells our own write, whose answer was lost, from a duplicate delivery.
//!
//! # What it costs
//!
//! A transaction writes two units for each item of up to 1 KB: 2(2k + 1) for k predictions, which is 6
//! an image for k = 1, 4.2 for k = 10 and 4.04 for k = 49. A cancelled one costs as much, so contention
//! for a counter is paid for; `benches/contention.rs` measures it.

mod item;

use std::{collections::HashMap, sync::Arc};

use aws_sdk_dynamodb::{
    Client,
    error::SdkError,
    operation::{
        put_item::PutItemError,
        transact_write_items::{
            TransactWriteItemsError, builders::TransactWriteItemsFluentBuilder,
        },
    },
    types::{
        AttributeValue, CancellationReason, KeysAndAttributes, Put,
        ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
    },
};
use chrono::NaiveDate;
use uuid::Uuid;

use crate::{
    aws,
    error::{Error, Rejection, Source},
    object::ObjectVersion,
    prediction::Prediction,
    retry::{Backoff, Deadline},
};
use item::Item;
pub use item::{CLASS_PREDICTION_ID, INDEXES, Index, LEDGER_KEY, PREDICTION_DATE};

/// The most predictions of one transaction: an object's item and a record each, and the counter, make
/// 99 of the 100 items that DynamoDB takes.
pub const MAX_GROUP: usize = 49;
/// The most keys of one `BatchGetItem`.
pub const MAX_LOOKUP: usize = 100;

/// The two tables.
#[derive(Debug, Clone)]
pub struct Ledger {
    client: Client,
    predictions: String,
    ledger: String,
}

/// What the ledger says of an object version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It has a record.
    Counted {
        /// Its class.
        class: String,
        /// Its day, `YYYY-MM-DD`.
        date: String,
        /// Its ordinal.
        count: u64,
    },
    /// It was refused for good.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// Whether a write was ours or was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written<T> {
    /// This call wrote it.
    Now(T),
    /// The ledger had this already; nothing was written.
    Before(Entry),
}

/// What became of a commit.
#[derive(Debug)]
pub struct Committed {
    /// Of each prediction, in order: its ordinal, or why it has none.
    pub ended: Vec<Result<Written<u64>, Arc<Error>>>,
    /// Attempts that lost to another writer.
    pub conflicts: u64,
}

impl Ledger {
    /// Works on the two tables through `client`.
    pub fn new(client: Client, predictions: String, ledger: String) -> Self {
        Self {
            client,
            predictions,
            ledger,
        }
    }

    /// What the ledger says of those of the object versions `ids` that it knows. They are distinct, and
    /// [`MAX_LOOKUP`] at most.
    ///
    /// # Errors
    ///
    /// Where the table cannot be read before `deadline`; for a version, where its item is not as we
    /// write it.
    pub async fn lookup(
        &self,
        ids: &[Uuid],
        deadline: Deadline,
    ) -> Result<HashMap<Uuid, Result<Entry, Error>>, Error> {
        let keys = ids.iter().map(|&id| item::object_key(id)).collect();
        let items = self.read(keys, deadline).await?;
        let found = ids
            .iter()
            .filter_map(|&id| Some((id, item::entry(items.get(&item::object_key(id))?))));
        Ok(found.collect())
    }

    /// Counts `group`: writes their records with the next ordinals of their class and day, but for
    /// those whose object version is in the ledger already. Gives what became of each, in order.
    ///
    /// The group has one day and one class, distinct ids, and [`MAX_GROUP`] members at most. Where one
    /// fails, or its time is up, it may have been counted nevertheless; another call finds out.
    pub async fn commit(&self, group: &[&Prediction], deadline: Deadline) -> Committed {
        let mut commit = Commit {
            id: Uuid::new_v4(),
            ended: vec![None; group.len()],
            conflicts: 0,
        };
        let all = self.commit_pending(group, &mut commit, deadline).await;
        let error = all.err().map(Arc::new);
        let ended = commit.ended.into_iter();
        let ended = ended.filter_map(|ended| ended.or_else(|| error.clone().map(Err)));
        Committed {
            ended: ended.collect(),
            conflicts: commit.conflicts,
        }
    }

    /// Ends when every member of `group` has ended.
    async fn commit_pending(
        &self,
        group: &[&Prediction],
        commit: &mut Commit,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        let counter_key = item::counter_key(first);
        let mut backoff = Backoff::new("commit the predictions", deadline);
        loop {
            let pending = commit.pending();
            if pending.is_empty() {
                return Ok(());
            }
            let counter = self.read(vec![counter_key.clone()], deadline).await?;
            let issued = item::issued(&counter_key, counter.get(&counter_key))?;
            let contended = pending.len();
            let transaction = self.transaction(group, &pending, issued, commit.id)?;
            let error = match backoff.attempt(transaction.send()).await? {
                Ok(_) => {
                    for (&member, ordinal) in pending.iter().zip(issued + 1..) {
                        commit.ended[member] = Some(Ok(Written::Now(ordinal)));
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            match cancellation(&error) {
                Some(reasons) if reasons.iter().any(is_invalid) => {
                    return Err(self.failed("write to", &self.ledger, error));
                }
                // The reasons are in the order of the items: objects, records, counter.
                Some(reasons) => {
                    let counter = reasons.last().and_then(CancellationReason::code);
                    let lost = [Some("ConditionalCheckFailed"), Some("TransactionConflict")];
                    commit.conflicts += u64::from(lost.contains(&counter));
                    for (&member, reason) in pending.iter().zip(reasons) {
                        if is_failed_condition(reason)
                            && let Some(found) = reason.item()
                        {
                            commit.found(member, found);
                        }
                    }
                }
                // It may have been done all the same: then the next attempt finds our own items in its way.
                None if aws::is_transient(&error) => {}
                None => return Err(self.failed("write to", &self.ledger, error)),
            }
            // Where only objects that are counted already stood in the way, nothing is to be waited for.
            if commit.pending().len() == contended {
                backoff.pause(error).await?;
            }
        }
    }

    /// Writes that `object` is refused, unless it is in the ledger already.
    ///
    /// # Errors
    ///
    /// Where the tables refuse, or did not take it before `deadline`.
    pub async fn reject(
        &self,
        object: &ObjectVersion,
        id: Uuid,
        day: Option<NaiveDate>,
        rejection: &Rejection,
        deadline: Deadline,
    ) -> Result<Written<()>, Error> {
        let commit_id = Uuid::new_v4();
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
            match backoff.attempt(put.send()).await? {
                Ok(_) => return Ok(Written::Now(())),
                Err(error) => match error.as_service_error() {
                    Some(PutItemError::ConditionalCheckFailedException(there)) => {
                        let there = there.item().unwrap_or(&rejected);
                        return Ok(match item::is_ours(there, commit_id) {
                            true => Written::Now(()),
                            false => Written::Before(item::entry(there)?),
                        });
                    }
                    _ if aws::is_transient(&error) => backoff.pause(error).await?,
                    _ => return Err(self.failed("write to", &self.ledger, error)),
                },
            }
        }
    }

    /// The transaction that counts the `pending` of `group` from `issued` + 1 on.
    fn transaction(
        &self,
        group: &[&Prediction],
        pending: &[usize],
        issued: u64,
        commit_id: Uuid,
    ) -> Result<TransactWriteItemsFluentBuilder, Error> {
        let build = |error| self.failed("write to", &self.ledger, error);
        let counted = || {
            pending
                .iter()
                .map(|&member| group[member])
                .zip(issued + 1..)
        };
        let mut items = Vec::with_capacity(2 * pending.len() + 1);
        for (prediction, ordinal) in counted() {
            let object = Put::builder()
                .table_name(&self.ledger)
                .set_item(Some(item::counted(prediction, ordinal, commit_id)))
                .condition_expression(format!("attribute_not_exists({LEDGER_KEY})"))
                .return_values_on_condition_check_failure(
                    ReturnValuesOnConditionCheckFailure::AllOld,
                )
                .build()
                .map_err(build)?;
            items.push(TransactWriteItem::builder().put(object).build());
        }
        for (prediction, ordinal) in counted() {
            let record = Put::builder()
                .table_name(&self.predictions)
                .set_item(Some(item::record(prediction, ordinal)))
                .build()
                .map_err(build)?;
            items.push(TransactWriteItem::builder().put(record).build());
        }
        let more = pending.len() as u64;
        let counter = Update::builder()
            .table_name(&self.ledger)
            .key(
                LEDGER_KEY,
                AttributeValue::S(item::counter_key(group[pending[0]])),
            )
            .update_expression("SET Issued = :last ADD Live :more")
            .expression_attribute_values(":last", item::number(issued + more))
            .expression_attribute_values(":more", item::number(more));
        let counter = match issued {
            0 => counter.condition_expression("attribute_not_exists(Issued)"),
            _ => counter
                .condition_expression("Issued = :issued")
                .expression_attribute_values(":issued", item::number(issued)),
        };
        let counter = counter.build().map_err(build)?;
        items.push(TransactWriteItem::builder().update(counter).build());
        // Each call of `send` draws a request token of its own, which its own retries share.
        Ok(self
            .client
            .transact_write_items()
            .set_transact_items(Some(items)))
    }

    /// A consistent read of the ledger's items with these keys, by key. The keys are distinct, and
    /// [`MAX_LOOKUP`] at most.
    async fn read(
        &self,
        mut keys: Vec<String>,
        deadline: Deadline,
    ) -> Result<HashMap<String, Item>, Error> {
        let build = |error| self.failed("read", &self.ledger, error);
        let mut backoff = Backoff::new("read the ledger", deadline);
        let mut found = HashMap::new();
        while !keys.is_empty() {
            let key =
                |key: &String| HashMap::from([(LEDGER_KEY.into(), AttributeValue::S(key.clone()))]);
            let request = KeysAndAttributes::builder()
                .set_keys(Some(keys.iter().map(key).collect()))
                .consistent_read(true)
                .build()
                .map_err(build)?;
            let get = self
                .client
                .batch_get_item()
                .request_items(&self.ledger, request);
            match backoff.attempt(get.send()).await? {
                Ok(response) => {
                    let tables = response.responses.unwrap_or_default();
                    for read in tables.into_values().flatten() {
                        found.insert(item::key(&read)?, read);
                    }
                    // Those it had no capacity for.
                    let rest = response.unprocessed_keys.unwrap_or_default();
                    keys = rest
                        .values()
                        .flat_map(KeysAndAttributes::keys)
                        .map(item::key)
                        .collect::<Result<_, _>>()?;
                    if !keys.is_empty() {
                        backoff.pause("the table had no capacity left").await?;
                    }
                }
                Err(error) if aws::is_transient(&error) => backoff.pause(error).await?,
                Err(error) => return Err(self.failed("read", &self.ledger, error)),
            }
        }
        Ok(found)
    }

    fn failed(&self, action: &'static str, table: &str, error: impl Into<Source>) -> Error {
        Error::Table {
            action,
            table: table.to_owned(),
            source: error.into(),
        }
    }
}

/// How far the commit of a group has come.
struct Commit {
    id: Uuid,
    /// For each member, `None` as long as it is to be written.
    ended: Vec<Option<Result<Written<u64>, Arc<Error>>>>,
    conflicts: u64,
}

impl Commit {
    fn pending(&self) -> Vec<usize> {
        (0..self.ended.len())
            .filter(|&member| self.ended[member].is_none())
            .collect()
    }

    /// The ledger has `found` for `member`.
    fn found(&mut self, member: usize, found: &Item) {
        let written = item::entry(found).map(|entry| match entry {
            Entry::Counted { count, .. } if item::is_ours(found, self.id) => Written::Now(count),
            entry => Written::Before(entry),
        });
        self.ended[member] = Some(written.map_err(Arc::new));
    }
}

/// The reasons of a cancelled transaction, in the order of its items.
fn cancellation(error: &SdkError<TransactWriteItemsError>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => {
            Some(cancelled.cancellation_reasons())
        }
        _ => None,
    }
}

fn is_failed_condition(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Whether DynamoDB finds the request itself at fault, so that no repeat will help.
fn is_invalid(reason: &CancellationReason) -> bool {
    reason.code() == Some("ValidationError")
}
