//! Classes of callers that are told of together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use palisade_api::spiffe::TrustDomain;

use super::callers::{Callers, Classes};
use super::networks::{self, InClear};

/// A name, and the classes that it stands for.
pub(super) type Named<'a> = (String, BTreeSet<&'a Callers>);

/// What is told of as one.
#[derive(Debug)]
pub(super) struct Groups<'a> {
    all: &'a Classes,
    own: &'a TrustDomain,
    /// Classes that make up a whole, by its name; the widest first.
    wholes: Vec<(String, BTreeSet<&'a Callers>)>,
    /// The numbers of the wholes that have a class as their first.
    by_first: BTreeMap<&'a Callers, Vec<usize>>,
    /// Those that are known at addresses of a network, or of no network that is named.
    within: BTreeMap<Option<IpNet>, Vec<&'a InClear>>,
}

impl<'a> Groups<'a> {
    pub(super) fn of(all: &'a Classes, own: &'a TrustDomain) -> Self {
        let mut groups = Self {
            all,
            own,
            wholes: Vec::new(),
            by_first: BTreeMap::new(),
            within: BTreeMap::new(),
        };
        groups.add("everybody".to_owned(), all.keys().collect());
        let (named, others) = all.keys().partition(|one| one.has_identity());
        groups.add("every identity".to_owned(), named);
        let mut domains: BTreeMap<&TrustDomain, BTreeSet<&Callers>> = BTreeMap::new();
        let mut namespaces: BTreeMap<&str, BTreeSet<&Callers>> = BTreeMap::new();
        let mut networks: BTreeMap<IpNet, BTreeSet<&Callers>> = BTreeMap::new();
        for class in all.keys() {
            if let Some(domain) = class.domain(own) {
                domains.entry(domain).or_default().insert(class);
            }
            if let Some(namespace) = class.namespace(own) {
                namespaces.entry(namespace).or_default().insert(class);
            }
            if let Callers::InClear(who) = class {
                groups.within.entry(who.within).or_default().push(who);
            }
            class.each_network(|net| {
                networks.entry(net).or_default().insert(class);
            });
        }
        domains.retain(|domain, _| all.contains_key(&Callers::OtherIn((*domain).clone())));
        for (domain, parts) in domains {
            groups.add(format!("every identity of {domain}"), parts);
        }
        namespaces.retain(|name, _| all.contains_key(&Callers::OtherOf((*name).to_owned())));
        for (namespace, parts) in namespaces {
            groups.add(format!("every account of namespace {namespace}"), parts);
        }
        groups.add("every address without an identity".to_owned(), others);
        networks.retain(|net, _| all.contains_key(&Callers::Network(*net)));
        // One that nothing within it is told apart from has a name that says as much.
        networks.retain(|_, parts| parts.len() > 1);
        for (net, parts) in networks {
            groups.add(format!("every address in {net} without an identity"), parts);
        }
        groups
    }

    fn add(&mut self, name: String, parts: BTreeSet<&'a Callers>) {
        if let Some(first) = parts.first().copied() {
            let number = self.wholes.len();
            self.by_first.entry(first).or_default().push(number);
            self.wholes.push((name, parts));
        }
    }

