//! Metrics of the API in Prometheus' text format.
//!
//! Labels come from closed lists: route templates, methods, statuses, models, labels of models and kinds of problems. A key, an
//! address or a name of a person is never a label.

use std::{
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{classification::ClassifiedPhoto, models::Models, problem::Kind};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Class {
    model: String,
    class: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheResult {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    model: String,
    version: String,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of one server.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter<u64, AtomicU64>>,
    durations: Durations<Route>,
    in_flight: Gauge<i64, AtomicI64>,
    classifications: Family<Class, Counter<u64, AtomicU64>>,
    rejections: Family<Reason, Counter<u64, AtomicU64>>,
    stages: Durations<Stage>,
    cache: Family<CacheResult, Counter<u64, AtomicU64>>,
}

/// A request in flight; counted until it is dropped.
pub(super) struct InFlight(Gauge<i64, AtomicI64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// 1 ms to 16 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let durations: Durations<Route> = Family::new_with_constructor(seconds);
        let in_flight = Gauge::default();
        let classifications = Family::default();
        let rejections = Family::default();
        let stages: Durations<Stage> = Family::new_with_constructor(seconds);
        let cache = Family::default();
        registry.register("http_requests", "Requests", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time from the headers of a request to those of its response",
            durations.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests in flight",
            in_flight.clone(),
        );
        registry.register(
            "moth_classifications",
            "Classified photos by the class of the response",
            classifications.clone(),
        );
        registry.register(
            "moth_rejections",
            "Photos without a response",
            rejections.clone(),
        );
        registry.register(
            "moth_stage_duration_seconds",
            "Time of a photo in each stage",
            stages.clone(),
        );
        registry.register("moth_cache", "Lookups in the result cache", cache.clone());
        Self {
            registry,
            requests,
            durations,
            in_flight,
            classifications,
            rejections,
            stages,
            cache,
        }
    }

    /// Counts a request in flight.
    pub(super) fn start(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a request that was answered.
    pub(super) fn answered(
        &self,
        method: &'static str,
        route: &str,
        status: u16,
        duration: Duration,
    ) {
        let route = route.to_owned();
        let labels = Route {
            route: route.clone(),
        };
        self.durations
            .get_or_create(&labels)
            .observe(duration.as_secs_f64());
        let labels = Request {
            method,
            route,
            status,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a photo that was classified.
    pub(super) fn classified(&self, computed: &ClassifiedPhoto) {
        let labels = Class {
            model: computed.model_name().to_owned(),
            class: computed.class().to_string(),
        };
        self.classifications.get_or_create(&labels).inc();
        let timing = computed.timing;
        let result = if timing.is_hit { "hit" } else { "miss" };
        self.cache.get_or_create(&CacheResult { result }).inc();
        if timing.is_hit {
            return;
        }
        for (stage, duration) in [
            ("wait", timing.wait),
            ("decode", timing.decode),
            ("inference", timing.inference),
        ] {
            let histogram = self.stages.get_or_create(&Stage { stage });
            histogram.observe(duration.as_secs_f64());
        }
    }

    /// Counts a photo without a response.
    pub(super) fn rejected(&self, kind: Kind) {
        let reason = kind.into();
        self.rejections.get_or_create(&Reason { reason }).inc();
    }

    /// All metrics, and the models that serve now.
    pub(super) fn text(&self, models: &Models) -> Result<String, std::fmt::Error> {
        let mut now = Registry::default();
        let info = Family::<Version, Gauge<i64, AtomicI64>>::default();
        for named in models.serving().iter().flat_map(|serving| serving.all()) {
            let labels = Version {
                model: named.name.clone(),
                version: named.manifest().model_version().to_owned(),
            };
            info.get_or_create(&labels).set(1);
        }
        now.register("moth_model_info", "Models that serve", info);
        let mut text = String::new();
        encode(&mut text, &now)?;
        // Each text ends with this line; the whole has one.
        let end = text.len() - text.strip_suffix("# EOF\n").map_or(0, |_| "# EOF\n".len());
        text.truncate(end);
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
