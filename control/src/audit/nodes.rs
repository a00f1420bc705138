//! Rules that let callers in by the address of a node: whoever comes by way of it has that address.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use palisade_api::manifest::{NARROW, lets_nodes_in};

use super::finding::Finding;
use super::rules;
use super::snapshot::Snapshot;

/// Every rule against the address of every node.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "no rule lets a node's address in without an identity";
    let nodes = match &snapshot.platform.nodes {
        Ok(nodes) => nodes.iter().flat_map(addresses).collect::<Vec<_>>(),
        Err(why) => return vec![Finding::unknown("via-nodes", why)],
    };
    rules::each(snapshot, "via-nodes", fine, |object| {
        // One that has mistakes is told of by its status.
        let lets_in = rules::parse(object).map(|policy| lets_nodes_in(&policy, &nodes));
        let found = lets_in.unwrap_or_default().into_iter();
        found
            .map(|what| Finding::warning("via-nodes", rules::place(object), what, NARROW))
            .collect()
    })
}

fn addresses(node: &Node) -> Vec<(String, IpAddr)> {
    let addresses = node.status.iter().flat_map(|status| &status.addresses);
    addresses
        .flatten()
        .filter_map(|one| Some((node.name_any(), one.address.parse().ok()?)))
        .collect()
}
