//! `EndpointSlice`s: which pods are behind a service, and at which ports. Whose an address is they do not say.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::discovery::v1 as discovery;

use super::{is_tcp, port, unicast};

/// What is kept of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice {
    /// The service, in the slice's own namespace.
    pub(crate) service: String,
    /// TCP ports by the name that the service gives them; one without has an empty name.
    pub(crate) ports: BTreeMap<String, u16>,
    pub(crate) endpoints: Vec<Claim>,
}

/// Who is said to be behind a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The pod, in the slice's own namespace; none where something else is named.
    pub(crate) pod: Option<PodRef>,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) serves: Serves,
}

/// A pod by its name and, where it is said, its unique id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodRef {
    pub(crate) name: String,
    pub(crate) uid: Option<String>,
}

/// Whether an endpoint takes connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Serves {
    No,
    /// It is going, and takes them until it is gone.
    Terminating,
    Yes,
}

impl Slice {
    /// What is kept of the API's object: nothing of one that belongs to no service, or names hosts.
    pub(crate) fn keep(slice: discovery::EndpointSlice) -> Option<Self> {
        if !matches!(slice.address_type.as_str(), "IPv4" | "IPv6") {
            return None;
        }
        let namespace = slice.metadata.namespace.unwrap_or_default();
        let service = slice.metadata.labels?.remove(SERVICE_NAME)?;
        let ports = slice.ports.unwrap_or_default().into_iter();
        Some(Self {
            service,
            ports: ports
                .filter(|port| is_tcp(port.protocol.as_deref()))
                .filter_map(|p| Some((p.name.unwrap_or_default(), port(p.port?)?)))
                .collect(),
            endpoints: slice
                .endpoints
                .into_iter()
                .map(|endpoint| claim(&namespace, endpoint))
                .collect(),
        })
    }
}

fn claim(namespace: &str, endpoint: discovery::Endpoint) -> Claim {
    let conditions = endpoint.conditions.unwrap_or_default();
    // What is not said is so, as kube-proxy takes it. A service that publishes addresses that are not ready has
    // slices that call them ready.
    let ready = conditions.ready.unwrap_or(true);
    let serving = conditions.serving.unwrap_or(ready);
    let terminating = conditions.terminating.unwrap_or(false);
    let pod = endpoint.target_ref.filter(|target| {
        target.kind.as_deref() == Some("Pod")
            && target
                .namespace
                .as_deref()
                .is_none_or(|other| other == namespace)
    });
    Claim {
        pod: pod.and_then(|pod| {
            Some(PodRef {
                name: pod.name?,
                uid: pod.uid,
            })
        }),
        addresses: endpoint
            .addresses
            .iter()
            .filter_map(|ip| unicast(ip))
            .collect(),
        serves: match (ready, serving && terminating) {
            (true, _) => Serves::Yes,
            (false, true) => Serves::Terminating,
            (false, false) => Serves::No,
        },
    }
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";
