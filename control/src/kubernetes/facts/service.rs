//! Services: the addresses that lead to pods, and what kube-proxy promises of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use palisade_api::workload::{self, Endpoint, Prefer, Scope, ServicePort, Workload};

use super::slice::{Claim, Serves, Slice};
use super::{Cluster, Located, Name, is_tcp, port, unicast};
use crate::index::Facts;

/// What is kept of a service that has addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its own addresses in the cluster, of both families.
    pub(crate) cluster: Vec<IpAddr>,
    /// Those that lead to it from elsewhere.
    pub(crate) external: Vec<IpAddr>,
    /// TCP ports.
    pub(crate) ports: Vec<Port>,
    pub(crate) scope: Scope,
    pub(crate) prefer: Prefer,
    pub(crate) affinity: Option<Duration>,
}

/// A port of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    /// Empty where it has none.
    pub(crate) name: String,
    pub(crate) port: u16,
    /// Where the pods listen, if the service says a number.
    pub(crate) target: Option<u16>,
}

impl Service {
    /// What is kept of the API's object: nothing of one without addresses of its own, whose pods are reached by
    /// theirs, and nothing of a mere name for something outside.
    pub(crate) fn keep(service: core::Service) -> Option<Self> {
        let spec = service.spec?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return None;
        }
        let ingress = service
            .status
            .and_then(|status| status.load_balancer)
            .and_then(|balancer| balancer.ingress)
            .unwrap_or_default();
        let balanced = ingress.into_iter().filter_map(|ingress| ingress.ip);
        let external = spec.external_ips.into_iter().flatten().chain(balanced);
        let own = match spec.cluster_ips {
            Some(ips) => ips,
            None => spec.cluster_ip.into_iter().collect(),
        };
        let kept = Self {
            cluster: own.iter().filter_map(|ip| unicast(ip)).collect(),
            external: external.filter_map(|ip| unicast(&ip)).collect(),
            ports: spec.ports.iter().flatten().filter_map(kept_port).collect(),
            scope: match spec.internal_traffic_policy.as_deref() {
                Some("Local") => Scope::Node,
                _ => Scope::Cluster,
            },
            prefer: match spec.traffic_distribution.as_deref() {
                Some("PreferClose" | "PreferSameZone") => Prefer::Zone,
                Some("PreferSameNode") => Prefer::Node,
                _ => Prefer::None,
            },
            affinity: (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
                let seconds = spec
                    .session_affinity_config
                    .and_then(|config| config.client_ip)
                    .and_then(|client| client.timeout_seconds)
                    .and_then(|seconds| u64::try_from(seconds).ok());
                seconds.map_or(DEFAULT_AFFINITY, Duration::from_secs)
            }),
        };
        (!kept.cluster.is_empty()).then_some(kept)
    }
}

fn kept_port(spec: &core::ServicePort) -> Option<Port> {
    if !is_tcp(spec.protocol.as_deref()) {
        return None;
    }
    let own = port(spec.port)?;
    Some(Port {
        name: spec.name.clone().unwrap_or_default(),
        port: own,
        target: match &spec.target_port {
            None => Some(own),
            Some(IntOrString::Int(number)) => port(*number),
            Some(IntOrString::String(_)) => None,
        },
    })
}

/// Adds every service to the facts: with its endpoints or, where all of them are outside the mesh, as outside.
pub(super) fn add(
    cluster: &Cluster,
    located: &Located<'_>,
    former: Option<&Facts>,
    facts: &mut Facts,
) {
    let known = known(former);
    let mut slices: BTreeMap<(&str, &str), Vec<&Slice>> = BTreeMap::new();
    for (name, slice) in &cluster.slices {
        let of = (name.namespace.as_str(), slice.service.as_str());
        slices.entry(of).or_default().push(slice);
    }
    let shared = shared(&cluster.services);
    let mut external = Vec::new();
    for (name, service) in &cluster.services {
        let of = (name.namespace.as_str(), name.name.as_str());
        let slices = slices.get(&of).map(Vec::as_slice).unwrap_or_default();
        let behind = Behind::new(&name.namespace, slices, cluster, located);
        if behind.is_outside {
            facts.outside.extend(&service.cluster);
            continue;
        }
        let built = build(name, service, behind);
        let built = match known.get(&of) {
            Some(known) if ***known == built => Arc::clone(known),
            _ => Arc::new(built),
        };
        // Whoever makes a service chooses these addresses, so they take nothing that is another's.
        let theirs: Vec<_> = service
            .external
            .iter()
            .filter(|ip| !located.outside.contains(ip) && !shared.contains(ip))
            .copied()
            .collect();
        if !theirs.is_empty() {
            // A service's own node has no say in what comes from elsewhere.
            let scope = Scope::Cluster;
            let elsewhere = workload::Service {
                scope,
                ..workload::Service::clone(&built)
            };
            external.push((theirs, elsewhere.into()));
        }
        facts.services.push((service.cluster.clone(), built));
    }
    // After all addresses of the cluster's own.
    facts.services.extend(external);
}

