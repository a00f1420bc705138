//! Every metric of the injector, in one list.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

/// The metrics, and the registry that prints them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    reviews: Family<Review, Counter>,
    seconds: Family<PathLabel, Histogram>,
    skips: Family<Skip, Counter>,
    certificate_end: Gauge,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("palisade_injector");
        let reviews = Family::default();
        let seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let skips = Family::default();
        let certificate_end = Gauge::default();
        registry.register(
            "reviews",
            "Reviews that the API server asked for, by path and by what they came to",
            Family::clone(&reviews),
        );
        registry.register(
            "review_seconds",
            "From a review's first byte to its answer, by path",
            Family::clone(&seconds),
        );
        registry.register(
            "skips",
            "Pods of the mesh's namespaces that were let through without a sidecar, by reason",
            Family::clone(&skips),
        );
        registry.register(
            "certificate_expiration_timestamp_seconds",
            "When the serving certificate ends; 0 while there is none",
            certificate_end.clone(),
        );
        Self {
            registry,
            reviews,
            seconds,
            skips,
            certificate_end,
        }
    }

    /// One review, by its path and by what it came to.
    pub(crate) fn reviewed(&self, path: &'static str, outcome: &'static str, took: Duration) {
        self.reviews.get_or_create(&Review { path, outcome }).inc();
        self.seconds
            .get_or_create(&PathLabel { path })
            .observe(took.as_secs_f64());
    }

    pub(crate) fn skipped(&self, reason: &'static str) {
        self.skips.get_or_create(&Skip { reason }).inc();
    }

    pub(crate) fn certificate_ends(&self, at: OffsetDateTime) {
        self.certificate_end.set(at.unix_timestamp());
    }

    /// All of them as Prometheus text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The API server waits five seconds, and a pod's start waits with it.
fn histogram() -> Histogram {
    Histogram::new([
        0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0,
    ])
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Review {
    path: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabel {
    path: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Skip {
    reason: &'static str,
}
