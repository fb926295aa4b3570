//! The records that were deleted and can be restored.

use chrono::{DateTime, Utc};

use super::{
    Record,
    state::{DELETED, copy_of, deleted_at},
};
use crate::{aws::Deadline, error::Error, ledger::Ledger};

/// A record that was deleted and can be restored.
#[derive(Debug, Clone, PartialEq)]
pub struct Deleted {
    /// The record as it was. Its revision is that of the deletion.
    pub record: Record,
    /// Time of the deletion, in whole seconds.
    pub at: DateTime<Utc>,
}

impl Ledger {
    /// The records that were deleted in the last 30 days, the latest first. Reads the whole ledger. `deadline` makes a
    /// deadline for each call of DynamoDB.
    ///
    /// # Errors
    ///
    /// If the table cannot be read, or has a malformed copy.
    pub async fn deleted_records(
        &self,
        deadline: impl Fn() -> Deadline,
    ) -> Result<Vec<Deleted>, Error> {
        let mut all = Vec::new();
        let mut start = None;
        loop {
            let page = self
                .scan(&self.ledger, Some(DELETED), start, deadline())
                .await?;
            for item in page.items {
                let at = deleted_at(&item)?;
                if let Some(copy) = copy_of(item)? {
                    all.push(Deleted {
                        record: copy.record,
                        at,
                    });
                }
            }
            start = page.next;
            if start.is_none() {
                break;
            }
        }
        all.sort_by_key(|deleted| std::cmp::Reverse(deleted.at));
        Ok(all)
    }
}
