//! How much the server takes on at once: photos, and bytes of bodies.
//!
//! A photo needs a place before it is decoded: one for each CPU, and [`QUEUE`] more that wait. A body needs bytes of
//! [`BODY_MEMORY`] while it arrives and until its photos are classified. Exports have places of their own. Whoever finds none
//! gets 429 at once, so that a flood costs little and what is in progress goes on. A photo of the bucket is fetched only shortly
//! before a CPU is free, so that those that wait take no memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::problem::{Kind, Problem};

/// Photos that wait for a CPU.
pub(super) const QUEUE: usize = 64;
/// Memory for request bodies, in bytes: four photos at the size limit, or one batch at its limit and some photos.
pub(super) const BODY_MEMORY: usize = 256 << 20;
/// Unit of the memory, in bytes: a semaphore counts up to 2³² units.
const UNIT: usize = 1 << 10;

/// Photos from the bucket in memory, beside those on a CPU: enough to hide a download.
const READ_AHEAD: usize = 3;
/// Exports, and counts of a station, at once. Each reads thousands of records.
const LONG_READS: usize = 4;

/// The places and the memory that are left.
pub(super) struct Admission {
    places: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    fetches: Semaphore,
    long_reads: Semaphore,
}

/// Memory of one body, returned when it is dropped.
pub(super) struct BodyMemory {
    pool: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    /// Bytes for which it has permits.
    reserved: usize,
}

impl Admission {
    /// For a server with this number of `cpus`.
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(cpus + QUEUE)),
            memory: Arc::new(Semaphore::new(BODY_MEMORY / UNIT)),
            fetches: Semaphore::new(cpus + READ_AHEAD),
            long_reads: Semaphore::new(LONG_READS),
        }
    }

    /// Places for this number of `photos`.
    pub(super) fn enter(&self, photos: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let places = Arc::clone(&self.places);
        let number = u32::try_from(photos).unwrap_or(u32::MAX);
        places.try_acquire_many_owned(number).map_err(|_| {
            Problem::new(
                Kind::Busy,
                format!("the queue has no room for {photos} more photos: send the request again in a second"),
            )
        })
    }

    /// Waits for the turn to hold a photo of the bucket in memory. Whoever waits has a place.
    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    pub(super) async fn fetch(&self) -> SemaphorePermit<'_> {
        let turn = self.fetches.acquire().await;
        turn.expect("the semaphore is open")
    }

    /// The turn to read thousands of records.
    pub(super) fn read_long(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.long_reads.try_acquire().map_err(|_| {
            Problem::new(
                Kind::Busy,
                format!(
                    "{LONG_READS} exports, or counts of a station, are running: send the request again in a second"
                ),
            )
        })
    }

    /// Memory for a body, none at first.
    pub(super) fn body(&self) -> BodyMemory {
        BodyMemory {
            pool: Arc::clone(&self.memory),
            permit: None,
            reserved: 0,
        }
    }
}

impl BodyMemory {
    /// Reserves memory for a body that has `bytes` bytes so far.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let Some(more) = bytes.checked_sub(self.reserved) else {
            return Ok(());
        };
        let units = more.div_ceil(UNIT);
        let number = u32::try_from(units).unwrap_or(u32::MAX);
        match Arc::clone(&self.pool).try_acquire_many_owned(number) {
            Ok(permit) => {
                match &mut self.permit {
                    Some(all) => all.merge(permit),
                    all => *all = Some(permit),
                }
                self.reserved += units * UNIT;
                Ok(())
            }
            Err(_) => Err(Problem::new(
                Kind::Busy,
                "too many bodies arrive at once: send the request again in a second",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_memory_come_back() {
        let admission = Admission::new(2);
        let all = admission.enter(QUEUE + 2).unwrap();
        assert_eq!(admission.enter(1).unwrap_err().kind(), Kind::Busy);
        drop(all);
        drop(admission.enter(1).unwrap());

        let mut body = admission.body();
        body.grow_to(1).unwrap();
        body.grow_to(BODY_MEMORY).unwrap();
        body.grow_to(3).unwrap();
        assert!(admission.body().grow_to(1).is_err());
        drop(body);
        admission.body().grow_to(BODY_MEMORY).unwrap();
        assert!(admission.body().grow_to(BODY_MEMORY + 1).is_err());
    }
}
