//! What is known of the mesh: manifests in, an immutable index out. Pure.
//!
//! Every object that a proxy can be sent is made here, once, with its digest; a proxy's channels are selections of
//! them. So what two proxies, or two runs of control, are sent for the same manifests is the same to the byte.

mod object;
mod revoked;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use rustls_pki_types::{CertificateDer, pem::PemObject};

use palisade_api::manifest::{Manifest, ServiceSpec, WorkloadSpec};
use palisade_api::policy::{AuthorizationPolicy, Effect};
use palisade_api::spiffe::{SpiffeIdError, TrustDomain};
use palisade_api::wire::Object;
use palisade_api::workload::{
    AtAddress, Endpoint, NamespaceSettings, Place, Prefer, Scope, Service, Workload,
};

pub use revoked::Revoked;

/// What does not come from manifests.
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
    workloads: BTreeMap<String, Workload>,
    namespaces: BTreeMap<String, NamespaceSettings>,
    policies: Vec<(AuthorizationPolicy, Arc<Object>)>,
    bundles: Vec<Arc<Object>>,
    revocations: Arc<Object>,
    revoked: Revoked,
    addresses: HashMap<IpAddr, Arc<Object>>,
}

impl Index {
    /// Puts manifests that were checked together into an index.
    ///
    /// # Errors
    ///
    /// Where a name cannot stand in a SPIFFE ID, or a trust bundle is none.
    pub fn build<'a>(
        ground: Ground,
        manifests: impl IntoIterator<Item = &'a Manifest>,
    ) -> Result<Self, IndexError> {
        let mut gathered = Gathered::default();
        for manifest in manifests {
            gathered.add(&ground.trust_domain, manifest)?;
        }
        let own = object::bundle(&ground.trust_domain, &ground.authorities);
        let foreign = gathered
            .bundles
            .iter()
            .map(|(domain, authorities)| object::bundle(domain, authorities));
        Ok(Self {
            bundles: std::iter::once(own).chain(foreign).collect(),
            addresses: addresses(&gathered),
            policies: gathered
                .policies
                .into_iter()
                .map(|policy| {
                    let object = object::policy(&policy);
                    (policy, object)
                })
                .collect(),
            revocations: object::revocations(&gathered.revoked),
            revoked: gathered.revoked,
            workloads: gathered.workloads,
            namespaces: gathered.namespaces,
            ground,
        })
    }

    /// The workload `namespace/name`.
    pub fn workload(&self, key: &str) -> Option<&Workload> {
        self.workloads.get(key)
    }

    /// Who is refused from now on.
    pub fn revoked(&self) -> &Revoked {
        &self.revoked
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
            .namespaces
            .get(&workload.namespace)
            .copied()
            .unwrap_or_default();
        let selecting = |denying: bool| {
            self.policies
                .iter()
                .filter(move |(policy, _)| denies(policy) == denying && selects(policy, workload))
                .map(|(_, object)| Arc::clone(object))
        };
        std::iter::once(object::own(workload, settings))
            .chain(selecting(true))
            .chain(selecting(false))
            .collect()
    }

    /// What is at an address.
    pub fn address(&self, ip: IpAddr) -> Arc<Object> {
        if let Some(known) = self.addresses.get(&ip) {
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

/// Manifests by kind.
#[derive(Default)]
struct Gathered {
    workloads: BTreeMap<String, Workload>,
    services: Vec<ServiceSpec>,
    namespaces: BTreeMap<String, NamespaceSettings>,
    policies: Vec<AuthorizationPolicy>,
    revoked: Revoked,
    bundles: BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>,
}

impl Gathered {
    fn add(&mut self, own: &TrustDomain, manifest: &Manifest) -> Result<(), IndexError> {
        match manifest {
            Manifest::Policy(policy) => self.policies.push(policy.clone()),
            Manifest::Workload(spec) => {
                let workload = workload(own, spec)?;
                self.workloads.insert(workload.key(), workload);
            }
            Manifest::Service(spec) => self.services.push(spec.clone()),
            Manifest::Namespace { name, settings } => {
                self.namespaces.insert(name.clone(), *settings);
            }
            Manifest::Revocations(spec) => self.revoked.extend(&spec.identities, &spec.serials),
            Manifest::TrustBundle {
                trust_domain,
                authorities_pem,
            } => {
                if trust_domain == own {
                    return Err(IndexError::OwnBundle(own.clone()));
                }
                let authorities = authorities(trust_domain, authorities_pem)?;
                self.bundles
                    .entry(trust_domain.clone())
                    .or_default()
                    .extend(authorities);
            }
        }
        Ok(())
    }
}

fn workload(trust_domain: &TrustDomain, spec: &WorkloadSpec) -> Result<Workload, IndexError> {
    let identity = Workload::identity_of(trust_domain, &spec.namespace, &spec.service_account)
        .map_err(|source| IndexError::Name(format!("{}/{}", spec.namespace, spec.name), source))?;
    Ok(Workload {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        service_account: spec.service_account.clone(),
        labels: spec.labels.clone(),
        addresses: spec.addresses.clone(),
        meshed: spec.meshed,
        identity,
        place: Place::default(),
    })
}

fn authorities(
    trust_domain: &TrustDomain,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, IndexError> {
    let none = || IndexError::Bundle(trust_domain.clone());
    let authorities = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_error: rustls_pki_types::pem::Error| none())?;
    let all_parse = authorities
        .iter()
        .all(|authority| webpki::anchor_from_trusted_cert(authority).is_ok());
    if authorities.is_empty() || !all_parse {
        return Err(none());
    }
    Ok(authorities)
}

/// A workload's own address wins over a service's: what answers there is known by name.
fn addresses(gathered: &Gathered) -> HashMap<IpAddr, Arc<Object>> {
    let mut addresses = HashMap::new();
    for spec in &gathered.services {
        let at = AtAddress::Service(service(spec, &gathered.workloads));
        for ip in &spec.addresses {
            addresses.insert(*ip, object::address(*ip, &at));
        }
    }
    for workload in gathered.workloads.values() {
        let at = AtAddress::Workload(workload.clone());
        for ip in &workload.addresses {
            addresses.insert(*ip, object::address(*ip, &at));
        }
    }
    addresses
}

fn service(spec: &ServiceSpec, workloads: &BTreeMap<String, Workload>) -> Service {
    Service {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        ports: spec.ports.clone(),
        // As in Kubernetes, a service that selects by nothing has no endpoints of its own.
        endpoints: workloads
            .values()
            .filter(|workload| {
                !spec.selector.is_empty()
                    && workload.namespace == spec.namespace
                    && has_labels(workload, &spec.selector)
            })
            .cloned()
            .map(Endpoint::of)
            .collect(),
        scope: Scope::default(),
        prefer: Prefer::default(),
        affinity: None,
    }
}

fn selects(policy: &AuthorizationPolicy, workload: &Workload) -> bool {
    let target = &policy.target;
    let in_namespace = match &policy.namespace {
        Some(namespace) => *namespace == workload.namespace,
        None => target.namespaces.is_empty() || target.namespaces.contains(&workload.namespace),
    };
    in_namespace
        && target
            .service_account
            .as_ref()
            .is_none_or(|account| *account == workload.service_account)
        && has_labels(workload, &target.labels)
}

fn has_labels(workload: &Workload, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(key, value)| workload.labels.get(key) == Some(value))
}

fn denies(policy: &AuthorizationPolicy) -> bool {
    policy.rules.iter().any(|rule| rule.effect == Effect::Deny)
}

/// Why manifests that parse make no index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// A namespace or service account that cannot stand in a SPIFFE ID.
    #[error("workload {0} has no SPIFFE ID: {1}; change its namespace or serviceAccount")]
    Name(String, #[source] SpiffeIdError),
    /// Not certificates.
    #[error(
        "the trust bundle of {0} is no list of certificates; give its authorities in PEM, whole"
    )]
    Bundle(TrustDomain),
    /// Our own authorities come from the store.
    #[error(
        "{0} is this mesh's own trust domain, whose authority is in the store; remove the TrustBundle"
    )]
    OwnBundle(TrustDomain),
}

#[cfg(test)]
pub(crate) mod tests;
