//! Gives each record of an event its result.

use crate::{
    error::chain,
    event::{Event, Part, Source},
    object::ObjectVersion,
    outcome::{Outcome, Processed, Timings},
};

/// A part of an event with the results of its records.
pub(crate) struct SettledPart {
    pub(super) id: String,
    /// In the order of the part.
    pub records: Vec<Settled>,
}

/// The result of one record of an event.
pub(crate) enum Settled {
    /// The photo has its outcome.
    Ended {
        /// The object version that was read, or the event's if nothing was read.
        object: ObjectVersion,
        /// Its outcome.
        outcome: Outcome,
        /// Durations of the stages.
        timings: Timings,
    },
    /// The photo has no outcome, or the record cannot be understood.
    Failed {
        /// Whether the record is malformed, so that a retry does not help.
        is_malformed: bool,
        /// Stable name of the error.
        code: &'static str,
        /// Explanation; it names the photo.
        reason: String,
    },
}

/// Gives each record of `event` its result. `photos` are the results of [`Event::created`], in that order.
/// A photo without a result of its own counts as failed.
pub(crate) fn settle(event: Event, photos: Vec<Processed>) -> (Source, Vec<SettledPart>) {
    let mut photos = photos.into_iter();
    let parts = event.parts.into_iter().map(|Part { id, records }| {
        let records = records.into_iter().map(|record| match record {
            Err(malformed) => Settled::Failed {
                is_malformed: true,
                code: "MalformedEvent",
                reason: chain(&malformed),
            },
            Ok(created) => match photos.next() {
                Some(photo) if photo.created == created => Settled::of(photo),
                _ => Settled::of(Processed::lost("the pipeline", &created)),
            },
        });
        SettledPart {
            id,
            records: records.collect(),
        }
    });
    let parts = parts.collect();
    (event.source, parts)
}

impl Settled {
    fn of(photo: Processed) -> Self {
        match photo.result {
            Ok(outcome) => Self::Ended {
                object: photo.object,
                outcome,
                timings: photo.timings,
            },
            Err(error) => Self::Failed {
                is_malformed: false,
                code: error.code(),
                reason: format!("{}: {}", photo.created.object, chain(error.as_ref())),
            },
        }
    }
}
