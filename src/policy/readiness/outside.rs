//! Who is asked about, and comes in past every sidecar: nothing of it is counted, and nothing could be enforced.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::What;
use crate::policy::counted::few;
use crate::policy::rules::{Rules, Workload};
use crate::policy::subject;

/// What of the asked is seen by no sidecar.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Replicas without one.
    without_sidecar: Vec<String>,
    /// Ports that are excluded from one, by their workloads.
    excluded_ports: BTreeMap<String, BTreeSet<u16>>,
}

impl Outside {
    /// Of the whole mesh, only namespaces are asked about that have somebody in it.
    pub(super) fn of(rules: &Rules, what: Option<&What>) -> Self {
        let known = rules.known.workloads.iter();
        let meshed = known.clone().filter(|one| one.meshed);
        let meshed: BTreeSet<&str> = meshed.map(|one| &*one.namespace).collect();
        let asked = known.filter(|one| match what {
            Some(what) => what.names(one),
            None => meshed.contains(&*one.namespace),
        });
        let asked: Vec<&Workload> = asked.collect();
        let mut excluded_ports: BTreeMap<String, BTreeSet<u16>> = BTreeMap::new();
        let excluding = asked
            .iter()
            .filter(|one| one.meshed && !one.excluded_ports.is_empty());
        for one in excluding {
            let name = format!("{}/{}", one.namespace, one.name);
            let ports = excluded_ports.entry(name).or_default();
            ports.extend(&one.excluded_ports);
        }
        Self {
            without_sidecar: subject::without_sidecar(&asked),
            excluded_ports,
        }
    }

    /// For people: a line for each kind.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if !self.without_sidecar.is_empty() {
            let names = few(&self.without_sidecar);
            lines.push(format!(
                "without a sidecar, so not counted, and open whatever is enforced: {names}"
            ));
        }
        if !self.excluded_ports.is_empty() {
            let at = self.excluded_ports.iter();
            let at =
                at.map(|(name, ports)| format!("{name} {}", crate::policy::ports::shown(ports)));
            let at = few(&at.collect::<Vec<_>>());
            lines.push(format!(
                "excluded from the sidecar, so not counted, and open whatever is enforced: {at}"
            ));
        }
        lines
    }
}
