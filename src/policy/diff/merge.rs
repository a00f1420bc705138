//! Differences put together, so that people can read them.

use std::collections::{BTreeMap, BTreeSet};

use palisade_api::policy::PortRange;
use palisade_api::spiffe::TrustDomain;

use super::called::Place;
use super::callers::Callers;
use super::compare::{Compared, Namespace, Why};
use super::groups::Groups;

/// Who may, or may no longer, reach whom.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    pub(super) to: String,
    pub(super) from: String,
    pub(super) ports: Vec<PortRange>,
    pub(super) why: Why,
}

/// Puts together ports, callers and called ones of which the same is to be said.
pub(super) fn lines(compared: &Compared, own: &TrustDomain) -> Vec<Line> {
    let mut lines = Vec::new();
    let groups = Groups::of(&compared.callers, own);
    for namespace in &compared.namespaces {
        let mut callers: By<'_, &Place, &Callers> = By::new();
        for ((why, from, to), ports) in by_ports(namespace) {
            let held = callers.entry((why, ports, to)).or_default();
            held.insert(from);
        }
        let mut called: By<'_, String, &Place> = By::new();
        for ((why, ports, to), from) in callers {
            for from in groups.shown(from) {
                let held = called.entry((why, ports.clone(), from)).or_default();
                held.insert(to);
            }
        }
        for ((why, ports, from), to) in called {
            let line = |to: String| Line {
                to,
                from: from.clone(),
                ports: ports.clone(),
                why: why.clone(),
            };
            if namespace.is_everybody && to.len() > 1 && to.len() == namespace.places.len() {
                lines.push(line(format!("every workload of {}", namespace.shown)));
            } else {
                let is_said = |one: &&&Place| to.iter().any(|other| other.includes(one));
                let to = to.iter().filter(|one| !is_said(one));
                lines.extend(to.map(|to| line(to.shown.clone())));
            }
        }
    }
    lines.sort();
    lines
}

/// What the same is to be said of, at the same ports.
type By<'a, K, V> = BTreeMap<(&'a Why, Vec<PortRange>, K), BTreeSet<V>>;
type Edge<'a> = (&'a Why, &'a Callers, &'a Place);

fn by_ports(namespace: &Namespace) -> BTreeMap<Edge<'_>, Vec<PortRange>> {
    let mut merged: BTreeMap<Edge<'_>, Vec<PortRange>> = BTreeMap::new();
    for flip in &namespace.flips {
        let held = merged.entry((&flip.why, &flip.from, &flip.to)).or_default();
        match held.last_mut() {
            Some(last) if last.last.checked_add(1) == Some(flip.ports.first) => {
                last.last = flip.ports.last;
            }
            _ => held.push(flip.ports),
        }
    }
    merged
}
