//! Why one photo has no outcome yet.
//!
//! A defect of the photo is not an error but an outcome: a [`Rejection`](crate::photo::Rejection). An [`Error`] is a
//! failure of the function, of AWS or of the network. The function reports it, and Lambda or SQS delivers the event
//! again, at last to the failure queue.

use crate::object::ObjectId;

/// A client's error and its causes.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why one photo has no outcome yet. Every variant is retryable: the ledger makes another delivery safe.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// S3 refuses to return the object.
    #[error("cannot read the object")]
    Read {
        /// The client's error.
        source: Source,
    },
    /// DynamoDB refuses a call.
    #[error("cannot {action} table {table}")]
    Table {
        /// The call, such as "read" or "write to".
        action: &'static str,
        /// Table name.
        table: String,
        /// The client's error.
        source: Source,
    },
    /// An item in the ledger is not one that this function writes.
    #[error("ledger item {key} has no valid {attribute}")]
    LedgerItem {
        /// The item's `LedgerKey`.
        key: String,
        /// The attribute that is missing or malformed.
        attribute: &'static str,
    },
    /// A record is not one that this program writes.
    #[error("record {record} has no valid {attribute}")]
    RecordItem {
        /// PredictionDate and ClassPredictionID.
        record: String,
        /// The attribute that is missing or malformed.
        attribute: &'static str,
    },
    /// The invocation's time is up.
    #[error("no time left after {attempts} attempts to {action}")]
    Deadline {
        /// What was tried, such as "read the object".
        action: &'static str,
        /// Number of attempts.
        attempts: u32,
        /// The last failure, if one was seen.
        source: Option<Source>,
    },
    /// The model failed on this input, or its output is not probabilities.
    #[error("the model failed: {0}")]
    Model(String),
    /// The thread that decoded or classified the photo panicked or was cancelled.
    #[error("the computation was aborted")]
    Aborted(#[source] Source),
    /// A step finished without a result for this photo. This is a defect of the function.
    /// Reporting it as an error keeps the photo's message from being deleted.
    #[error("{step} gave no result for {photo}: report this defect. The photo is tried again")]
    NoResult {
        /// The step that lost the result.
        step: &'static str,
        /// `ObjectId` or S3 URI of the photo.
        photo: String,
    },
}

impl Error {
    /// `step` gave no result for the photo with this `id`.
    pub(crate) fn no_result(step: &'static str, id: ObjectId) -> Self {
        Self::NoResult {
            step,
            photo: id.to_string(),
        }
    }

    /// A stable name for log searches, one for each variant.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => "Read",
            Self::Table { .. } => "Table",
            Self::LedgerItem { .. } => "LedgerItem",
            Self::RecordItem { .. } => "RecordItem",
            Self::Deadline { .. } => "Deadline",
            Self::Model(_) => "Model",
            Self::Aborted(_) => "Aborted",
            Self::NoResult { .. } => "NoResult",
        }
    }
}

/// `error` and its sources on one line, joined by `: `.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = sources.map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_each_source_once() {
        let source = Error::Read {
            source: "connection reset".into(),
        };
        let error = Error::Deadline {
            action: "read the object",
            attempts: 3,
            source: Some(source.into()),
        };
        assert_eq!(
            chain(&error),
            "no time left after 3 attempts to read the object: cannot read the object: connection reset"
        );
    }
}