/// The services as they were; of those with external addresses, what leads to them in the cluster comes first.
fn known(former: Option<&Facts>) -> BTreeMap<(&str, &str), &Arc<workload::Service>> {
    let mut known = BTreeMap::new();
    for (_, service) in former.iter().flat_map(|former| &former.services) {
        let of = (service.namespace.as_str(), service.name.as_str());
        known.entry(of).or_insert(service);
    }
    known
}

/// External addresses that several services have, by different ports: one object can say one service.
fn shared(services: &BTreeMap<Name, Service>) -> BTreeSet<IpAddr> {
    let mut seen = BTreeSet::new();
    services
        .values()
        .flat_map(|service| service.external.iter().collect::<BTreeSet<_>>())
        .filter(|ip| !seen.insert(**ip))
        .copied()
        .collect()
}

/// A pod behind a service: where it listens, by the ports' names, and whether it does.
struct Found<'a> {
    workload: &'a Arc<Workload>,
    ports: BTreeMap<&'a str, u16>,
    serves: Serves,
}

/// Everything that is behind a service.
struct Behind<'a> {
    /// By the pod's name: those of both families are one.
    found: BTreeMap<&'a str, Found<'a>>,
    /// There is something, and none of it can be of the mesh.
    is_outside: bool,
}

impl<'a> Behind<'a> {
    fn new(
        namespace: &str,
        slices: &[&'a Slice],
        cluster: &Cluster,
        located: &'a Located<'_>,
    ) -> Self {
        let mut behind = Self {
            found: BTreeMap::new(),
            is_outside: slices.iter().any(|slice| !slice.endpoints.is_empty()),
        };
        for slice in slices {
            for claim in &slice.endpoints {
                let Some(pod) = &claim.pod else {
                    continue;
                };
                let name = Name {
                    namespace: namespace.to_owned(),
                    name: pod.name.clone(),
                };
                match located.pods.get(&name) {
                    Some(workload) if is_proved(claim, cluster.pods.get(&name), workload) => {
                        behind.is_outside &= !workload.meshed;
                        behind.add(&pod.name, workload, slice, claim.serves);
                    }
                    // Not seen yet, or gone, or not what is claimed: no reason to pass anything in clear.
                    _ => behind.is_outside = false,
                }
            }
        }
        behind
    }

    fn add(&mut self, pod: &'a str, workload: &'a Arc<Workload>, slice: &'a Slice, serves: Serves) {
        let found = self.found.entry(pod).or_insert_with(|| Found {
            workload,
            ports: BTreeMap::new(),
            serves,
        });
        // The families' slices may be a moment apart; the more cautious one counts.
        found.serves = found.serves.min(serves);
        let ports = slice.ports.iter().map(|(name, p)| (name.as_str(), *p));
        found.ports.extend(ports);
    }
}

/// Whether the pod that a slice names is the one that is there, at an address that it has itself.
fn is_proved(claim: &Claim, pod: Option<&super::Pod>, workload: &Workload) -> bool {
    let Some(named) = &claim.pod else {
        return false;
    };
    let is_same = named
        .uid
        .as_ref()
        .is_none_or(|uid| pod.is_some_and(|pod| pod.uid == *uid));
    is_same
        && claim
            .addresses
            .iter()
            .any(|ip| workload.addresses.contains(ip))
}

fn build(name: &Name, service: &Service, behind: Behind<'_>) -> workload::Service {
    let usable = |serves: Serves| behind.found.values().filter(move |f| f.serves == serves);
    let (serves, terminating) = match usable(Serves::Yes).next() {
        Some(_) => (Serves::Yes, false),
        None => (Serves::Terminating, true),
    };
    let ports: Vec<_> = service
        .ports
        .iter()
        .filter_map(|port| {
            let first = || usable(serves).find_map(|found| found.ports.get(port.name.as_str()));
            // Where there is no endpoint, nobody will go to what a name leads to, and the port is there all the same.
            let nobody = || usable(serves).next().is_none().then_some(port.port);
            let target_port = port.target.or_else(|| first().copied()).or_else(nobody);
            Some(ServicePort {
                port: port.port,
                // A name that no endpoint has: there is nothing to reach, and so nothing to say.
                target_port: target_port?,
            })
        })
        .collect();
    let endpoints = usable(serves)
        .map(|found| Endpoint {
            workload: Arc::clone(found.workload),
            ports: differing(service, &ports, found),
            terminating,
        })
        .collect();
    workload::Service {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        ports,
        endpoints,
        scope: service.scope,
        prefer: service.prefer,
        affinity: service.affinity,
    }
}

/// Where an endpoint listens elsewhere than its service says.
fn differing(service: &Service, ports: &[ServicePort], found: &Found<'_>) -> Vec<ServicePort> {
    let own = |said: &ServicePort| {
        let port = service.ports.iter().find(|port| port.port == said.port)?;
        let target_port = *found.ports.get(port.name.as_str())?;
        (target_port != said.target_port).then_some(ServicePort {
            port: said.port,
            target_port,
        })
    };
    ports.iter().filter_map(own).collect()
}

/// Kubernetes' own.
const DEFAULT_AFFINITY: Duration = Duration::from_secs(10_800);
