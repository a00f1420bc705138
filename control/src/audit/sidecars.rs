//! Sidecars that control does not serve: they run, seem ready, and hear of nothing any more.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use palisade_api::cluster;
use time::{Duration, OffsetDateTime};

use super::finding::{Finding, both, look};
use super::snapshot::{Looked, Snapshot};
use super::{installed, meshed, pod};

/// What the replicas of control say of sidecars.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reports {
    /// How many said something.
    pub(crate) replicas: usize,
    /// The pods, `shop/web-0`, whose sidecars have a stream.
    pub(crate) served: BTreeSet<String>,
    /// The pods whose sidecars were refused an identity lately: for which reason, and in words.
    pub(crate) refused: BTreeMap<String, (String, String)>,
}

/// Who has no stream, and whom control sees at a wrong address.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let reports = reports(snapshot);
    let looked = both(&reports, &snapshot.pods);
    let fine = "control serves every sidecar";
    let lost = look("sidecars", &looked, fine, |(reports, pods)| {
        lost(reports, pods, snapshot.now)
    });
    let fine = "control sees sidecars at their pods' addresses";
    let hidden = look("addresses", &looked, fine, |(reports, pods)| {
        let hidden = hidden(reports, pods, &snapshot.system_namespace);
        hidden.into_iter().collect()
    });
    [lost, hidden].concat()
}

/// Without control nobody serves anybody, which is told of as that.
fn reports(snapshot: &Snapshot) -> Looked<&Reports> {
    let reports = snapshot.reports.as_ref().map_err(Clone::clone)?;
    let deployments = snapshot.deployments.as_deref().unwrap_or_default();
    let control = deployments
        .iter()
        .find(|one| one.name_any() == cluster::CONTROL);
    if control.is_some_and(|control| installed::ready(control) == 0) {
        return Err("no replica of control is ready".into());
    }
    if reports.replicas == 0 {
        return Err("no replica of control has said yet which sidecars it serves".into());
    }
    Ok(reports)
}

fn lost(reports: &Reports, pods: &[Pod], now: OffsetDateTime) -> Vec<Finding> {
    let mut made: BTreeMap<[String; 3], Vec<&Pod>> = BTreeMap::new();
    for one in pods.iter().filter(|one| should_be_served(one, now)) {
        let (kind, by) = pod::owner(one);
        let namespace = one.namespace().unwrap_or_default();
        made.entry([namespace, kind, by]).or_default().push(one);
    }
    let findings = made.iter().filter_map(|([namespace, kind, by], pods)| {
        let lost: Vec<String> = pods
            .iter()
            .map(|one| pod::key(one))
            .filter(|key| !reports.served.contains(key))
            .collect();
        let first = lost.first()?;
        let refused = lost.iter().find_map(|key| reports.refused.get(key));
        let why = refused.map_or_else(String::new, |(_reason, message)| {
            format!("; control refused it: {message}")
        });
        let (_, name) = first.split_once('/')?;
        Some(Finding::error(
            "sidecars",
            format!("{kind} {namespace}/{by}"),
            format!(
                "{} of its {} sidecars have no connection to control: no change of a rule reaches them, and their \
                 identity will expire{why}",
                lost.len(),
                pods.len()
            ),
            format!(
                "{}, which gives them the authority of today; if that does not help: kubectl -n {namespace} logs {name} \
                 -c {}",
                meshed::again(kind, by, namespace),
                cluster::PROXY_CONTAINER
            ),
        ))
    });
    findings.collect()
}

/// Whether a pod's sidecar has run for long enough to have a stream.
fn should_be_served(one: &Pod, now: OffsetDateTime) -> bool {
    let statuses = one
        .status
        .as_ref()
        .and_then(|status| status.init_container_statuses.as_ref());
    let ours = statuses
        .into_iter()
        .flatten()
        .find(|status| status.name == cluster::PROXY_CONTAINER);
    let since = ours
        .and_then(|status| status.state.as_ref()?.running.as_ref()?.started_at.as_ref())
        .map(|since| since.0.as_second());
    let lives = one.metadata.deletion_timestamp.is_none() && !pod::is_finished(one);
    let since =
        since.is_some_and(|since| now.unix_timestamp() - since > TO_CONNECT.whole_seconds());
    lives && since && pod::sidecar(one).is_some()
}

/// A network that hides the addresses of pods hides those of all of them, or of a node's: one finding.
fn hidden(reports: &Reports, pods: &[Pod], system: &str) -> Option<Finding> {
    let mut refused = reports.refused.iter().filter(|(key, (reason, _))| {
        reason == ADDRESS
            && !reports.served.contains(*key)
            && pods.iter().any(|one| pod::key(one) == **key)
    });
    let (_, (_, message)) = refused.next()?;
    let more = refused.count();
    let others = match more {
        0 => String::new(),
        more => format!("; and so {more} more"),
    };
    Some(Finding::error(
        "addresses",
        format!("Deployment {system}/{}", cluster::CONTROL),
        format!(
            "it refuses sidecars that it sees at other addresses than their pods': {message}{others}"
        ),
        "let the network keep the addresses of pods towards control (no SNAT), or install with --attest-address=off \
         (Helm: attestAddress=false); a token then counts from anywhere",
    ))
}

/// Control's reason for refusing a caller by its address.
pub(crate) const ADDRESS: &str = "address";
/// With retries, and the time until control says so.
const TO_CONNECT: Duration = Duration::seconds(30);
