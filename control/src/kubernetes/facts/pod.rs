//! Pods, which are workloads.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use palisade_api::cluster::{self, EXCLUDED_PORTS_VARIABLE, REDIRECT_CONTAINER};
use palisade_api::spiffe::{SpiffeIdError, TrustDomain};
use palisade_api::workload::{Place, Workload};

use super::{Name, unicast};

/// What is kept of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pod {
    pub(crate) uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) service_account: String,
    /// Empty until it is scheduled.
    pub(crate) node: String,
    pub(crate) host_network: bool,
    /// It runs no more, though its object still has addresses.
    pub(crate) ended: bool,
    pub(crate) terminating: bool,
    /// Our sidecar is in it.
    pub(crate) meshed: bool,
    /// That sidecar runs, as far as the kubelet has said.
    pub(crate) sidecar_runs: bool,
    /// What the redirect leaves to the application, by what was injected and not by what is asked for.
    pub(crate) excluded_ports: Vec<u16>,
    /// In seconds of Unix time.
    pub(crate) created: i64,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Pod {
    /// What is kept of the API's object.
    pub(crate) fn keep(pod: core::Pod) -> Option<Self> {
        let (metadata, spec) = (pod.metadata, pod.spec?);
        let status = pod.status.unwrap_or_default();
        let first = status.pod_ip.into_iter();
        let all = status.pod_ips.unwrap_or_default().into_iter();
        let mut addresses = Vec::new();
        for ip in all
            .map(|ip| ip.ip)
            .chain(first)
            .filter_map(|ip| unicast(&ip))
        {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        let sidecar = spec
            .init_containers
            .iter()
            .flatten()
            .find(|it| is_sidecar(it));
        let sidecar = sidecar.map(|sidecar| sidecar.name.as_str());
        let mut states = status.init_container_statuses.iter().flatten();
        let runs = |one: &core::ContainerStatus| {
            Some(one.name.as_str()) == sidecar
                && one
                    .state
                    .as_ref()
                    .is_some_and(|state| state.running.is_some())
        };
        Some(Self {
            uid: metadata.uid?,
            labels: metadata.labels.unwrap_or_default(),
            service_account: spec
                .service_account_name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned()),
            node: spec.node_name.unwrap_or_default(),
            host_network: spec.host_network.unwrap_or(false),
            ended: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            terminating: metadata.deletion_timestamp.is_some(),
            meshed: sidecar.is_some(),
            sidecar_runs: states.any(runs),
            excluded_ports: excluded_ports(spec.init_containers.iter().flatten()),
            created: metadata
                .creation_timestamp
                .map_or(0, |created| created.0.as_second()),
            addresses,
        })
    }

    /// The workload that it is.
    pub(super) fn workload(
        &self,
        trust_domain: &TrustDomain,
        name: &Name,
        at: At<'_>,
    ) -> Result<Workload, SpiffeIdError> {
        let identity = Workload::identity_of(trust_domain, &name.namespace, &self.service_account)?;
        Ok(Workload {
            namespace: name.namespace.clone(),
            name: name.name.clone(),
            service_account: self.service_account.clone(),
            labels: self.labels.clone(),
            addresses: at.addresses,
            meshed: self.is_meshed(),
            identity,
            place: Place {
                node: self.node.clone(),
                zone: at.zone.to_owned(),
            },
            excluded_ports: self.excluded_ports.clone(),
        })
    }

    /// Whether that is this workload: making it costs far more than looking.
    pub(super) fn is(&self, name: &Name, at: &At<'_>, workload: &Workload) -> bool {
        let Workload {
            namespace,
            name: own_name,
            service_account,
            labels,
            addresses,
            meshed,
            // It is made of the namespace and the account.
            identity: _,
            place: Place { node, zone },
            excluded_ports,
        } = workload;
        *namespace == name.namespace
            && *own_name == name.name
            && *service_account == self.service_account
            && *labels == self.labels
            && *addresses == at.addresses
            && *meshed == self.is_meshed()
            && *node == self.node
            && *zone == at.zone
            && *excluded_ports == self.excluded_ports
    }

    /// A sidecar in the node's network redirects nothing.
    fn is_meshed(&self) -> bool {
        self.meshed && !self.host_network
    }
}

/// What the rest of the cluster says of a pod.
#[derive(Debug)]
pub(super) struct At<'a> {
    /// Those of its addresses that no other pod has.
    pub(super) addresses: Vec<IpAddr>,
    /// The zone of its node.
    pub(super) zone: &'a str,
}

/// Whether an init container is our sidecar.
pub(crate) fn is_sidecar(container: &core::Container) -> bool {
    cluster::is_sidecar(
        &container.name,
        container.restart_policy.as_deref(),
        container.command.as_deref().unwrap_or_default(),
        container.args.as_deref().unwrap_or_default(),
    )
}

/// What its redirect leaves alone.
fn excluded_ports<'p>(mut containers: impl Iterator<Item = &'p core::Container>) -> Vec<u16> {
    let redirect = containers.find(|container| container.name == REDIRECT_CONTAINER);
    let variables = redirect
        .into_iter()
        .flat_map(|redirect| redirect.env.iter().flatten());
    variables
        .filter(|variable| variable.name == EXCLUDED_PORTS_VARIABLE)
        .filter_map(|variable| variable.value.as_deref())
        .flat_map(cluster::excluded_ports)
        .collect()
}

const DEFAULT_ACCOUNT: &str = "default";
