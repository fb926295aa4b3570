//! How many requests one caller may send.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};

use super::problem::{Kind, Problem};

/// Number of requests after which callers who were quiet are forgotten.
const FORGET_EVERY: u32 = 10_000;

/// Who is counted: the name of a key, or the address of somebody without one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum RateKey {
    Name(String),
    Address(Option<IpAddr>),
}

/// The address from which a request came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Requests of each caller in the last minute.
pub(super) struct Rates {
    limiter: RateLimiter<RateKey, HashMapStateStore<RateKey>, DefaultClock>,
    per_minute: NonZeroU32,
    requests: AtomicU32,
}

impl Rates {
    /// Each caller may send this number of requests a minute, all of them at once if they like.
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::hashmap(Quota::per_minute(per_minute)),
            per_minute,
            requests: AtomicU32::new(0),
        }
    }

    /// Counts a request of `caller`, and fails if it is one too many.
    pub(super) fn count(&self, caller: &RateKey) -> Result<(), Problem> {
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        if requests % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(caller).map_err(|until| {
            let wait = until.wait_time_from(self.limiter.clock().now());
            // Rounded up.
            let seconds = (wait + Duration::from_millis(999)).as_secs().max(1);
            let detail = format!(
                "you may send {} requests a minute: wait {seconds} s",
                self.per_minute
            );
            Problem::new(Kind::TooManyRequests, detail).retry_after(seconds)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_its_own_requests() {
        let rates = Rates::new(NonZeroU32::new(2).unwrap());
        let name = |name: &str| RateKey::Name(name.to_owned());
        rates.count(&name("a")).unwrap();
        rates.count(&name("a")).unwrap();
        assert_eq!(
            rates.count(&name("a")).unwrap_err().kind(),
            Kind::TooManyRequests
        );
        rates.count(&name("b")).unwrap();
        rates.count(&RateKey::Address(None)).unwrap();
    }
}
