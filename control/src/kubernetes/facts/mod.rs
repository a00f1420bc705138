//! Kubernetes objects to what an index is built from. Pure.
//!
//! Each kind is made small when it arrives ([`Pod::keep`] and its like): what is kept of 2,000 pods is their names,
//! labels and addresses, not their containers. [`facts`] then puts the whole together.
//!
//! Who is at an address is said by the pod that has it, and by nothing else: not by an `EndpointSlice`, which whoever
//! may edit a namespace can write.

mod namespace;
mod node;
mod pod;
mod service;
mod slice;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use palisade_api::policy::AuthorizationPolicy;
use palisade_api::spiffe::TrustDomain;
use palisade_api::workload::Workload;

use crate::index::Facts;

pub(crate) use namespace::Namespace;
pub(crate) use node::Node;
use pod::At;
pub(crate) use pod::{Pod, is_sidecar};
pub(crate) use service::Service;
pub(crate) use slice::Slice;

/// What an object is called; the namespace is empty where the kind has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What is kept of a cluster's objects.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) pods: BTreeMap<Name, Pod>,
    pub(crate) services: BTreeMap<Name, Service>,
    pub(crate) slices: BTreeMap<Name, Slice>,
    pub(crate) namespaces: BTreeMap<Name, Namespace>,
    pub(crate) nodes: BTreeMap<Name, Node>,
}

/// What a cluster and its rules come to, and what is wrong with it, each with its remedy. What is as it was in the
/// former facts is taken from them.
pub(crate) fn facts(
    trust_domain: &TrustDomain,
    cluster: &Cluster,
    policies: Vec<AuthorizationPolicy>,
    former: Option<&Facts>,
) -> (Facts, BTreeSet<String>) {
    let mut warnings = BTreeSet::new();
    let located = Located::new(trust_domain, cluster, former, &mut warnings);
    let mut facts = Facts {
        policies,
        ..Facts::default()
    };
    service::add(cluster, &located, former, &mut facts);
    facts.outside.extend(&located.outside);
    for (name, namespace) in &cluster.namespaces {
        facts
            .namespaces
            .insert(name.name.clone(), namespace.settings);
        warnings.extend(namespace.warnings(&name.name));
    }
    for (name, workload) in located.pods {
        if located.hosts.contains(name) {
            continue;
        }
        if let Some(pod) = cluster.pods.get(name) {
            facts.uids.insert(workload.key(), pod.uid.clone());
        }
        facts.workloads.push(workload);
    }
    (facts, warnings)
}

/// Every running pod as a workload.
struct Located<'a> {
    pods: BTreeMap<&'a Name, Arc<Workload>>,
    /// Those of them that share their node's address, and so are nobody by it.
    hosts: BTreeSet<&'a Name>,
    /// Nodes' addresses, and with them those of the pods that share them.
    outside: BTreeSet<IpAddr>,
}

impl<'a> Located<'a> {
    fn new(
        trust_domain: &TrustDomain,
        cluster: &'a Cluster,
        former: Option<&Facts>,
        warnings: &mut BTreeSet<String>,
    ) -> Self {
        let owners = owners(&cluster.pods);
        let mut located = Self {
            pods: BTreeMap::new(),
            hosts: BTreeSet::new(),
            outside: cluster
                .nodes
                .values()
                .flat_map(|node| &node.addresses)
                .copied()
                .collect(),
        };
        for (name, pod) in cluster.pods.iter().filter(|(_, pod)| !pod.ended) {
            let own = |ip: &&IpAddr| pod.host_network || owners.get(*ip) == Some(&name);
            let at = At {
                addresses: pod.addresses.iter().filter(own).copied().collect(),
                zone: cluster.zone(&pod.node),
            };
            let known = former.and_then(|former| known(former, name));
            let workload = match known.filter(|known| pod.is(name, &at, known)) {
                Some(known) => Arc::clone(known),
                None => match pod.workload(trust_domain, name, at) {
                    Ok(workload) => workload.into(),
                    Err(error) => {
                        warnings.insert(format!(
                            "pod {name} has no SPIFFE ID ({error}); change its service account"
                        ));
                        continue;
                    }
                },
            };
            if pod.host_network {
                located.hosts.insert(name);
                located.outside.extend(&workload.addresses);
            }
            located.pods.insert(name, workload);
        }
        located
    }
}

impl Cluster {
    fn zone(&self, node: &str) -> &str {
        let name = Name {
            namespace: String::new(),
            name: node.to_owned(),
        };
        self.nodes.get(&name).map_or("", |node| node.zone.as_str())
    }
}

/// The workload of this name: they were put there in the order of their names.
fn known<'f>(former: &'f Facts, name: &Name) -> Option<&'f Arc<Workload>> {
    let name = (name.namespace.as_str(), name.name.as_str());
    let found = former
        .workloads
        .binary_search_by(|known| (known.namespace.as_str(), known.name.as_str()).cmp(&name));
    former.workloads.get(found.ok()?)
}

/// Which pod has an address. Where two say so, the one that stays, and of those the younger: an address is given
/// again once a pod has let go of it, whatever its object still says.
fn owners(pods: &BTreeMap<Name, Pod>) -> BTreeMap<IpAddr, &Name> {
    let mut owners: BTreeMap<IpAddr, (&Name, &Pod)> = BTreeMap::new();
    let own_network = pods
        .iter()
        .filter(|(_, pod)| !pod.ended && !pod.host_network);
    for (name, pod) in own_network {
        for ip in &pod.addresses {
            let owner = owners.entry(*ip).or_insert((name, pod));
            if (!pod.terminating, pod.created) > (!owner.1.terminating, owner.1.created) {
                *owner = (name, pod);
            }
        }
    }
    owners
        .into_iter()
        .map(|(ip, (name, _))| (ip, name))
        .collect()
}

/// An address that one workload or service can have.
fn unicast(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    let ip = ip.to_canonical();
    (!ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast()).then_some(ip)
}

/// A port number that is one.
fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// Whether a protocol is ours; none is the default, which is TCP.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}