    /// Classes by their names; those that make up a whole by the name of that.
    pub(super) fn shown(&self, mut left: BTreeSet<&'a Callers>) -> Vec<Named<'a>> {
        let firsts = left.iter().filter_map(|one| self.by_first.get(one));
        let numbers: BTreeSet<usize> = firsts.flatten().copied().collect();
        let wholes = numbers
            .into_iter()
            .filter_map(|number| self.wholes.get(number));
        let mut shown = Vec::new();
        for (name, parts) in wholes {
            if parts.len() <= left.len() && parts.is_subset(&left) {
                left.retain(|one| !parts.contains(one));
                shown.push((name.clone(), parts.clone()));
            }
        }
        shown.extend(self.networks(&mut left));
        shown.extend(self.in_clear(&mut left));
        let names = left.into_iter().map(|one| {
            let name = one.shown(self.all, self.own, &[]);
            (name, BTreeSet::from([one]))
        });
        shown.extend(names);
        shown
    }

    /// Networks. Of whom the same is to be said as of the addresses around them, it is said with those.
    fn networks(&self, left: &mut BTreeSet<&'a Callers>) -> Vec<Named<'a>> {
        let networks: Vec<&Callers> = left
            .iter()
            .filter(|one| one.is_network())
            .copied()
            .collect();
        let named = networks.into_iter().map(|network| {
            left.remove(network);
            let mut parts = BTreeSet::from([network]);
            let mut but = Vec::new();
            let within = self.within.get(&network.network()).into_iter().flatten();
            for who in within.copied() {
                match left.take(&Callers::InClear(who.clone())) {
                    Some(one) => drop(parts.insert(one)),
                    None => but.push(who),
                }
            }
            (network.shown(self.all, self.own, &but), parts)
        });
        named.collect()
    }

    /// Workloads in clear, from all their addresses; with the account that they have, where the same is to be said of it.
    fn in_clear(&self, left: &mut BTreeSet<&'a Callers>) -> Vec<Named<'a>> {
        let mut together: BTreeMap<Proven<'a>, BTreeMap<&str, BTreeSet<&'a Callers>>> =
            BTreeMap::new();
        for class in left.iter().copied() {
            let (Callers::InClear(who), Some(stands)) = (class, self.all.get(class)) else {
                continue;
            };
            let proven = match stands.beside.as_slice() {
                [id] => left.get(&Callers::Identity(id.clone())).copied(),
                _ => None,
            };
            let by_name = together.entry(proven).or_default();
            by_name.entry(who.name()).or_default().insert(class);
        }
        let mut named = Vec::new();
        for (proven, by_name) in together {
            let Some(account) = proven else {
                named.extend(by_name.into_iter().map(|(name, parts)| {
                    let from = networks::listed(addresses(&parts));
                    (format!("{name}, in clear from {from}"), parts)
                }));
                continue;
            };
            let mut shown = account.shown(self.all, self.own, &[]);
            let own = shown.clone();
            let mut all = BTreeSet::from([account]);
            for (name, parts) in by_name {
                let name = if name == own {
                    String::new()
                } else {
                    format!("{name} ")
                };
                let from = networks::listed(addresses(&parts));
                shown.push_str(&format!(", also {name}in clear from {from}"));
                all.extend(parts);
            }
            named.push((shown, all));
        }
        for one in named.iter().flat_map(|(_, parts)| parts) {
            left.remove(one);
        }
        named
    }
}

/// The account that proves who it is, where it is told of beside those in clear.
type Proven<'a> = Option<&'a Callers>;

fn addresses<'a>(classes: &BTreeSet<&'a Callers>) -> BTreeSet<&'a IpAddr> {
    let addresses = classes.iter().filter_map(|class| match class {
        Callers::InClear(who) => Some(&who.addresses),
        Callers::Identity(_)
        | Callers::OtherOf(_)
        | Callers::OtherIn(_)
        | Callers::OtherIdentity
        | Callers::Network(_)
        | Callers::OtherAddress => None,
    });
    addresses.flatten().collect()
}

impl Callers {
    fn has_identity(&self) -> bool {
        match self {
            Self::Identity(_) | Self::OtherOf(_) | Self::OtherIn(_) | Self::OtherIdentity => true,
            Self::InClear(_) | Self::Network(_) | Self::OtherAddress => false,
        }
    }

    /// Whether they are those at whose addresses nobody is known.
    fn is_network(&self) -> bool {
        matches!(self, Self::Network(_) | Self::OtherAddress)
    }

    fn domain<'a>(&'a self, own: &'a TrustDomain) -> Option<&'a TrustDomain> {
        match self {
            Self::Identity(id) => Some(id.trust_domain()),
            Self::OtherOf(_) => Some(own),
            Self::OtherIn(domain) => Some(domain),
            Self::OtherIdentity | Self::InClear(_) | Self::Network(_) | Self::OtherAddress => None,
        }
    }

    fn namespace(&self, own: &TrustDomain) -> Option<&str> {
        match self {
            Self::Identity(id) if id.trust_domain() == own => {
                id.service_account().map(|(namespace, _)| namespace)
            }
            Self::OtherOf(namespace) => Some(namespace),
            Self::Identity(_)
            | Self::OtherIn(_)
            | Self::OtherIdentity
            | Self::InClear(_)
            | Self::Network(_)
            | Self::OtherAddress => None,
        }
    }

    /// Every network that they are in, from the narrowest that may be one.
    fn each_network(&self, mut take: impl FnMut(IpNet)) {
        let mut around = match self {
            Self::InClear(who) => who.within,
            Self::Network(net) => Some(*net),
            Self::Identity(_)
            | Self::OtherOf(_)
            | Self::OtherIn(_)
            | Self::OtherIdentity
            | Self::OtherAddress => None,
        };
        while let Some(net) = around {
            take(net);
            around = net.supernet();
        }
    }
}
