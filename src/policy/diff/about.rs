//! Which classes of callers a rule may concern.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use palisade_api::policy::{Effect, From, Rule};
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::callers::{Callers, Classes, Stands};
use crate::policy::subject::Caller;

/// All classes, found by what rules name them by.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) all: Vec<(&'a Callers, &'a Stands)>,
    own: &'a TrustDomain,
    identities: Identities<'a>,
    /// Those who come without an identity, by the identities that are known at their addresses.
    beside: Identities<'a>,
    addresses: BTreeMap<IpAddr, Vec<usize>>,
}

/// Classes, by the identity of those who stand for them.
#[derive(Debug, Default)]
struct Identities<'a> {
    by_id: HashMap<&'a SpiffeId, Vec<usize>>,
    by_namespace: HashMap<&'a str, Vec<usize>>,
    by_domain: HashMap<&'a TrustDomain, Vec<usize>>,
}

impl<'a> Identities<'a> {
    fn add(&mut self, id: &'a SpiffeId, own: &TrustDomain, number: usize) {
        self.by_id.entry(id).or_default().push(number);
        let domain = id.trust_domain();
        self.by_domain.entry(domain).or_default().push(number);
        if domain == own
            && let Some((namespace, _)) = id.service_account()
        {
            self.by_namespace.entry(namespace).or_default().push(number);
        }
    }

    fn find(&self, from: &From, own: &TrustDomain) -> &[usize] {
        let found = match from {
            From::ServiceAccount { namespace, name } => {
                let id = SpiffeId::of_service_account(own, namespace, name).ok();
                id.and_then(|id| self.by_id.get(&id))
            }
            From::Identity(id) => self.by_id.get(id),
            From::Namespace(namespace) => self.by_namespace.get(namespace.as_str()),
            From::TrustDomain(domain) => self.by_domain.get(domain),
            From::Unauthenticated(_) => None,
        };
        found.map_or(&[], Vec::as_slice)
    }
}

impl<'a> Index<'a> {
    pub(super) fn of(classes: &'a Classes, own: &'a TrustDomain) -> Self {
        let mut index = Self {
            all: classes.iter().collect(),
            own,
            identities: Identities::default(),
            beside: Identities::default(),
            addresses: BTreeMap::new(),
        };
        for (number, stands) in classes.values().enumerate() {
            match &stands.caller {
                Caller::Identity(id) => index.identities.add(id, own, number),
                Caller::Address(addr) => {
                    index.addresses.entry(*addr).or_default().push(number);
                    for id in &stands.beside {
                        index.beside.add(id, own, number);
                    }
                }
            }
        }
        index
    }

    /// The classes that a rule is about, by their numbers in `all`; of those beside an address only its denials are.
    pub(super) fn find(&self, rule: &Rule) -> Vec<usize> {
        let mut found = Vec::new();
        for from in &rule.from {
            found.extend_from_slice(self.identities.find(from, self.own));
            if rule.effect == Effect::Deny {
                found.extend_from_slice(self.beside.find(from, self.own));
            }
            if let From::Unauthenticated(net) = from {
                let within = self.addresses.range(net.network()..=net.broadcast());
                found.extend(within.flat_map(|(_, numbers)| numbers));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
