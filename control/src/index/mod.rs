//! What is known of the mesh: facts in, an immutable index out. Pure.
//!
//! Every object that a proxy can be sent is made here, once, with its digest; a proxy's channels are selections of
//! them. So what two proxies, or two runs of control, are sent for the same facts is the same to the byte.

mod facts;
mod object;
mod revoked;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustls_pki_types::CertificateDer;

use palisade_api::manifest::Manifest;
use palisade_api::policy::{AuthorizationPolicy, Effect};
use palisade_api::spiffe::TrustDomain;
use palisade_api::wire::{Channel, Object};
use palisade_api::workload::{AtAddress, Workload};

use crate::digest::hex;
use crate::telemetry::metrics::channel_name;

pub use facts::{Facts, FactsError};
pub use object::policy_digest;
pub(crate) use object::policy_name;
pub use revoked::Revoked;

/// What is not found out, but said when control starts.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The trust domain of every workload.
    pub trust_domain: TrustDomain,
    /// Its authorities.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Where an address that nothing is known about is not outside, but unknown.
    pub mesh: Vec<IpNet>,
    /// What is outside even there.
    pub outside: Vec<IpNet>,
}

/// An immutable picture of the mesh.
#[derive(Debug)]
pub struct Index {
    ground: Ground,
    facts: Facts,
    workloads: BTreeMap<String, Arc<Workload>>,
    /// The object of each policy, in the order of the facts.
    policies: Vec<Arc<Object>>,
    bundles: Vec<Arc<Object>>,
    revocations: Arc<Object>,
    addresses: Addresses,
}

/// What is known to be at an address, and the object that says so.
type Addresses = HashMap<IpAddr, (AtAddress, Arc<Object>)>;

impl Index {
    /// Makes the objects of everything that is known; those that a former index of the same ground has already are
    /// taken from it.
    pub fn build(ground: Ground, facts: Facts, former: Option<&Self>) -> Self {
        let own = object::bundle(&ground.trust_domain, &ground.authorities);
        let foreign = facts
            .bundles
            .iter()
            .map(|(domain, authorities)| object::bundle(domain, authorities));
        let policies = match former {
            Some(former) if former.facts.policies == facts.policies => former.policies.clone(),
            _ => facts.policies.iter().map(object::policy).collect(),
        };
        Self {
            bundles: std::iter::once(own).chain(foreign).collect(),
            addresses: addresses(&facts, former.map(|former| &former.addresses)),
            policies,
            revocations: object::revocations(&facts.revoked),
            workloads: facts
                .workloads
                .iter()
                .map(|workload| (workload.key(), Arc::clone(workload)))
                .collect(),
            facts,
            ground,
        }
    }

    /// What it was made of.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The workload `namespace/name`.
    pub fn workload(&self, key: &str) -> Option<&Workload> {
        self.workloads.get(key).map(Arc::as_ref)
    }

    /// The unique id of the workload `namespace/name`, where it has one.
    pub fn workload_uid(&self, key: &str) -> Option<&str> {
        self.facts.uids.get(key).map(String::as_str)
    }

    /// The name and digest of every policy object that is in force.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.policies
            .iter()
            .map(|object| (object.name.as_str(), object.digest.as_slice()))
    }

    /// The keys of the meshed workloads that a policy object selects, by the object's name; none for one that is not
    /// in force.
    pub fn selected(&self, policy: &str) -> Vec<&str> {
        let mut policies = self.facts.policies.iter().zip(&self.policies);
        let Some((policy, _)) = policies.find(|(_, object)| object.name == policy) else {
            return Vec::new();
        };
        self.workloads
            .iter()
            .filter(|(_, workload)| workload.meshed && selects(policy, workload))
            .map(|(key, _)| key.as_str())
            .collect()
    }

    /// Who is refused from now on.
    pub fn revoked(&self) -> &Revoked {
        &self.facts.revoked
    }

    /// The authorities of every trust domain that is known, ours first.
    pub fn bundles(&self) -> &[Arc<Object>] {
        &self.bundles
    }

    /// The object that says who is refused.
    pub fn revocations(&self) -> &Arc<Object> {
        &self.revocations
    }

    /// What a workload's proxy decides by: itself, and the policies that select it.
    ///
    /// In the order in which it is safe to apply them one by one: denials come before allowances.
    pub fn rules(&self, workload: &Workload) -> Vec<Arc<Object>> {
        let settings = self
            .facts
            .namespaces
            .get(&workload.namespace)
            .copied()
            .unwrap_or_default();
        let selecting = |denying: bool| {
            let policies = self.facts.policies.iter().zip(&self.policies);
            policies
                .filter(move |(policy, _)| denies(policy) == denying && selects(policy, workload))
                .map(|(_, object)| Arc::clone(object))
        };
        std::iter::once(object::own(workload, settings))
            .chain(selecting(true))
            .chain(selecting(false))
            .collect()
    }

    /// The workload at an address, where one is known there.
    pub fn workload_at(&self, ip: IpAddr) -> Option<&Workload> {
        match self.addresses.get(&ip) {
            Some((AtAddress::Workload(workload), _)) => Some(workload),
            Some((AtAddress::Service(_) | AtAddress::Outside | AtAddress::Unknown, _)) | None => {
                None
            }
        }
    }

    /// What is at an address.
    pub fn address(&self, ip: IpAddr) -> Arc<Object> {
        if let Some((_, known)) = self.addresses.get(&ip) {
            return Arc::clone(known);
        }
        let within = |cidrs: &[IpNet]| cidrs.iter().any(|cidr| cidr.contains(&ip));
        if within(&self.ground.mesh) && !within(&self.ground.outside) {
            object::address(ip, &AtAddress::Unknown)
        } else {
            object::address(ip, &AtAddress::Outside)
        }
    }
}

