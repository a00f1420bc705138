//! Everybody who may call, in classes that no rule of either side tells apart: each has one that stands for all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_api::policy::From;
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::Sides;
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
    /// A workload without a sidecar, at its address.
    Workload(String, IpAddr),
    /// Addresses in this network, but in no narrower one that is named.
    Network(IpNet),
    /// All other addresses.
    OtherAddress,
}

/// The classes, and who stands for each.
pub(super) type Classes = BTreeMap<Callers, Caller>;

/// Everybody.
pub(super) fn classes(sides: Sides<'_>) -> Classes {
    let named = Named::of(sides);
    let mut classes = Classes::new();
    for id in &named.identities {
        let caller = Caller::Identity(id.clone());
        classes.insert(Callers::Identity(id.clone()), caller);
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
    addresses(&named, &mut classes);
    classes
}

fn add(classes: &mut Classes, callers: Callers, id: Option<SpiffeId>) {
    classes.extend(id.map(|id| (callers, Caller::Identity(id))));
}

fn addresses(named: &Named, classes: &mut Classes) {
    for (net, workload) in &named.networks {
        let inside = named
            .networks
            .keys()
            .filter(|other| is_within(**other, *net));
        if let Some(addr) = first_outside(*net, &inside.copied().collect::<Vec<_>>()) {
            let callers = match workload {
                Some(name) => Callers::Workload(name.clone(), addr),
                None => Callers::Network(*net),
            };
            classes.insert(callers, Caller::Address(addr));
        }
    }
    let all: Vec<IpNet> = named.networks.keys().copied().collect();
    let everywhere = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    ];
    let other = everywhere.iter().find_map(|net| first_outside(*net, &all));
    classes.extend(other.map(|addr| (Callers::OtherAddress, Caller::Address(addr))));
}

fn is_within(inner: IpNet, outer: IpNet) -> bool {
    inner != outer && outer.contains(&inner)
}

/// The first address of a network that is in none of the others; none where they fill it.
fn first_outside(net: IpNet, others: &[IpNet]) -> Option<IpAddr> {
    let mapped = IpNet::V6(Ipv6Net::new_assert(MAPPED, 96));
    let mut addr = net.network();
    while net.contains(&addr) {
        let mut within = others.iter().chain([&mapped]);
        let Some(within) = within.find(|other| other.contains(&addr)) else {
            return Some(addr);
        };
        addr = match within.broadcast() {
            IpAddr::V4(last) => IpAddr::V4(u32::from(last).checked_add(1)?.into()),
            IpAddr::V6(last) => IpAddr::V6(u128::from(last).checked_add(1)?.into()),
        };
    }
    None
}

/// What rules of either side name, and who is known.
#[derive(Debug, Default)]
struct Named {
    identities: BTreeSet<SpiffeId>,
    /// Named as a whole.
    namespaces: BTreeSet<String>,
    /// Named as a whole.
    trust_domains: BTreeSet<TrustDomain>,
    /// With the workload, where it is one's address.
    networks: BTreeMap<IpNet, Option<String>>,
}

impl Named {
    fn of(sides: Sides<'_>) -> Self {
        let mut named = Self::default();
        for side in [sides.before, sides.after] {
            named.know(side, sides.trust_domain);
            let rules = side.policies.iter().flat_map(|policy| &policy.rules);
            for from in rules.flat_map(|rule| &rule.from) {
                named.take(from, sides.trust_domain);
            }
        }
        named
    }

    fn know(&mut self, side: &super::Rules, own: &TrustDomain) {
        for (namespace, account) in &side.known.accounts {
            let of_account = || {
                let workloads = side.known.workloads.iter();
                workloads
                    .filter(|one| (&one.namespace, &one.service_account) == (namespace, account))
            };
            let comes_with_it = of_account().next().is_none() || of_account().any(|one| one.meshed);
            if comes_with_it {
                let id = SpiffeId::of_service_account(own, namespace, account);
                self.identities.extend(id);
            }
        }
        for workload in side.known.workloads.iter().filter(|one| !one.meshed) {
            for addr in &workload.addresses {
                let name = format!("{}/{}", workload.namespace, workload.name);
                self.networks.insert(IpNet::from(*addr), Some(name));
            }
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
            From::Unauthenticated(net) => {
                self.networks.entry(net.trunc()).or_default();
            }
        }
    }

    fn has_namespace(&self, name: &str) -> bool {
        let accounts = self.identities.iter().filter_map(SpiffeId::service_account);
        self.namespaces.contains(name) || accounts.into_iter().any(|(own, _)| own == name)
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
            | Self::Workload(..)
            | Self::OtherAddress => None,
        }
    }

    /// As people call them; `all` are the classes beside this one.
    pub(super) fn shown(&self, all: &Classes, own: &TrustDomain) -> String {
        match self {
            Self::Identity(id) => Caller::Identity(id.clone()).short(own),
            Self::OtherOf(namespace) => format!("any other account of namespace {namespace}"),
            Self::OtherIn(domain) => format!("any other identity of {domain}"),
            Self::OtherIdentity => "any other identity".to_owned(),
            Self::Workload(name, addr) => format!("{name} ({addr}, without an identity)"),
            Self::Network(net) if net.prefix_len() == net.max_prefix_len() => {
                format!("{}, without an identity", net.addr())
            }
            Self::Network(net) => {
                let but: Vec<String> = inside(*net, all).iter().map(ToString::to_string).collect();
                let but = match but.as_slice() {
                    [] => String::new(),
                    but => format!(", but not in {},", but.join(" or ")),
                };
                format!("addresses in {net}{but} without an identity")
            }
            Self::OtherAddress => "any other address without an identity".to_owned(),
        }
    }
}

/// The widest of the networks within this one that are classes of their own.
fn inside(net: IpNet, all: &Classes) -> Vec<IpNet> {
    let networks = all.keys().filter_map(Callers::network);
    let inside: Vec<IpNet> = networks.filter(|other| is_within(*other, net)).collect();
    let is_widest = |one: &&IpNet| !inside.iter().any(|other| is_within(**one, *other));
    inside.iter().filter(is_widest).copied().collect()
}

/// IPv4 in IPv6's form, which no caller has.
const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
