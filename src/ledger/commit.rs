//! Committing a group of predictions.

use std::{collections::HashMap, sync::Arc};

use super::{
    CommitId, Entry, Ledger, Written,
    item::{self, Item},
    transaction::Failure,
};
use crate::{
    aws::{self, Backoff, Deadline},
    error::Error,
    object::ObjectId,
    prediction::Prediction,
};

/// Result of a commit.
#[derive(Debug)]
pub struct Committed {
    /// For each prediction of the group: its ordinal, or why it has none.
    results: HashMap<ObjectId, Result<Written<u64>, Arc<Error>>>,
    /// Number of attempts that lost to another writer.
    pub conflicts: u64,
}

impl Committed {
    /// Takes the result of the prediction with this `id`.
    ///
    /// # Errors
    ///
    /// The error of the commit. After [`Error::Deadline`] the prediction may still be counted; the next delivery finds
    /// out. [`Error::NoResult`] if the commit has no result for this id.
    pub fn take(&mut self, id: ObjectId) -> Result<Written<u64>, Arc<Error>> {
        self.results
            .remove(&id)
            .unwrap_or_else(|| Err(Arc::new(Error::no_result("the commit", id))))
    }
}

impl Ledger {
    /// Counts the predictions of `group`: writes their records with the next ordinals of their class and
    /// day, except for those whose object version is in the ledger already.
    ///
    /// The group has one day and one class, distinct ids, and at most [`MAX_GROUP`](super::MAX_GROUP)
    /// members.
    pub async fn commit(&self, group: &[&Prediction], deadline: Deadline) -> Committed {
        let mut commit = Commit {
            id: CommitId::draw(),
            results: HashMap::new(),
            conflicts: 0,
        };
        let ended = self.commit_pending(group, &mut commit, deadline).await;
        commit.finish(group, ended)
    }

    /// Returns when every member of `group` has a result, or with the error of the others.
    async fn commit_pending(
        &self,
        group: &[&Prediction],
        commit: &mut Commit,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let Some(first) = group.first() else {
            return Ok(());
        };
        let counter_key = item::counter_key(first.date(), first.class());
        let mut backoff = Backoff::new("commit the predictions", deadline);
        loop {
            let pending = commit.pending(group);
            if pending.is_empty() {
                return Ok(());
            }
            let counter = self.read(vec![counter_key.clone()], deadline).await?;
            let issued = item::issued(&counter_key, counter.get(&counter_key))?;
            if issued == 0 {
                self.register(first.class(), deadline).await?;
            }
            let items = self
                .transaction(&counter_key, &pending, issued, commit.id)
                .map_err(|error| self.failed("write to", error))?;
            // Each `send` has its own request token; the SDK's retries of that `send` reuse it.
            let transaction = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items));
            let error = match backoff.attempt(transaction.send()).await? {
                Ok(_) => {
                    commit.written(&pending, issued);
                    return Ok(());
                }
                Err(error) => error,
            };
            match Failure::of(&error, pending.len()) {
                Failure::Invalid => return Err(self.failed("write to", error)),
                Failure::Cancelled(cancellation) => {
                    commit.conflicts += u64::from(cancellation.counter_moved);
                    let existing = cancellation.existing;
                    for &(member, found) in &existing {
                        commit.found(pending[member].id, found);
                    }
                    // Without the existing photos, the next attempt may succeed at once.
                    if existing.is_empty() {
                        backoff.pause(error).await?;
                    }
                }
                Failure::Unreadable => backoff.pause(error).await?,
                // The transaction may have been committed: then the next attempt finds our own items.
                Failure::Other if aws::is_transient(&error) => backoff.pause(error).await?,
                Failure::Other => return Err(self.failed("write to", error)),
            }
        }
    }
}

/// Progress of one call of [`Ledger::commit`].
struct Commit {
    id: CommitId,
    /// A member without a result is still to be written.
    results: HashMap<ObjectId, Result<Written<u64>, Arc<Error>>>,
    conflicts: u64,
}

