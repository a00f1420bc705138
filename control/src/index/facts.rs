//! What an index is built from, wherever it was read.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use rustls_pki_types::{CertificateDer, pem::PemObject};

use palisade_api::manifest::{Manifest, ServiceSpec, WorkloadSpec};
use palisade_api::policy::AuthorizationPolicy;
use palisade_api::spiffe::{SpiffeIdError, TrustDomain};
use palisade_api::workload::{
    Endpoint, NamespaceSettings, Place, Prefer, Scope, Service, Workload,
};

use super::Revoked;

/// Everything that is known of the mesh at one moment. What is as it was a moment ago is the same object still, so that
/// the two are told apart, and an index made of the newer one, at the cost of what changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What runs; of two with one address, the first is what is there.
    pub workloads: Vec<Arc<Workload>>,
    /// The unique id of each workload that has one, by its key: a pod that comes again under its name is another.
    pub uids: BTreeMap<String, String>,
    /// Services and the addresses that lead to them, where no workload has that address.
    pub services: Vec<Addressed>,
    /// What is not of the mesh, though its address may lie there.
    pub outside: Vec<IpAddr>,
    /// How namespaces are set; one that is not here has the defaults.
    pub namespaces: BTreeMap<String, NamespaceSettings>,
    /// The rules.
    pub policies: Vec<AuthorizationPolicy>,
    /// Who is refused.
    pub revoked: Revoked,
    /// The authorities of foreign trust domains.
    pub bundles: BTreeMap<TrustDomain, Vec<CertificateDer<'static>>>,
}

/// A service, and what leads to it.
type Addressed = (Vec<IpAddr>, Arc<Service>);

impl Facts {
    /// What manifests say that were checked together.
    ///
    /// # Errors
    ///
    /// Where a name cannot stand in a SPIFFE ID, or a trust bundle is none.
    pub fn from_manifests<'a>(
        own: &TrustDomain,
        manifests: impl IntoIterator<Item = &'a Manifest>,
    ) -> Result<Self, FactsError> {
        let mut facts = Self::default();
        let mut services = Vec::new();
        for manifest in manifests {
            if let Manifest::Service(spec) = manifest {
                services.push(spec);
            } else {
                facts.add(own, manifest)?;
            }
        }
        facts
            .workloads
            .sort_by_cached_key(|workload| workload.key());
        facts.services = services
            .into_iter()
            .map(|spec| {
                (
                    spec.addresses.clone(),
                    service(spec, &facts.workloads).into(),
                )
            })
            .collect();
        Ok(facts)
    }

    fn add(&mut self, own: &TrustDomain, manifest: &Manifest) -> Result<(), FactsError> {
        match manifest {
            Manifest::Policy(policy) => self.policies.push(policy.clone()),
            Manifest::Workload(spec) => self.workloads.push(workload(own, spec)?.into()),
            // They select among all workloads, and so come last.
            Manifest::Service(_) => {}
            Manifest::Namespace { name, settings } => {
                self.namespaces.insert(name.clone(), *settings);
            }
            Manifest::Revocations(spec) => self.revoked.extend(&spec.identities, &spec.serials),
            Manifest::TrustBundle {
                trust_domain,
                authorities_pem,
            } => {
                if trust_domain == own {
                    return Err(FactsError::OwnBundle(own.clone()));
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

fn workload(trust_domain: &TrustDomain, spec: &WorkloadSpec) -> Result<Workload, FactsError> {
    let identity = Workload::identity_of(trust_domain, &spec.namespace, &spec.service_account)
        .map_err(|source| FactsError::Name(format!("{}/{}", spec.namespace, spec.name), source))?;
    Ok(Workload {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        service_account: spec.service_account.clone(),
        labels: spec.labels.clone(),
        addresses: spec.addresses.clone(),
        meshed: spec.meshed,
        identity,
        place: Place::default(),
        excluded_ports: Vec::new(),
    })
}

fn service(spec: &ServiceSpec, workloads: &[Arc<Workload>]) -> Service {
    Service {
        namespace: spec.namespace.clone(),
        name: spec.name.clone(),
        ports: spec.ports.clone(),
        // As in Kubernetes, a service that selects by nothing has no endpoints of its own.
        endpoints: workloads
            .iter()
            .filter(|workload| {
                !spec.selector.is_empty()
                    && workload.namespace == spec.namespace
                    && super::has_labels(workload, &spec.selector)
            })
            .cloned()
            .map(Endpoint::of)
            .collect(),
        scope: Scope::default(),
        prefer: Prefer::default(),
        affinity: None,
    }
}

fn authorities(
    trust_domain: &TrustDomain,
    pem: &str,
) -> Result<Vec<CertificateDer<'static>>, FactsError> {
    let none = || FactsError::Bundle(trust_domain.clone());
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

/// Why manifests that parse are no facts.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
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
