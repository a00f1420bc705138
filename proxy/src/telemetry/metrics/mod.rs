//! Every metric of the proxy, in one list.
//!
//! Labels are closed sets of words, or names of rules that the current policy holds. No name that a peer can
//! choose is ever one.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use palisade_api::policy::{Decision, RuleName};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use time::OffsetDateTime;

use super::bypass;
use super::facts::{Direction, mode_word};
use super::labels::{By, Bypassed, Decided, Flow, Handshake, Reason, Reused, State};
use crate::outcome::{CLOSE_WORDS, Outcome, close_by};
use crate::tls::error::HandshakeError;

/// The metrics, as what happens: one function for each event.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    opened: Counter,
    closed: Family<By, Counter>,
    terminated: Family<Reason, Counter>,
    open: Gauge,
    /// In the order inbound sent, inbound received, outbound sent, outbound received: relays count often.
    bytes: [Counter; 4],
    decisions: Family<Decided, Counter>,
    /// The rules of the current policy, the only names that become labels.
    rules: RwLock<RuleLabels>,
    handshakes: Family<Handshake, Counter>,
    handshake_seconds: Histogram,
    streams: [Counter; 2],
    policy_revision: Gauge,
    svid_expiration: Gauge,
    pool: Family<State, Gauge>,
    records_dropped: Counter,
    bypassed: Family<Bypassed, Counter>,
}

/// Rules and their names as labels.
type RuleLabels = HashMap<RuleName, Arc<str>>;

/// What a mesh connection of the pool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolState {
    /// It carries streams, or takes some.
    Active,
    /// It carries none and is kept.
    Idle,
    /// It takes no new ones.
    Draining,
}

/// What a new stream rides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A connection that was made for it.
    New,
    /// One that was there.
    Reused,
}