impl Commit {
    /// The members of `group` that are still to be written.
    fn pending<'a>(&self, group: &[&'a Prediction]) -> Vec<&'a Prediction> {
        let members = group.iter().copied();
        members
            .filter(|prediction| !self.results.contains_key(&prediction.id))
            .collect()
    }

    /// The transaction counted `pending` with the ordinals from `issued` + 1 on.
    fn written(&mut self, pending: &[&Prediction], issued: u64) {
        for (index, prediction) in pending.iter().enumerate() {
            let ordinal = issued + 1 + index as u64;
            self.results
                .insert(prediction.id, Ok(Written::Now(ordinal)));
        }
    }

    /// The ledger has the item `found` for the member with this `id`.
    fn found(&mut self, id: ObjectId, found: &Item) {
        let written = item::entry(found).map(|entry| match entry {
            Entry::Counted { count, .. } if item::is_ours(found, self.id) => Written::Now(count),
            entry => Written::Before(entry),
        });
        self.results.insert(id, written.map_err(Arc::new));
    }

    /// Every member that is still pending gets the error in `ended`.
    fn finish(mut self, group: &[&Prediction], ended: Result<(), Error>) -> Committed {
        if let Err(error) = ended {
            let error = Arc::new(error);
            for prediction in self.pending(group) {
                self.results.insert(prediction.id, Err(Arc::clone(&error)));
            }
        }
        Committed {
            results: self.results,
            conflicts: self.conflicts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::item::tests::prediction_of;

    fn commit() -> Commit {
        Commit {
            id: CommitId::draw(),
            results: HashMap::new(),
            conflicts: 0,
        }
    }

    #[test]
    fn ordinals_belong_to_the_predictions_that_were_pending() {
        let [a, b, c] = ["a.jpg", "b.jpg", "c.jpg"].map(prediction_of);
        let group = [&a, &b, &c];
        let mut commit = commit();
        commit.found(a.id, &item::counted(&a, 4, CommitId::draw()));
        let pending = commit.pending(&group);
        assert_eq!(pending, [&b, &c]);
        commit.written(&pending, 17);
        let mut committed = commit.finish(&group, Ok(()));
        assert_eq!(committed.take(b.id).unwrap(), Written::Now(18));
        assert_eq!(committed.take(c.id).unwrap(), Written::Now(19));
        assert!(matches!(
            committed.take(a.id),
            Ok(Written::Before(Entry::Counted { count: 4, .. }))
        ));
    }

    #[test]
    fn our_own_item_is_our_own_write() {
        let a = prediction_of("a.jpg");
        let mut commit = commit();
        commit.found(a.id, &item::counted(&a, 4, commit.id));
        let mut committed = commit.finish(&[&a], Ok(()));
        assert_eq!(committed.take(a.id).unwrap(), Written::Now(4));
    }

    #[test]
    fn a_failure_is_that_of_every_pending_prediction() {
        let [a, b] = ["a.jpg", "b.jpg"].map(prediction_of);
        let mut commit = commit();
        commit.written(&[&a], 0);
        let failure = Error::Model("any".into());
        let mut committed = commit.finish(&[&a, &b], Err(failure));
        assert!(committed.take(a.id).is_ok());
        assert_eq!(committed.take(b.id).unwrap_err().code(), "Model");
    }

    #[test]
    fn a_missing_result_is_an_error() {
        let [a, b] = ["a.jpg", "b.jpg"].map(prediction_of);
        let mut commit = commit();
        commit.written(&[&a], 0);
        // A defect of the protocol: it ended without a result for `b`.
        let mut committed = commit.finish(&[&a, &b], Ok(()));
        let error = committed.take(b.id).unwrap_err();
        assert_eq!(error.code(), "NoResult");
        assert!(error.to_string().contains(&b.id.to_string()));
    }
}
