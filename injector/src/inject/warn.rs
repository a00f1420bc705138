//! What whoever creates a pod should know, though it may run.

use palisade_api::{cluster, sidecar};

use super::NamespaceFacts;
use super::read::Pod;
use super::wishes::Wishes;

/// A sentence each.
pub(super) fn warnings(pod: &Pod, wishes: &Wishes, namespace: &NamespaceFacts) -> Vec<String> {
    let mut warnings = Vec::new();
    let excluded = &wishes.excluded;
    for (key, is_used) in [
        (
            cluster::EXCLUDE_INBOUND_PORTS,
            !excluded.inbound_ports.is_empty(),
        ),
        (
            cluster::EXCLUDE_OUTBOUND_PORTS,
            !excluded.outbound_ports.is_empty(),
        ),
        (
            cluster::EXCLUDE_OUTBOUND_CIDRS,
            !excluded.outbound_cidrs.is_empty(),
        ),
    ] {
        if let Some(value) = pod.annotations.get(key).filter(|_| is_used) {
            warnings.push(format!(
                "metadata.annotations[{key}]: connections to {value} are neither encrypted nor authorized by the mesh"
            ));
        }
    }
    let mode = namespace.annotations.get(sidecar::MTLS_ANNOTATION);
    let is_strict = mode.is_none_or(|mode| mode != "permissive");
    for place in pod.containers().filter(|_| is_strict) {
        for (index, port) in place.container.ports.iter().flatten().enumerate() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            let number = port.container_port;
            let is_excluded = excluded
                .inbound_ports
                .iter()
                .any(|port| i32::from(*port) == number);
            if protocol != "TCP" && !is_excluded {
                warnings.push(format!(
                    "{}.ports[{index}]: the mesh carries TCP only, and the namespace is strict: {protocol} that comes \
                     to port {number} is dropped; exclude the port by {} to receive it",
                    place.path(),
                    cluster::EXCLUDE_INBOUND_PORTS
                ));
            }
        }
    }
    warnings
}