/// What proxies are to have beside policies once these manifests are in force, by the workload's key: the channel, name
/// and digest, in lower-case hexadecimal, of each object. Addresses, which are looked up, and the own authorities, which
/// no manifest names, are not among them.
///
/// # Errors
///
/// Where control would not take them.
pub fn other_digests<'a>(
    own: &TrustDomain,
    manifests: impl IntoIterator<Item = &'a Manifest>,
) -> Result<BTreeMap<String, Vec<Digested>>, FactsError> {
    let ground = Ground {
        trust_domain: own.clone(),
        authorities: Vec::new(),
        mesh: Vec::new(),
        outside: Vec::new(),
    };
    let index = Index::build(ground, Facts::from_manifests(own, manifests)?, None);
    let digested = |channel, object: &Object| -> Option<Digested> {
        let channel = channel_name(channel)?;
        Some((channel, object.name.clone(), hex(&object.digest)))
    };
    let meshed = index.workloads.iter().filter(|(_, one)| one.meshed);
    let digests = meshed.map(|(key, workload)| {
        let foreign = index.bundles.iter().skip(1);
        let foreign = foreign.map(|one| digested(Channel::Bundles, one));
        let revocations = digested(Channel::Revocations, &index.revocations);
        let rules = index.rules(workload);
        let itself = rules.first().map(|one| digested(Channel::Rules, one));
        let all = foreign.chain([revocations]).chain(itself);
        (key.clone(), all.flatten().collect())
    });
    Ok(digests.collect())
}

/// The channel of an object, its name, and its digest.
pub type Digested = (&'static str, String, String);

/// A workload's own address wins over a service's: what answers there is known by name. What claims an address first
/// has it.
fn addresses(facts: &Facts, former: Option<&Addresses>) -> Addresses {
    let workloads = facts.workloads.iter().map(|workload| {
        let at = AtAddress::Workload(Arc::clone(workload));
        (workload.addresses.as_slice(), at)
    });
    let services = facts.services.iter().map(|(ips, service)| {
        let at = AtAddress::Service(Arc::clone(service));
        (ips.as_slice(), at)
    });
    let outside = std::iter::once((facts.outside.as_slice(), AtAddress::Outside));
    let mut addresses = HashMap::with_capacity(former.map_or(0, HashMap::len));
    for (ips, at) in workloads.chain(services).chain(outside) {
        for ip in ips {
            let entry = addresses.entry(*ip);
            entry.or_insert_with(|| match former.and_then(|former| former.get(ip)) {
                Some(known) if known.0 == at => known.clone(),
                _ => (at.clone(), object::address(*ip, &at)),
            });
        }
    }
    addresses
}

fn selects(policy: &AuthorizationPolicy, workload: &Workload) -> bool {
    let Workload {
        namespace,
        service_account,
        labels,
        ..
    } = workload;
    policy.selects(namespace, service_account, labels)
}

fn has_labels(workload: &Workload, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(key, value)| workload.labels.get(key) == Some(value))
}

/// One that says nothing closes its target, which is a denial too.
fn denies(policy: &AuthorizationPolicy) -> bool {
    policy.rules.is_empty() || policy.rules.iter().any(|rule| rule.effect == Effect::Deny)
}

#[cfg(test)]
pub(crate) mod tests;
