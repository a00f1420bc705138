//! What runs where: workloads, services, and what is at an address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

/// A running instance with an identity: one pod, one replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// Its name, unique in the namespace: `orders-0`.
    pub name: String,
    /// The service account that its identity is made of.
    pub service_account: String,
    /// What rules select it by.
    pub labels: BTreeMap<String, String>,
    /// Its own addresses, of both families.
    pub addresses: Vec<IpAddr>,
    /// Whether a sidecar answers for it. One without is reached in clear.
    pub meshed: bool,
    /// The SPIFFE ID that must answer at its addresses.
    pub identity: SpiffeId,
    /// Where it runs.
    pub place: Place,
    /// Ports of its own that its sidecar does not answer for.
    pub excluded_ports: Vec<u16>,
}

/// Where a workload runs; what is not known is empty, and near to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The node.
    pub node: String,
    /// The node's zone.
    pub zone: String,
}

impl Workload {
    /// The SPIFFE ID of a service account: `spiffe://<trust domain>/ns/<namespace>/sa/<name>`.
    ///
    /// # Errors
    ///
    /// Where a part cannot stand in a SPIFFE ID.
    pub fn identity_of(
        trust_domain: &TrustDomain,
        namespace: &str,
        service_account: &str,
    ) -> Result<SpiffeId, SpiffeIdError> {
        SpiffeId::of_service_account(trust_domain, namespace, service_account)
    }

    /// Whether a sidecar answers at a port of its own. Where none does, it is reached in clear.
    pub fn is_meshed_at(&self, port: u16) -> bool {
        self.meshed && !self.excluded_ports.contains(&port)
    }

    /// `namespace/name`, as control and proxies call it.
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// A name for many workloads, with addresses of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its ports, and where the workloads listen for them. A port that is not listed leads nowhere.
    pub ports: Vec<ServicePort>,
    /// The workloads behind it.
    pub endpoints: Vec<Endpoint>,
    /// Which endpoints a client may take.
    pub scope: Scope,
    /// Which of those it takes where there are some.
    pub prefer: Prefer,
    /// For how long a client stays with an endpoint after its last connection; `None`: no longer than that.
    pub affinity: Option<Duration>,
}

impl Service {
    /// An endpoint's own port for one of the service.
    pub fn target_port(&self, endpoint: &Endpoint, port: u16) -> Option<u16> {
        let listed = |ports: &[ServicePort]| {
            let found = ports.iter().find(|p| p.port == port);
            found.map(|p| p.target_port)
        };
        let of_service = listed(&self.ports)?;
        Some(listed(&endpoint.ports).unwrap_or(of_service))
    }
}

/// A workload behind a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The workload; one of several services is there once.
    pub workload: Arc<Workload>,
    /// Where its own ports are not those that the service says.
    pub ports: Vec<ServicePort>,
    /// It is going: taken only where no other endpoint is left.
    pub terminating: bool,
}

impl Endpoint {
    /// An endpoint that listens where its service says, and stays.
    pub fn of(workload: impl Into<Arc<Workload>>) -> Self {
        Self {
            workload: workload.into(),
            ports: Vec::new(),
            terminating: false,
        }
    }
}

/// Which endpoints of a service a client may take (`internalTrafficPolicy` in Kubernetes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// Any.
    #[default]
    Cluster,
    /// Those of its own node; where it has none, nothing answers.
    Node,
}

/// Which endpoints a client takes where there are some (`trafficDistribution` in Kubernetes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefer {
    /// Any.
    #[default]
    None,
    /// Those of its zone.
    Zone,
    /// Those of its node, then those of its zone.
    Node,
}

/// A port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServicePort {
    /// The port that callers use.
    pub port: u16,
    /// The port that the workloads listen on.
    pub target_port: u16,
}

/// What control knows of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtAddress {
    /// A workload's own address.
    Workload(Arc<Workload>),
    /// A service's virtual address.
    Service(Arc<Service>),
    /// Not of the mesh: passed as it is, and recorded.
    Outside,
    /// Of the mesh, and nothing is known to live there (yet): waited for, then refused.
    Unknown,
}

/// Whether a namespace's workloads take callers without an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mtls {
    /// Only a rule that names an unauthenticated source admits one.
    #[default]
    Strict,
    /// Exactly an implicit allow for `unauthenticated` from anywhere.
    Permissive,
}

/// What the default denial of a namespace does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Closing {
    /// It denies.
    #[default]
    Enforce,
    /// It is recorded, and the connection goes on.
    Shadow,
}

/// How a namespace is set, by its annotations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamespaceSettings {
    /// `palisade.dev/mtls`, `strict` by default.
    pub mtls: Mtls,
    /// `palisade.dev/authorization`, `enforce` by default.
    pub closing: Closing,
}
