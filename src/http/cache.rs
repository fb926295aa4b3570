//! Results of the last photos of a model, so that a photo that comes again is not computed again.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lru::LruCache;

use crate::classifier::Classified;

/// Number of results. Each has a probability for each label of its model.
const CAPACITY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// SHA-256 of a photo's bytes.
pub(super) type PhotoHash = [u8; 32];

/// The last results of one model. It belongs to the model, so that a reload forgets them.
pub(super) struct ResultCache(Mutex<LruCache<PhotoHash, Arc<Classified>>>);

impl ResultCache {
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(CAPACITY)))
    }

    pub(super) fn get(&self, photo: &PhotoHash) -> Option<Arc<Classified>> {
        self.lock().get(photo).cloned()
    }

    pub(super) fn put(&self, photo: PhotoHash, result: Arc<Classified>) {
        self.lock().put(photo, result);
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<PhotoHash, Arc<Classified>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
