//! Callers without an identity, in classes: by the networks that rules name, and by who is known at an address.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::callers::{Callers, Classes, Stands};
use crate::policy::rules::Workload;
use crate::policy::subject::Caller;

/// A workload at addresses that no rule tells apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InClear {
    /// `shop/web`.
    name: String,
    /// In their order, at least one.
    pub(super) addresses: Vec<IpAddr>,
    /// The narrowest network that is named and has them beside others.
    pub(super) within: Option<IpNet>,
}

impl fmt::Display for InClear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = listed(self.addresses.iter().collect());
        write!(f, "{}, in clear from {from}", self.name)
    }
}

impl InClear {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// The first of some addresses, and how many more there are.
pub(super) fn listed(addresses: BTreeSet<&IpAddr>) -> String {
    let some = addresses.iter().take(MOST_SHOWN);
    let some: Vec<_> = some.map(ToString::to_string).collect();
    let some = some.join(", ");
    match addresses.len().saturating_sub(MOST_SHOWN) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}

/// Networks that rules name, and addresses at which somebody is known.
#[derive(Debug, Default)]
pub(super) struct Networks {
    named: BTreeSet<IpNet>,
    known: BTreeMap<IpAddr, At>,
}

/// Who is known at an address.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct At {
    names: BTreeSet<String>,
    identities: BTreeSet<SpiffeId>,
}

impl Networks {
    pub(super) fn name(&mut self, net: IpNet) {
        self.named.insert(net.trunc());
    }

    /// Also one that has a sidecar: what goes around it comes in clear.
    pub(super) fn know(&mut self, workload: &Workload, own: &TrustDomain) {
        let (namespace, account) = (&workload.namespace, &workload.service_account);
        for addr in &workload.addresses {
            let at = self.known.entry(*addr).or_default();
            at.names.insert(format!("{namespace}/{}", workload.name));
            let id = SpiffeId::of_service_account(own, namespace, account);
            at.identities.extend(id);
        }
    }

    /// The narrowest network that is named and has this address beside others.
    fn around(&self, addr: IpAddr, lengths: &BTreeSet<u8>) -> Option<IpNet> {
        let mut nets = lengths.iter().rev().filter_map(|length| {
            let net = IpNet::new(addr, *length).ok()?.trunc();
            let is_wider = net.prefix_len() < net.max_prefix_len();
            (is_wider && self.named.contains(&net)).then_some(net)
        });
        nets.next()
    }
}

/// Adds a class for each that rules tell apart, or denials of those who are known there.
pub(super) fn classes(networks: &Networks, classes: &mut Classes) {
    let mut taken = networks.named.clone();
    taken.extend(networks.known.keys().copied().map(IpNet::from));
    // IPv4 in IPv6's form, which no caller has.
    let mapped = IpNet::V6(Ipv6Net::new_assert(MAPPED, 96));
    taken.insert(mapped);
    for net in networks.named.iter().filter(|net| !mapped.contains(*net)) {
        let is_known =
            net.prefix_len() == net.max_prefix_len() && networks.known.contains_key(&net.addr());
        let inner = taken.range(*net..=IpNet::from(net.broadcast()));
        let inner = inner.filter(|other| *other != net);
        if !is_known && let Some(addr) = first_outside(*net, inner) {
            classes.insert(Callers::Network(*net), nobody_at(addr));
        }
    }
    let everywhere = [
        IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
        IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
    ];
    let other = everywhere
        .into_iter()
        .find_map(|net| first_outside(net, taken.range(net..=IpNet::from(net.broadcast()))));
    classes.extend(other.map(|addr| (Callers::OtherAddress, nobody_at(addr))));
    in_clear(networks, classes);
}

fn nobody_at(addr: IpAddr) -> Stands {
    Stands {
        caller: Caller::Address(addr),
        beside: Vec::new(),
    }
}

/// What addresses have in common that no rule tells apart: who is there, and the narrowest network around; one that is named
/// itself has nothing in common with others.
type Alike<'a> = (&'a At, Option<IpNet>, Option<IpAddr>);

fn in_clear(networks: &Networks, classes: &mut Classes) {
    let lengths = networks.named.iter().map(IpNet::prefix_len).collect();
    let mut together: BTreeMap<Alike<'_>, Vec<IpAddr>> = BTreeMap::new();
    for (addr, at) in &networks.known {
        let around = networks.around(*addr, &lengths);
        let is_named = networks.named.contains(&IpNet::from(*addr));
        let own = is_named.then_some(*addr);
        together.entry((at, around, own)).or_default().push(*addr);
    }
    for ((at, within, _), addresses) in together {
        let names: Vec<&str> = at.names.iter().map(String::as_str).collect();
        if let Some(first) = addresses.first().copied() {
            let stands = Stands {
                caller: Caller::Address(first),
                beside: at.identities.iter().cloned().collect(),
            };
            let who = InClear {
                name: names.join(" or "),
                addresses,
                within,
            };
            classes.insert(Callers::InClear(who), stands);
        }
    }
}

/// The first address of a network that is in none of those within it, which come in their order; none where they fill it.
fn first_outside<'a>(net: IpNet, inner: impl Iterator<Item = &'a IpNet>) -> Option<IpAddr> {
    let mut addr = net.network();
    for other in inner {
        if other.network() > addr {
            break;
        }
        if other.contains(&addr) {
            addr = match other.broadcast() {
                IpAddr::V4(last) => IpAddr::V4(u32::from(last).checked_add(1)?.into()),
                IpAddr::V6(last) => IpAddr::V6(u128::from(last).checked_add(1)?.into()),
            };
        }
    }
    net.contains(&addr).then_some(addr)
}

/// `, but not in 10.2.1.0/24 or of shop/web,`: what a network is told of without.
pub(super) fn but(inner: Vec<String>, who: &[&InClear]) -> String {
    let mut but = inner;
    let names: BTreeSet<&str> = who.iter().map(|one| one.name.as_str()).collect();
    let shown = names.iter().take(MOST_SHOWN);
    but.extend(shown.map(|name| format!("of {name}")));
    match names.len().saturating_sub(MOST_SHOWN) {
        0 => {}
        1 => but.push("of 1 other workload".to_owned()),
        more => but.push(format!("of {more} other workloads")),
    }
    match but.as_slice() {
        [] => String::new(),
        but => format!(", but not {},", but.join(" or ")),
    }
}

const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
/// So many are named before the others are counted.
const MOST_SHOWN: usize = 3;
