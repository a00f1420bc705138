//! Every metric of control, in one list.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use palisade_api::wire;

/// The metrics, and the registry that prints them.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    svids: Family<Issue, Counter>,
    proxies: Gauge,
    revisions: Family<ChannelLabel, Gauge<u64, AtomicU64>>,
    config_errors: Gauge,
    rules_missing: Family<KindLabel, Gauge>,
    refusals: Family<ReasonLabel, Counter>,
    watch_refusals: Family<ReasonLabel, Counter>,
    usage: UsageMetrics,
    leading: Gauge,
    findings: Family<FindingLabels, Gauge>,
}

/// What becomes of what proxies count.
#[derive(Debug)]
struct UsageMetrics {
    left_out: Family<ReasonLabel, Counter>,
    asked: Family<StatusLabel, Counter>,
}

impl UsageMetrics {
    fn new(registry: &mut Registry) -> Self {
        Self {
            left_out: registered(
                registry,
                "usage_left_out",
                "What of proxies' counts is not kept: entries that mean nothing here, workloads that made room",
            ),
            asked: registered(
                registry,
                "asked",
                "Questions about the proxies' counts, by the status of the answer",
            ),
        }
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut all = Registry::with_prefix("palisade");
        let registry = all.sub_registry_with_prefix("control");
        let svids = svids(registry);
        let proxies = registered(registry, "proxies", "Proxies that watch now");
        let revisions = registered(
            registry,
            "revision",
            "The newest revision that any proxy was sent, by channel",
        );
        let config_errors = registered(
            registry,
            "config_errors",
            "Errors in configuration files that stand now; last good versions are in force",
        );
        let rules_missing = registered(
            registry,
            "rules_missing",
            "Rules in force that the API server does not list since their definition went away, by kind",
        );
        let refusals = registered(
            registry,
            "svids_refused",
            "Requests for an SVID that got none, by why",
        );
        let watch_refusals = registered(
            registry,
            "watches_refused",
            "Watches of proxies that were refused or cut off, by why",
        );
        let usage = UsageMetrics::new(registry);
        let leading = registered(
            registry,
            "leading",
            "1 in the replica that writes to the cluster",
        );
        let findings = registered(
            &mut all,
            "findings",
            "What `palisade check` would find wrong, by check and severity; looked at by the leading replica",
        );
        Self {
            registry: all,
            svids,
            proxies,
            revisions,
            config_errors,
            rules_missing,
            refusals,
            watch_refusals,
            usage,
            leading,
            findings,
        }
    }

    pub(crate) fn issued(&self, outcome: IssueOutcome) {
        self.svids.get_or_create(&Issue { outcome }).inc();
    }

    /// Counts a request that got no SVID. The reasons are a closed set.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a watch that was refused. The reasons are a closed set.
    pub(crate) fn watch_refused(&self, reason: &'static str) {
        let reason = ReasonLabel { reason };
        self.watch_refusals.get_or_create(&reason).inc();
    }

    /// Counts what is not kept of what proxies counted. The reasons are a closed set.
    pub(crate) fn usage_left_out(&self, reason: &'static str, count: usize) {
        self.usage
            .left_out
            .get_or_create(&ReasonLabel { reason })
            .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Counts a question. The statuses are a closed set.
    pub(crate) fn asked(&self, status: u16) {
        let status = StatusLabel { status };
        self.usage.asked.get_or_create(&status).inc();
    }

    pub(crate) fn leading(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    pub(crate) fn findings(&self, check: &'static str, severity: &'static str, count: usize) {
        self.findings
            .get_or_create(&FindingLabels { check, severity })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Who leads no more knows nothing of it.
    pub(crate) fn forget_findings(&self) {
        self.findings.clear();
    }

    pub(crate) fn proxies(&self, count: usize) {
        self.proxies.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn revision(&self, channel: wire::Channel, revision: u64) {
        if let Some(channel) = channel_name(channel) {
            self.revisions
                .get_or_create(&ChannelLabel { channel })
                .inner()
                .fetch_max(revision, std::sync::atomic::Ordering::Relaxed);
        }
    }

    pub(crate) fn config_errors(&self, count: usize) {
        self.config_errors
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn rules_missing(&self, kind: &'static str, count: usize) {
        self.rules_missing
            .get_or_create(&KindLabel { kind })
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All of them as Prometheus text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn svids(registry: &mut Registry) -> Family<Issue, Counter> {
    let svids: Family<Issue, Counter> = registered(
        registry,
        "svids_issued",
        "Requests for an SVID, by what they came to",
    );
    for outcome in IssueOutcome::ALL {
        // A rate needs a beginning.
        drop(svids.get_or_create(&Issue { outcome }));
    }
    svids
}

fn registered<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &'static str,
    help: &'static str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issue {
    outcome: IssueOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    check: &'static str,
    severity: &'static str,
}

/// What a request for an SVID came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum IssueOutcome {
    Issued,
    Refused,
    Failed,
}

impl IssueOutcome {
    const ALL: [Self; 3] = [Self::Issued, Self::Refused, Self::Failed];
}

impl EncodeLabelValue for IssueOutcome {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Failed => "failed",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabel {
    channel: &'static str,
}

/// A channel's name for people, and as a label.
pub(crate) fn channel_name(channel: wire::Channel) -> Option<&'static str> {
    match channel {
        wire::Channel::Bundles => Some("bundles"),
        wire::Channel::Revocations => Some("revocations"),
        wire::Channel::Rules => Some("rules"),
        wire::Channel::Addresses => Some("addresses"),
        wire::Channel::Unspecified => None,
    }
}
