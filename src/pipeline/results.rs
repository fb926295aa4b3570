//! Results of a batch.

use std::{collections::HashMap, sync::Arc};

use super::Progress;
use crate::{
    error::Error,
    object::{ObjectCreated, ObjectId},
    outcome::{Outcome, Processed, Timings},
};

/// Results of a batch, by position. [`finish`](Results::finish) returns exactly one for each object.
pub(super) struct Results<'a> {
    batch: &'a [ObjectCreated],
    photos: Vec<Option<Processed>>,
    /// Position of the first object with each id that an event names.
    named: HashMap<ObjectId, usize>,
    /// Position of the first prediction with each id. It is kept apart from `named`: whether a prediction is committed
    /// must not depend on another object whose fetch may fail.
    predicted: HashMap<ObjectId, usize>,
    /// Repeats: position of the repeat, and position of the first object with the same id.
    repeats: Vec<(usize, usize)>,
}

impl<'a> Results<'a> {
    pub(super) fn new(batch: &'a [ObjectCreated]) -> Self {
        Self {
            batch,
            photos: vec![None; batch.len()],
            named: HashMap::new(),
            predicted: HashMap::new(),
            repeats: Vec::new(),
        }
    }

    /// Whether the object at `index` is the first with this `id`, so that the caller
    /// processes it. A repeat gets the result of the first.
    pub(super) fn claim(&mut self, id: ObjectId, index: usize) -> bool {
        let first = *self.named.entry(id).or_insert(index);
        self.is_first(index, first)
    }

    /// Whether the prediction of the object at `index` is the first with this `id`, so that the caller commits it.
    pub(super) fn claim_commit(&mut self, id: ObjectId, index: usize) -> bool {
        let first = *self.predicted.entry(id).or_insert(index);
        self.is_first(index, first)
    }

    fn is_first(&mut self, index: usize, first: usize) -> bool {
        if first != index {
            self.repeats.push((index, first));
        }
        first == index
    }

    pub(super) fn set(
        &mut self,
        index: usize,
        progress: Progress,
        result: Result<Outcome, Arc<Error>>,
    ) {
        self.photos[index] = Some(Processed {
            created: self.batch[index].clone(),
            object: progress.object,
            result,
            timings: progress.timings,
        });
    }

    /// One result for each object, in the order of the batch. An object without a result gets
    /// [`Error::NoResult`].
    pub(super) fn finish(mut self) -> Vec<Processed> {
        for &(index, first) in &self.repeats {
            let repeat = self.photos[first].as_ref().map(|first| Processed {
                created: self.batch[index].clone(),
                object: first.object.clone(),
                result: match &first.result {
                    Ok(outcome) => Ok(outcome.of_repeat()),
                    Err(error) => Err(Arc::clone(error)),
                },
                timings: Timings::default(),
            });
            self.photos[index] = repeat;
        }
        let batch = self.batch.iter().enumerate();
        batch
            .map(|(index, created)| match self.photos[index].take() {
                Some(processed) => processed,
                None => Processed::lost("the pipeline", created),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::Entry,
        object::{ObjectVersion, VersionId},
        photo::Rejection,
    };

    fn created(key: &str, version: Option<&str>) -> ObjectCreated {
        let object = ObjectVersion {
            bucket: "moths".into(),
            key: key.into(),
            version: version.and_then(VersionId::new),
        };
        ObjectCreated::new(object, "r".into(), None)
    }

    fn keys(photos: &[Processed]) -> Vec<&str> {
        photos
            .iter()
            .map(|processed| processed.created.object.key.as_str())
            .collect()
    }

    #[test]
    fn a_missing_result_is_an_error_in_its_place() {
        let batch = ["a.jpg", "b.jpg", "c.jpg"].map(|key| created(key, Some("v1")));
        let mut results = Results::new(&batch);
        for index in [2, 0] {
            results.set(index, Progress::new(&batch[index]), Ok(Outcome::Folder));
        }
        let photos = results.finish();
        assert_eq!(keys(&photos), ["a.jpg", "b.jpg", "c.jpg"]);
        let lost = photos[1].result.as_ref().unwrap_err();
        assert_eq!(lost.code(), "NoResult");
        assert!(lost.to_string().contains("s3://moths/b.jpg"), "{lost}");
        assert!(photos[0].result.is_ok() && photos[2].result.is_ok());
    }

    #[test]
    fn a_repeat_is_a_duplicate_of_the_first() {
        let batch = [created("a.jpg", Some("v1")), created("a.jpg", Some("v1"))];
        let mut results = Results::new(&batch);
        let id = batch[0].id.unread();
        assert!(results.claim(id, 0) && !results.claim(id, 1));
        // Asking again does not make an object a repeat of itself.
        assert!(results.claim(id, 0));
        let rejection = Rejection::Gone;
        let reason = rejection.to_string();
        let outcome = Outcome::Rejected {
            rejection,
            date: None,
        };
        results.set(0, Progress::new(&batch[0]), Ok(outcome));
        let photos = results.finish();
        let duplicate = Outcome::Duplicate(Entry::Rejected { reason });
        assert_eq!(*photos[1].result.as_ref().unwrap(), duplicate);
    }

    #[test]
    fn a_prediction_does_not_depend_on_a_named_object_that_fails() {
        // The second event names no version; its read returns the version that the first event names.
        let batch = [created("a.jpg", Some("v1")), created("a.jpg", None)];
        let mut results = Results::new(&batch);
        let id = batch[0].id.unread();
        assert!(results.claim(id, 0) && results.claim_commit(id, 1));
        let failure = Err(Arc::new(Error::Model("any".into())));
        results.set(0, Progress::new(&batch[0]), failure);
        results.set(1, Progress::new(&batch[1]), Ok(Outcome::Folder));
        let photos = results.finish();
        assert!(photos[0].result.is_err() && photos[1].result.is_ok());
    }

    #[test]
    fn a_repeat_of_a_missing_result_is_an_error() {
        let batch = [created("a.jpg", Some("v1")), created("a.jpg", Some("v1"))];
        let mut results = Results::new(&batch);
        let id = batch[0].id.unread();
        results.claim(id, 0);
        results.claim(id, 1);
        let codes = results.finish();
        let codes = codes.iter().map(|p| p.result.as_ref().unwrap_err().code());
        assert_eq!(codes.collect::<Vec<_>>(), ["NoResult", "NoResult"]);
    }
}
