//! Everybody who may call, in classes that no rule of either side tells apart: each has one that stands for all of it.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use palisade_api::policy::From;
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::Sides;
use super::networks::{self, InClear, Networks};
use crate::policy::subject::Caller;

/// A class of callers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Callers {
    /// This one, known or named.
    Identity(SpiffeId),
    /// All other service accounts of this namespace.
    OtherOf(String),
    /// All other identities of this trust domain.
    OtherIn(TrustDomain),
    /// All other identities.
    OtherIdentity,
    /// A workload that comes without an identity: it has no sidecar, or goes around it.
    InClear(InClear),
    /// Addresses in this network, but in no narrower one that is named, at which nobody is known.
    Network(IpNet),
    /// All other addresses.
    OtherAddress,
}

/// Who stands for a class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stands {
    pub(super) caller: Caller,
    /// The identities that are known at its address, where it comes without one: their denials hold for it.
    pub(super) beside: Vec<SpiffeId>,
}

/// The classes, and who stands for each.
pub(super) type Classes = BTreeMap<Callers, Stands>;

/// Everybody.
pub(super) fn classes(sides: Sides<'_>) -> Classes {
    let named = Named::of(sides);
    let mut classes = Classes::new();
    for id in &named.identities {
        add(
            &mut classes,
            Callers::Identity(id.clone()),
            Some(id.clone()),
        );
    }
    let stranger = unused("other", |name| named.has_namespace(name));
    let own = sides.trust_domain;
    for namespace in &named.namespaces {
        let other = unused("other", |name| named.has_account(own, namespace, name));
        let id = SpiffeId::of_service_account(own, namespace, &other).ok();
        add(&mut classes, Callers::OtherOf(namespace.clone()), id);
    }
    for domain in &named.trust_domains {
        let id = SpiffeId::of_service_account(domain, &stranger, "other").ok();
        add(&mut classes, Callers::OtherIn(domain.clone()), id);
    }
    let domain = unused("other.invalid", |name| named.has_trust_domain(name));
    let id = domain
        .parse()
        .ok()
        .and_then(|domain| SpiffeId::of_service_account(&domain, &stranger, "other").ok());
    add(&mut classes, Callers::OtherIdentity, id);
    networks::classes(&named.networks, &mut classes);
    classes
}

fn add(classes: &mut Classes, callers: Callers, id: Option<SpiffeId>) {
    let stands = id.map(|id| Stands {
        caller: Caller::Identity(id),
        beside: Vec::new(),
    });
    classes.extend(stands.map(|stands| (callers, stands)));
}

/// What rules of either side name, and who is known.
#[derive(Debug, Default)]
struct Named {
    identities: BTreeSet<SpiffeId>,
    /// Named as a whole.
    namespaces: BTreeSet<String>,
    /// Named as a whole.
    trust_domains: BTreeSet<TrustDomain>,
    networks: Networks,
}

impl Named {
    fn of(sides: Sides<'_>) -> Self {
        let mut named = Self::default();
        for side in [sides.before, sides.after] {
            named.know(side, sides.trust_domain);
            named.identities.extend(side.revoked.identities().cloned());
            let rules = side.policies.iter().flat_map(|policy| &policy.rules);
            for from in rules.flat_map(|rule| &rule.from) {
                named.take(from, sides.trust_domain);
            }
        }
        named
    }

    fn know(&mut self, side: &super::Rules, own: &TrustDomain) {
        // An account that nobody has is one of all others, of which a cluster has dozens.
        for workload in &side.known.workloads {
            if workload.meshed {
                let (namespace, account) = (&workload.namespace, &workload.service_account);
                let id = SpiffeId::of_service_account(own, namespace, account);
                self.identities.extend(id);
            }
            self.networks.know(workload, own);
        }
    }

    fn take(&mut self, from: &From, own: &TrustDomain) {
        match from {
            From::ServiceAccount { namespace, name } => {
                let id = SpiffeId::of_service_account(own, namespace, name);
                self.identities.extend(id);
            }
            From::Identity(id) => {
                self.identities.insert(id.clone());
            }
            From::Namespace(namespace) => {
                self.namespaces.insert(namespace.clone());
            }
            From::TrustDomain(domain) => {
                self.trust_domains.insert(domain.clone());
            }
            From::Unauthenticated(net) => self.networks.name(*net),
        }
    }

    fn has_namespace(&self, name: &str) -> bool {
        let mut accounts = self.identities.iter().filter_map(SpiffeId::service_account);
        self.namespaces.contains(name) || accounts.any(|(own, _)| own == name)
    }

    fn has_account(&self, domain: &TrustDomain, namespace: &str, name: &str) -> bool {
        let id = SpiffeId::of_service_account(domain, namespace, name);
        id.is_ok_and(|id| self.identities.contains(&id))
    }

    fn has_trust_domain(&self, name: &str) -> bool {
        let of_identities = self.identities.iter().map(SpiffeId::trust_domain);
        let mut all = self.trust_domains.iter().chain(of_identities);
        all.any(|domain| domain.as_str() == name)
    }
}

/// A name that is not taken.
pub(super) fn unused(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    let mut free = name.to_owned();
    let mut number = 2_u64;
    while is_taken(&free) {
        free = format!("{name}-{number}");
        number += 1;
    }
    free
}

impl Callers {
    /// The network, where they are one's.
    pub(super) fn network(&self) -> Option<IpNet> {
        match self {
            Self::Network(net) => Some(*net),
            Self::Identity(_)
            | Self::OtherOf(_)
            | Self::OtherIn(_)
            | Self::OtherIdentity
            | Self::InClear(_)
            | Self::OtherAddress => None,
        }
    }

    /// As people call them; `all` are the classes beside this one. Of a network, `but` are those at its addresses of whom
    /// it is not said.
    pub(super) fn shown(&self, all: &Classes, own: &TrustDomain, but: &[&InClear]) -> String {
        match self {
            Self::Identity(id) => Caller::Identity(id.clone()).short(own),
            Self::OtherOf(namespace) => format!("any other account of namespace {namespace}"),
            Self::OtherIn(domain) => format!("any other identity of {domain}"),
            Self::OtherIdentity => "any other identity".to_owned(),
            Self::InClear(who) => who.to_string(),
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => {
                format!("{}, without an identity", net.addr())
            }
            Self::Network(net) => {
                let inner = inside(*net, all).into_iter();
                let inner = inner.map(|net| format!("in {net}"));
                let but = networks::but(inner.collect(), but);
                format!("addresses in {net}{but} without an identity")
            }
            Self::OtherAddress => {
                let but = networks::but(Vec::new(), but);
                format!("any other address{but} without an identity")
            }
        }
    }
}

/// The widest of the networks within this one that are classes of their own.
fn inside(net: IpNet, all: &Classes) -> Vec<IpNet> {
    let first = Callers::Network(net);
    let last = Callers::Network(IpNet::from(net.broadcast()));
    let within = all.range(first..=last).map(|(class, _)| class);
    let mut inside: Vec<IpNet> = Vec::new();
    // Wider ones come before those that they contain.
    for other in within.filter_map(Callers::network) {
        let is_widest = inside.last().is_none_or(|last| !last.contains(&other));
        if other != net && is_widest {
            inside.push(other);
        }
    }
    inside
}
