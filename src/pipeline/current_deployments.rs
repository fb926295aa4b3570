//! The deployments table, as the pipeline last read it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::{aws::Deadline, deployments::Deployments, error::Error, ledger::Ledger};

/// An import takes effect within this time. A read costs one read unit for each 4 KB of the table.
const MAX_AGE: Duration = Duration::from_secs(60);

/// The deployments table, at most a minute old.
#[derive(Default)]
pub(super) struct CurrentDeployments(Mutex<Option<Read>>);

struct Read {
    at: Instant,
    table: Arc<Option<Deployments>>,
}

impl CurrentDeployments {
    /// The table; `None` if nobody imported one.
    pub(super) async fn get(
        &self,
        ledger: &Ledger,
        deadline: Deadline,
    ) -> Result<Arc<Option<Deployments>>, Error> {
        let mut last = self.0.lock().await;
        if let Some(read) = &*last
            && read.at.elapsed() < MAX_AGE
        {
            return Ok(Arc::clone(&read.table));
        }
        let table = Arc::new(ledger.deployments(deadline).await?);
        *last = Some(Read {
            at: Instant::now(),
            table: Arc::clone(&table),
        });
        Ok(table)
    }
}
