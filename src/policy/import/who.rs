//! Whom the rules of other meshes are about.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use palisade_api::policy::From;
use palisade_api::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

/// The trust domains that the other mesh accepts: its own, and those that it takes for its own.
#[derive(Debug, Clone)]
pub(crate) struct Domains {
    pub(crate) own: TrustDomain,
    pub(crate) others: Vec<TrustDomain>,
}

impl Domains {
    pub(super) fn each(&self) -> impl Iterator<Item = &TrustDomain> {
        std::iter::once(&self.own).chain(&self.others)
    }

    /// Whoever has an identity.
    pub(super) fn everyone(&self) -> Vec<From> {
        self.each().cloned().map(From::TrustDomain).collect()
    }

    /// A service account, whichever of the trust domains vouches for it.
    pub(super) fn account(&self, namespace: &str, name: &str) -> Result<Vec<From>, SpiffeIdError> {
        let mut from = vec![self.account_of(&self.own, namespace, name)?];
        for domain in &self.others {
            from.push(self.account_of(domain, namespace, name)?);
        }
        Ok(from)
    }

    /// A service account that this trust domain vouches for.
    pub(super) fn account_of(
        &self,
        domain: &TrustDomain,
        namespace: &str,
        name: &str,
    ) -> Result<From, SpiffeIdError> {
        let id = SpiffeId::of_service_account(domain, namespace, name)?;
        if *domain != self.own {
            return Ok(From::Identity(id));
        }
        Ok(From::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// Whoever has none.
pub(super) fn unidentified() -> [From; 2] {
    let networks = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    networks.map(From::Unauthenticated)
}
