//! Results of a batch: one for each object, whatever happens.

use std::{collections::HashMap, sync::Arc};

use super::Progress;
use crate::{
    error::Error,
    object::{ObjectCreated, ObjectId},
    outcome::{Outcome, Processed, Timings},
};

/// Results of a batch, by position. Each object gets exactly one.
pub(super) struct Results<'a> {
    batch: &'a [ObjectCreated],
    photos: Vec<Option<Processed>>,
    /// Position of the first object with each id.
    first: HashMap<ObjectId, usize>,
    /// Objects that the batch contains more than once: position, and position of the first.
    repeats: Vec<(usize, usize)>,
}

impl<'a> Results<'a> {
    pub(super) fn new(batch: &'a [ObjectCreated]) -> Self {
        Self {
            batch,
            photos: vec![None; batch.len()],
            first: HashMap::new(),
            repeats: Vec::new(),
        }
    }

    /// Whether the object at `index` is the first with this `id`, and so is to be processed. A repeat gets
    /// the result of the first.
    pub(super) fn claim(&mut self, id: ObjectId, index: usize) -> bool {
        let first = *self.first.entry(id).or_insert(index);
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

    /// One result for each object, in the order of the batch. An object without one is an error.
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
        let photos = self.photos.into_iter().zip(self.batch);
        photos
            .map(|(processed, created)| {
                processed.unwrap_or_else(|| Processed::lost("the pipeline", created))
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
