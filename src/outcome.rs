//! What became of one photo.

use std::{sync::Arc, time::Duration};

use chrono::NaiveDate;

use crate::{
    error::Error,
    ledger::Entry,
    model::Label,
    object::{ObjectCreated, ObjectVersion},
    photo::Rejection,
};

/// How the work on one object version ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Classified and counted by this invocation.
    Recorded {
        /// The class in which it counts.
        class: Label,
        /// Probability of that class.
        probability: f32,
        /// The day on which it counts.
        date: NaiveDate,
        /// Its ordinal in that class on that day, from 1.
        count: u64,
    },
    /// Rejected for good by this invocation.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// The day on which the object was created; `None` if the object could not be read.
        date: Option<NaiveDate>,
    },
    /// In an archive tier. It is reported as rejected, but the ledger does not record it: after a
    /// restore, its event may be sent again.
    Archived,
    /// Already in the ledger, or a repeat of another object in the same batch.
    Duplicate(Entry),
    /// A folder marker: no photo, so it is neither recorded nor rejected.
    Folder,
}

impl Outcome {
    /// Outcome of a repeat of this photo in the same batch.
    pub(crate) fn of_repeat(&self) -> Self {
        match self {
            Self::Recorded {
                class, date, count, ..
            } => Self::Duplicate(Entry::Counted {
                class: class.clone(),
                date: *date,
                count: *count,
            }),
            // The ledger's entry of a rejection has no date either.
            Self::Rejected { rejection, .. } => Self::Duplicate(Entry::Rejected {
                reason: rejection.to_string(),
            }),
            Self::Archived => Self::Duplicate(Entry::Rejected {
                reason: ARCHIVED.to_owned(),
            }),
            Self::Duplicate(_) | Self::Folder => self.clone(),
        }
    }
}

/// Why an archived object version is not classified.
pub(crate) const ARCHIVED: &str =
    "the object version is archived: restore it and send its event again";

/// One photo of an event after the pipeline has run: its outcome, or why it has none yet.
#[derive(Debug, Clone)]
pub(crate) struct Processed {
    /// The object as its event names it.
    pub created: ObjectCreated,
    /// The object version that was read, or the event's if nothing was read.
    pub object: ObjectVersion,
    /// The outcome. Photos that failed together share the error.
    pub result: Result<Outcome, Arc<Error>>,
    /// Durations of the stages.
    pub timings: Timings,
}

/// Durations of the stages of one photo; `None` for a stage that was not reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Timings {
    /// Reading the object.
    pub fetch: Option<Duration>,
    /// Decoding, resizing and normalizing.
    pub decode: Option<Duration>,
    /// Running the model.
    pub inference: Option<Duration>,
    /// The commit of its group, with its retries.
    pub commit: Option<Duration>,
}

impl Processed {
    /// `step` lost the result of the object `created`. See [`Error::NoResult`].
    pub(crate) fn lost(step: &'static str, created: &ObjectCreated) -> Self {
        Self {
            created: created.clone(),
            object: created.object.clone(),
            result: Err(Arc::new(Error::NoResult {
                step,
                photo: created.object.to_string(),
            })),
            timings: Timings::default(),
        }
    }
}
