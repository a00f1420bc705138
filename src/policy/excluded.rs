//! Ports that pods keep from their sidecars: no rule is asked there.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;

use super::rules::{Rules, Workload};
use super::subject::{self, Called};

/// Whether the sidecar of some replica of a called one does not see a port.
pub(super) fn is_excluded(rules: &Rules, called: &Called, port: u16) -> bool {
    let mut workloads = subject::workloads(rules, called).into_iter();
    workloads.any(|one| one.excluded_ports.contains(&port))
}

/// Some workloads, and the ports that none of the sidecars of those that rules do not tell apart sees.
pub(super) fn unseen<'a>(
    workloads: impl IntoIterator<Item = &'a Workload>,
    selected: &BTreeSet<&str>,
) -> BTreeMap<Called, BTreeSet<u16>> {
    let mut unseen: BTreeMap<Called, BTreeSet<u16>> = BTreeMap::new();
    for one in workloads {
        let own = &one.excluded_ports;
        unseen
            .entry(subject::of(one, selected))
            .and_modify(|unseen| unseen.retain(|port| own.contains(port)))
            .or_insert_with(|| own.clone());
    }
    unseen
}

/// Refuses to make a rule for a port that no sidecar of the called ones sees; warns where some do not.
pub(super) fn refuse(rules: &Rules, called: &[Called], port: u16) -> anyhow::Result<()> {
    let workloads = called.iter();
    let workloads = workloads.flat_map(|one| subject::workloads(rules, one));
    let (excluded, seen): (Vec<_>, Vec<_>) =
        workloads.partition(|one| one.excluded_ports.contains(&port));
    if let Some(first) = excluded.first() {
        let at = format!("at port {port} of {}/{}", first.namespace, first.name);
        ensure!(
            !seen.is_empty(),
            "not enforced {at}: {WHY}; nothing was done"
        );
        super::warn(&[format!("of some replicas, not enforced {at}: {WHY}")]);
    }
    Ok(())
}

/// Why rules say nothing there.
pub(super) const WHY: &str = "it is excluded from the sidecar (palisade.dev/exclude-inbound-ports), so no rule is asked \
                              there, and whoever calls gets in";
