//! Whether both tables say the same, and the repair of what they say wrongly.
//!
//! The invariants:
//!
//! 1. the ordinals of the records of a date and class, with those of its deleted records, are 1 to `Issued`;
//! 2. `Live` is the number of records with this effective class, by date and by night;
//! 3. each record has its COUNTED object, and the reverse;
//! 4. the bins of a counter sum up to `Issued`;
//! 5. Revision is the number of history items;
//! 6. a confusion item has the numbers of reviewed records.
//!
//! The tables change while an audit reads them. So it reads the ledger first, the records next, and last again each item
//! of the ledger that seems wrong. An item that is the same before and after was not changed in between, because every
//! change of a counter raises `Issued` or `Changes`: then it is wrong. Otherwise the audit looks again.

mod check;
mod compare;
mod finding;
mod repair;
mod scan;

use std::collections::BTreeSet;

use chrono::NaiveDate;

use self::{check::Checked, scan::Snapshot};
use crate::{aws::Deadline, capture::Rules, error::Error, ledger::Ledger};

pub(crate) use self::finding::{Finding, Repair};

/// How often an audit reads the tables if counters that seem wrong change meanwhile.
const PASSES: usize = 3;

/// Which dates an audit reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Dates {
    /// The first; all if absent.
    pub(crate) from: Option<NaiveDate>,
    /// The last; all if absent.
    pub(crate) to: Option<NaiveDate>,
}

impl Dates {
    fn has(self, date: NaiveDate) -> bool {
        self.from.is_none_or(|from| from <= date) && self.to.is_none_or(|to| date <= to)
    }

    /// Whether these are all dates. Nights and confusion depend on records of any date.
    fn are_all(self) -> bool {
        self.from.is_none() && self.to.is_none()
    }
}

/// What an audit found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Keys of counters that could not be checked: they changed while the last pass read them.
    pub(crate) unsettled: BTreeSet<String>,
    /// Number of records.
    pub(crate) records: u64,
    /// Number of items of the ledger.
    pub(crate) items: u64,
}

impl Ledger {
    /// Checks the invariants of `dates`. Calls `progress` with the number of items read so far. `deadline` makes one for
    /// each call of DynamoDB.
    ///
    /// # Errors
    ///
    /// If a table cannot be read.
    pub(crate) async fn audit(
        &self,
        dates: Dates,
        deadline: impl Fn() -> Deadline,
        mut progress: impl FnMut(u64),
    ) -> Result<Report, Error> {
        let mut report = Report::default();
        for _ in 0..PASSES {
            let mut snapshot = Snapshot::read(self, dates, &deadline, &mut progress).await?;
            let Checked {
                findings,
                unsettled,
                ..
            } = check::check(self, &mut snapshot, dates, &deadline).await?;
            report = Report {
                findings,
                unsettled,
                records: snapshot.records,
                items: snapshot.items,
            };
            if report.unsettled.is_empty() {
                break;
            }
        }
        Ok(report)
    }

    /// Repairs `finding`, if it can be repaired and is still as it was found. A record of an older version of this program
    /// gets its night by `rules`.
    ///
    /// # Errors
    ///
    /// If a table refuses.
    pub(crate) async fn repair(
        &self,
        finding: &Finding,
        rules: &Rules,
        deadline: Deadline,
    ) -> Result<Repair, Error> {
        repair::repair(self, finding, rules, deadline).await
    }
}
