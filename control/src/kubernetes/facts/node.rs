//! Nodes: their addresses, which are outside the mesh, and where they stand.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use super::unicast;

/// What is kept of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// Empty where it has none.
    pub(crate) zone: String,
}

impl Node {
    /// What is kept of the API's object.
    pub(crate) fn keep(node: core::Node) -> Option<Self> {
        let addresses = node.status.and_then(|status| status.addresses);
        let zone = node
            .metadata
            .labels
            .and_then(|mut labels| labels.remove(ZONE));
        Some(Self {
            addresses: addresses
                .unwrap_or_default()
                .iter()
                .filter_map(|address| unicast(&address.address))
                .collect(),
            zone: zone.unwrap_or_default(),
        })
    }
}

const ZONE: &str = "topology.kubernetes.io/zone";
