//! Many deliveries at once, with faults and kills at random.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use fastrand::Rng;
use futures_util::{StreamExt, stream};

use crate::support::{
    command::kill,
    exclusive,
    item::number,
    photo::CLASSES,
    promise::{self, Reference, Version, deliver_as_messages, deliver_until_done, upload},
    proxy::{Fault, Proxy},
    random,
    stack::{Options, Stack},
};

/// The size of a storm.
struct Storm {
    objects: usize,
    /// Keys of the objects. With fewer keys than objects, some keys have two versions.
    keys: usize,
    /// Deliveries of each object.
    deliveries: usize,
    processes: usize,
    /// Time between two kills.
    between_kills: Duration,
}

/// One call in this number fails: 5 %.
const CALLS_PER_FAULT: u64 = 20;
/// Messages of one SQS event.
const BATCH: usize = 10;

/// Events that were delivered, and processes that were killed.
#[derive(Default)]
struct Tally {
    events: AtomicUsize,
    kills: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_storm_counts_each_object_once() {
    let storm = Storm {
        objects: 50,
        keys: 40,
        deliveries: 4,
        processes: 4,
        between_kills: Duration::from_millis(500),
    };
    storm.run().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 2,000 deliveries of 500 objects"]
async fn a_storm_counts_each_object_once() {
    let storm = Storm {
        objects: 500,
        keys: 400,
        deliveries: 4,
        processes: 8,
        between_kills: Duration::from_secs(1),
    };
    storm.run().await;
}

impl Storm {
    async fn run(&self) {
        let _turn = exclusive::turn().await;
        let started = Instant::now();
        let stack = Stack::with(Options {
            processes: self.processes,
            proxied: true,
            ..Options::invoked_by_hand()
        })
        .await;
        let mut random = random::generator();
        let (reference, versions) = self.upload(&stack).await;
        let deliveries = self.shuffled(&versions, &mut random);
        for proxy in stack.proxies() {
            proxy.by_chance(CALLS_PER_FAULT, &Fault::WIRE, random.u64(..));
        }
        let tally = Tally::default();
        tokio::select! {
            () = self.deliver(&stack, &deliveries, &tally) => {}
            () = self.kill(&stack, &tally) => {}
        }
        stack.proxies().iter().for_each(Proxy::heal);
        promise::check(&stack, &reference).await;
        assert_eq!(stack.ledger("object/").await.len(), self.objects);
        let counters = stack.ledger("count/").await;
        let issued: f64 = counters.iter().map(|item| number(item, "Issued")).sum();
        assert_eq!(issued as usize, stack.records().await.len());
        self.print(&stack, &tally, started);
        stack.stop().await;
    }

    /// Uploads the objects. One in ten is no photo.
    async fn upload(&self, stack: &Stack) -> (Reference, Vec<Version>) {
        let mut reference = Reference::new();
        let mut versions = Vec::new();
        for n in 0..self.objects {
            let class = (n % 10 != 0).then(|| CLASSES[n % CLASSES.len()]);
            let key = format!("{}.png", n % self.keys);
            versions.push(upload(stack, &mut reference, &key, class).await);
        }
        (reference, versions)
    }

    fn shuffled(&self, versions: &[Version], random: &mut Rng) -> Vec<Version> {
        let mut deliveries = vec![versions; self.deliveries].concat();
        random.shuffle(&mut deliveries);
        deliveries
    }

    /// Delivers a third of `deliveries` as messages of SQS events, and the rest in an event each.
    async fn deliver(&self, stack: &Stack, deliveries: &[Version], tally: &Tally) {
        /// The futures of both sources need one type.
        type Delivery<'a> = Pin<Box<dyn Future<Output = usize> + 'a>>;
        let (queued, direct) = deliveries.split_at(deliveries.len() / 3);
        let direct = direct.iter().map(|version| {
            Box::pin(async { deliver_until_done(stack, version).await.1 }) as Delivery<'_>
        });
        let queued = queued.chunks(BATCH).map(|versions| {
            Box::pin(async { deliver_as_messages(stack, versions).await }) as Delivery<'_>
        });
        let sources = stream::select(stream::iter(direct), stream::iter(queued));
        sources
            .buffer_unordered(2 * self.processes)
            .for_each(async |events| {
                tally.events.fetch_add(events, Ordering::Relaxed);
            })
            .await;
    }

    /// Kills one process after the other, without end.
    async fn kill(&self, stack: &Stack, tally: &Tally) {
        let mut interval = tokio::time::interval(self.between_kills);
        loop {
            interval.tick().await;
            let n = tally.kills.fetch_add(1, Ordering::Relaxed);
            if let Some(&process) = stack.processes().get(n % self.processes) {
                kill(process);
            }
        }
    }

    fn print(&self, stack: &Stack, tally: &Tally, started: Instant) {
        let sum = |counts: fn(&Proxy) -> BTreeMap<String, usize>| -> usize {
            let counts = stack.proxies().iter().map(counts);
            counts.flat_map(BTreeMap::into_values).sum()
        };
        println!(
            "{} deliveries of {} objects in {} events over {} processes, {} faults in {} calls, {} kills, {:.0} s",
            self.objects * self.deliveries,
            self.objects,
            tally.events.load(Ordering::Relaxed),
            self.processes,
            sum(Proxy::faults),
            sum(Proxy::calls),
            tally.kills.load(Ordering::Relaxed),
            started.elapsed().as_secs_f64(),
        );
    }
}
