//! Differences put together, so that people can read them.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use palisade_api::policy::PortRange;
use palisade_api::spiffe::TrustDomain;

use super::called::Place;
use super::callers::{Callers, Classes};
use super::compare::{Compared, Namespace, Why};

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
    for namespace in &compared.namespaces {
        let mut callers: By<'_, &Place, &Callers> = By::new();
        for ((why, from, to), ports) in by_ports(namespace) {
            let held = callers.entry((why, ports, to)).or_default();
            held.insert(from);
        }
        let mut called: By<'_, String, &Place> = By::new();
        for ((why, ports, to), from) in callers {
            for from in whole(from, &compared.callers, own) {
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
            if to.len() > 1 && to.len() == namespace.places.len() {
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

/// Classes by their names; those that make up a whole by the name of that.
fn whole(mut left: BTreeSet<&Callers>, all: &Classes, own: &TrustDomain) -> Vec<String> {
    let mut shown = Vec::new();
    let mut take = |name: String, is_part: &dyn Fn(&Callers) -> bool| {
        let parts: BTreeSet<&Callers> = all.keys().filter(|one| is_part(one)).collect();
        if parts.len() > 1 && parts.is_subset(&left) {
            left.retain(|one| !parts.contains(one));
            shown.push(name);
        }
    };
    take("everybody".to_owned(), &|_| true);
    take("every identity".to_owned(), &Callers::has_identity);
    for class in all.keys() {
        if let Callers::OtherIn(domain) = class {
            let name = format!("every identity of {domain}");
            take(name, &|one| one.is_in(domain, own));
        }
    }
    for class in all.keys() {
        if let Callers::OtherOf(namespace) = class {
            let name = format!("every account of namespace {namespace}");
            take(name, &|one| one.is_of(namespace, own));
        }
    }
    let name = "every address without an identity".to_owned();
    take(name, &|one| !one.has_identity());
    for class in all.keys() {
        if let Callers::Network(net) = class {
            let name = format!("every address in {net} without an identity");
            take(name, &|one| one.is_within(*net));
        }
    }
    shown.extend(left.into_iter().map(|one| one.shown(all, own)));
    shown
}

impl Callers {
    fn has_identity(&self) -> bool {
        match self {
            Self::Identity(_) | Self::OtherOf(_) | Self::OtherIn(_) | Self::OtherIdentity => true,
            Self::Workload(..) | Self::Network(_) | Self::OtherAddress => false,
        }
    }

    fn is_in(&self, domain: &TrustDomain, own: &TrustDomain) -> bool {
        match self {
            Self::Identity(id) => id.trust_domain() == domain,
            Self::OtherOf(_) => domain == own,
            Self::OtherIn(other) => other == domain,
            Self::OtherIdentity | Self::Workload(..) | Self::Network(_) | Self::OtherAddress => {
                false
            }
        }
    }

    fn is_of(&self, namespace: &str, own: &TrustDomain) -> bool {
        match self {
            Self::Identity(id) => {
                let account = id.service_account();
                id.trust_domain() == own && account.is_some_and(|(of, _)| of == namespace)
            }
            Self::OtherOf(of) => of == namespace,
            Self::OtherIn(_)
            | Self::OtherIdentity
            | Self::Workload(..)
            | Self::Network(_)
            | Self::OtherAddress => false,
        }
    }

    fn is_within(&self, net: IpNet) -> bool {
        match self {
            Self::Workload(_, addr) => net.contains(addr),
            Self::Network(other) => net.contains(other),
            Self::Identity(_)
            | Self::OtherOf(_)
            | Self::OtherIn(_)
            | Self::OtherIdentity
            | Self::OtherAddress => false,
        }
    }
}
