//! Rules by whom they are about.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

use super::lists::{ByAnchor, ByName};
use super::{From, Source};
use crate::spiffe::{SpiffeId, TrustDomain};

/// Rules by whom they are about.
#[derive(Debug, Default)]
pub(super) struct Sources {
    accounts: ByName<ByName<ByAnchor>>,
    identities: HashMap<SpiffeId, ByAnchor>,
    namespaces: ByName<ByAnchor>,
    trust_domains: HashMap<TrustDomain, ByAnchor>,
    networks: HashMap<IpNet, ByAnchor>,
    /// The lengths of the prefixes in `networks`.
    prefixes: BTreeSet<u8>,
}

impl Sources {
    /// The list of the rules that name a source in this way.
    pub(super) fn rules_about(&mut self, from: &From) -> &mut ByAnchor {
        match from {
            From::ServiceAccount { namespace, name } => {
                let accounts = self.accounts.entry(namespace.clone()).or_default();
                accounts.entry(name.clone()).or_default()
            }
            From::Identity(id) => self.identities.entry(id.clone()).or_default(),
            From::Namespace(namespace) => self.namespaces.entry(namespace.clone()).or_default(),
            From::TrustDomain(domain) => self.trust_domains.entry(domain.clone()).or_default(),
            From::Unauthenticated(network) => {
                self.prefixes.insert(network.prefix_len());
                self.networks.entry(network.trunc()).or_default()
            }
        }
    }

    /// Every list.
    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut ByAnchor> {
        let accounts = self.accounts.values_mut().flat_map(HashMap::values_mut);
        accounts
            .chain(self.identities.values_mut())
            .chain(self.namespaces.values_mut())
            .chain(self.trust_domains.values_mut())
            .chain(self.networks.values_mut())
    }

    /// All that is about the source, by each way of naming it.
    pub(super) fn find(&self, source: Source<'_>, trust_domain: &TrustDomain) -> Vec<&ByAnchor> {
        match source {
            Source::Authenticated(id) => self.find_identity(id, trust_domain),
            Source::Unauthenticated(addr) => self.find_address(addr),
        }
    }

    fn find_identity(&self, id: &SpiffeId, trust_domain: &TrustDomain) -> Vec<&ByAnchor> {
        let account = id
            .service_account()
            .filter(|_| id.trust_domain() == trust_domain);
        let by_account = account.map(|(namespace, name)| {
            let names = self.accounts.get(namespace);
            let named = names.and_then(|names| names.get(name));
            [named, self.namespaces.get(namespace)]
        });
        let by_identity = [
            self.identities.get(id),
            self.trust_domains.get(id.trust_domain()),
        ];
        let found = by_identity
            .into_iter()
            .chain(by_account.into_iter().flatten());
        found.flatten().collect()
    }

    fn find_address(&self, addr: IpAddr) -> Vec<&ByAnchor> {
        self.prefixes
            .iter()
            .filter_map(|prefix| IpNet::new(addr, *prefix).ok())
            .filter_map(|network| self.networks.get(&network.trunc()))
            .collect()
    }
}