impl Metrics {
    /// All of them, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("palisade");
        let bytes = Family::<Flow, Counter>::default();
        let streams = Family::<Reused, Counter>::default();
        let flow = |direction, flow| bytes.get_or_create_owned(&Flow { direction, flow });
        let metrics = Self {
            opened: Counter::default(),
            closed: Family::default(),
            terminated: Family::default(),
            open: Gauge::default(),
            bytes: [
                flow("inbound", "sent"),
                flow("inbound", "received"),
                flow("outbound", "sent"),
                flow("outbound", "received"),
            ],
            decisions: Family::default(),
            rules: RwLock::default(),
            handshakes: Family::default(),
            handshake_seconds: Histogram::new(HANDSHAKE_BUCKETS),
            streams: ["false", "true"]
                .map(|reused| streams.get_or_create_owned(&Reused { reused })),
            policy_revision: Gauge::default(),
            svid_expiration: Gauge::default(),
            pool: Family::default(),
            records_dropped: Counter::default(),
            bypassed: Family::default(),
            registry: Registry::default(),
        };
        metrics.begin_at_zero();
        metrics.register_connections(&mut registry, bytes);
        metrics.register_mesh(&mut registry, streams);
        Self {
            registry,
            ..metrics
        }
    }

    fn begin_at_zero(&self) {
        for by in CLOSE_WORDS {
            drop(self.closed.get_or_create(&By { by }));
        }
        for state in POOL_STATES {
            drop(self.pool.get_or_create(&state.label()));
        }
    }

    fn register_connections(&self, registry: &mut Registry, bytes: Family<Flow, Counter>) {
        registry.register(
            "connections_opened",
            "Connections accepted",
            self.opened.clone(),
        );
        registry.register(
            "connections_closed",
            "Connections that ended, by who or what ended them",
            self.closed.clone(),
        );
        registry.register(
            "connections_terminated",
            "Connections that did not end cleanly, by the error of their record",
            self.terminated.clone(),
        );
        registry.register(
            "connections_open",
            "Connections that live now",
            self.open.clone(),
        );
        registry.register(
            "bytes",
            "Bytes moved, counted as they move; sent is from a connection's client to its server",
            bytes,
        );
        registry.register(
            "decisions",
            "Policy decisions, by the rule that decided",
            self.decisions.clone(),
        );
    }

    fn register_mesh(&self, registry: &mut Registry, streams: Family<Reused, Counter>) {
        registry.register(
            "handshakes",
            "Mesh handshakes, by outcome and key exchange",
            self.handshakes.clone(),
        );
        registry.register(
            "handshake_seconds",
            "Time of the mesh handshakes that succeeded",
            self.handshake_seconds.clone(),
        );
        registry.register(
            "streams",
            "Streams opened, by whether their mesh connection was there before",
            streams,
        );
        registry.register(
            "policy_revision",
            "Revision of the policy that is enforced; 0 before there is one",
            self.policy_revision.clone(),
        );
        registry.register(
            "svid_expiration_timestamp_seconds",
            "When the current SVID expires; 0 before there is one",
            self.svid_expiration.clone(),
        );
        registry.register(
            "pool_connections",
            "Mesh connections, by state",
            self.pool.clone(),
        );
        registry.register(
            "records_dropped",
            "Records that their consumer did not take in time",
            self.records_dropped.clone(),
        );
        registry.register(
            "bypass_packets",
            "Datagrams of this network namespace, which the mesh does not carry",
            self.bypassed.clone(),
        );
    }

    /// A connection was accepted.
    pub(super) fn connection_opened(&self) {
        self.opened.inc();
        self.open.inc();
    }

    /// A connection ended.
    pub(super) fn connection_closed(&self, outcome: &Outcome) {
        self.open.dec();
        let by = close_by(outcome);
        self.closed.get_or_create(&By { by }).inc();
        if let Err(failure) = outcome {
            let reason = failure.error();
            self.terminated.get_or_create(&Reason { reason }).inc();
        }
    }

    /// Bytes moved from the client to the server of a connection.
    pub(super) fn bytes_sent(&self, direction: Direction, bytes: u64) {
        let [inbound, _, outbound, _] = &self.bytes;
        match direction {
            Direction::Inbound => inbound.inc_by(bytes),
            Direction::Outbound => outbound.inc_by(bytes),
        };
    }

    /// Bytes moved from the server to the client of a connection.
    pub(super) fn bytes_received(&self, direction: Direction, bytes: u64) {
        let [_, inbound, _, outbound] = &self.bytes;
        match direction {
            Direction::Inbound => inbound.inc_by(bytes),
            Direction::Outbound => outbound.inc_by(bytes),
        };
    }

    /// Policy decided, for a new connection. What a rule in shadow would have done is counted beside it.
    pub(super) fn decided(&self, decision: &Decision) {
        let verdict = &decision.verdict;
        self.count_decision(
            verdict.effect().as_str(),
            mode_word(verdict),
            verdict.rule(),
        );
        if let Some((effect, rule)) = &decision.shadow {
            self.count_decision(effect.as_str(), "shadow", Some(rule));
        }
    }

    fn count_decision(&self, decision: &'static str, mode: &'static str, rule: Option<&RuleName>) {
        // Held while counting, so that a rule that goes cannot leave a series behind.
        let rules = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        let rule = rule
            .and_then(|rule| rules.get(rule))
            .cloned()
            .unwrap_or_default();
        self.decisions
            .get_or_create(&Decided {
                decision,
                mode,
                rule,
            })
            .inc();
    }

    /// A policy is enforced from now on. The series of rules that it no longer has end.
    pub fn policy_applied(&self, revision: u64, rules: impl IntoIterator<Item = RuleName>) {
        self.policy_revision
            .set(i64::try_from(revision).unwrap_or(i64::MAX));
        let new: RuleLabels = rules
            .into_iter()
            .map(|rule| (rule.clone(), rule.to_string().into()))
            .collect();
        let mut rules = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        for gone in rules.iter().filter(|(rule, _)| !new.contains_key(*rule)) {
            self.forget(gone.1);
        }
        *rules = new;
    }

    fn forget(&self, rule: &Arc<str>) {
        for decision in ["allow", "deny"] {
            for mode in ["enforce", "shadow"] {
                self.decisions.remove(&Decided {
                    decision,
                    mode,
                    rule: Arc::clone(rule),
                });
            }
        }
    }

    /// A mesh handshake succeeded, with this key exchange.
    pub fn handshake_finished(&self, group: &str, took: Duration) {
        let group = GROUPS
            .into_iter()
            .find(|known| *known == group)
            .unwrap_or("other");
        self.handshakes
            .get_or_create(&Handshake {
                outcome: "ok",
                group,
            })
            .inc();
        self.handshake_seconds.observe(took.as_secs_f64());
    }

    /// A mesh handshake failed.
    pub fn handshake_failed(&self, error: &HandshakeError) {
        let outcome = error.reason();
        self.handshakes
            .get_or_create(&Handshake { outcome, group: "" })
            .inc();
    }

    /// A stream was opened.
    pub fn stream_opened(&self, carrier: Carrier) {
        let [new, reused] = &self.streams;
        match carrier {
            Carrier::New => new.inc(),
            Carrier::Reused => reused.inc(),
        };
    }

    /// How many mesh connections of the pool there are, by state.
    pub fn pool_is(&self, idle: usize, active: usize, draining: usize) {
        for (state, count) in [
            (PoolState::Idle, idle),
            (PoolState::Active, active),
            (PoolState::Draining, draining),
        ] {
            self.pool
                .get_or_create(&state.label())
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Connections that are open now, in both directions.
    pub fn connections_open(&self) -> usize {
        usize::try_from(self.open.get()).unwrap_or_default()
    }

    /// The SVID that is used from now on expires then.
    pub fn svid_renewed(&self, expires: OffsetDateTime) {
        self.svid_expiration.set(expires.unix_timestamp());
    }

    /// The counter of lines that were not written.
    pub fn records_dropped(&self) -> &Counter {
        &self.records_dropped
    }

    /// OpenMetrics text, with what the kernel counts as of now.
    pub fn text(&self) -> String {
        for (label, packets) in bypass::read() {
            let counter = self.bypassed.get_or_create_owned(&label);
            // The kernel's own count only grows, as a counter must.
            counter
                .inner()
                .store(packets, std::sync::atomic::Ordering::Relaxed);
        }
        let mut text = String::new();
        // A string takes everything, so what is encoded is whole.
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl PoolState {
    fn label(self) -> State {
        let state = match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::Draining => "draining",
        };
        State { state }
    }
}

const POOL_STATES: [PoolState; 3] = [PoolState::Active, PoolState::Idle, PoolState::Draining];
const GROUPS: [&str; 2] = ["X25519MLKEM768", "X25519"];
const HANDSHAKE_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0, 4.0, 10.0,
];

#[cfg(test)]
mod tests;
