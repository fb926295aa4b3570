//! Admission control: how many photos, bytes of request bodies, and long reads are in progress at once.
//!
//! Each is a semaphore. A photo takes a permit before it is decoded; there is one for each CPU, and [`QUEUE`] more for photos
//! that wait. A request body takes memory permits while it arrives, and returns them when its photos are classified: all bodies
//! together have [`BODY_MEMORY`]. A request that finds no permit gets 429 at once, so a flood costs little, and requests in
//! progress are not slowed down. A photo of the bucket is fetched shortly before a CPU is free, so a waiting one takes no memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::problem::{Kind, Problem};

/// Highest number of photos that wait for a CPU.
pub(super) const QUEUE: usize = 64;
/// Memory for request bodies, in bytes: four photos at the size limit as forms, or one batch at its limit.
pub(super) const BODY_MEMORY: usize = 256 << 20;
/// Bytes of one memory permit. A semaphore has at most 2³² permits.
const UNIT: usize = 1 << 10;

/// Photos of the bucket that are fetched ahead, beside one for each CPU: enough to hide the time of a download.
const READ_AHEAD: usize = 3;
/// Highest number of exports, and of counts of a station, at once. Each reads thousands of records.
const LONG_READS: usize = 4;

/// The permits that are left.
pub(super) struct Admission {
    photos: Arc<Semaphore>,
    memory: Arc<Semaphore>,
    fetches: Semaphore,
    long_reads: Semaphore,
}

/// The memory permits of one body. They are returned when it is dropped.
pub(super) struct BodyMemory {
    pool: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    /// Bytes that the permits cover.
    reserved: usize,
}

impl Admission {
    /// Permits of a server with this number of `cpus`.
    pub(super) fn new(cpus: usize) -> Self {
        Self {
            photos: Arc::new(Semaphore::new(cpus + QUEUE)),
            memory: Arc::new(Semaphore::new(BODY_MEMORY / UNIT)),
            fetches: Semaphore::new(cpus + READ_AHEAD),
            long_reads: Semaphore::new(LONG_READS),
        }
    }

    /// Takes permits for this number of `photos`.
    pub(super) fn enter(&self, photos: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let semaphore = Arc::clone(&self.photos);
        let permits = u32::try_from(photos).unwrap_or(u32::MAX);
        semaphore.try_acquire_many_owned(permits).map_err(|_| {
            Problem::new(
                Kind::Busy,
                format!("the queue has no room for {photos} more photos: send the request again in a second"),
            )
        })
    }

    /// Fails if there is no permit for a photo now.
    pub(super) fn check_room(&self) -> Result<(), Problem> {
        self.enter(1).map(drop)
    }

    /// Waits for the permit to hold a photo of the bucket in memory. The caller has a permit for the photo, so few wait.
    #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
    pub(super) async fn fetch(&self) -> SemaphorePermit<'_> {
        let permit = self.fetches.acquire().await;
        permit.expect("the semaphore is open")
    }

    /// Takes a permit to read thousands of records.
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

    /// The memory of a new body: no permit yet.
    pub(super) fn body(&self) -> BodyMemory {
        BodyMemory {
            pool: Arc::clone(&self.memory),
            permit: None,
            reserved: 0,
        }
    }
}

impl BodyMemory {
    /// Takes memory permits until they cover `bytes` bytes.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let Some(more) = bytes.checked_sub(self.reserved) else {
            return Ok(());
        };
        let units = more.div_ceil(UNIT);
        let permits = u32::try_from(units).unwrap_or(u32::MAX);
        match Arc::clone(&self.pool).try_acquire_many_owned(permits) {
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
    fn permits_are_returned() {
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
