//! What a Pod object says about its part in the mesh.

use k8s_openapi::api::core::v1::{Container, Namespace, Pod};
use kube::ResourceExt;
use palisade_api::cluster;

use crate::kubernetes::is_sidecar;

/// The pod's sidecar.
pub fn sidecar(pod: &Pod) -> Option<&Container> {
    let containers = pod.spec.as_ref()?.init_containers.as_deref()?;
    containers.iter().find(|container| is_sidecar(container))
}

/// Whether all its containers have ended, for good.
pub fn is_finished(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a namespace asks for the mesh, by annotation or label.
pub fn asks(namespace: &Namespace) -> bool {
    let enabled = |value: Option<&String>| value.is_some_and(|value| value == cluster::ENABLED);
    enabled(namespace.annotations().get(cluster::INJECT))
        || enabled(namespace.labels().get(cluster::INJECT))
}

/// Whether the webhooks serve a namespace.
pub fn is_member(namespace: &Namespace) -> bool {
    let label = namespace.labels().get(cluster::MEMBER_LABEL);
    label.is_some_and(|value| value == cluster::ENABLED)
}

/// Whether pods of a namespace may opt out.
pub fn allows_opt_out(namespace: &Namespace) -> bool {
    let allowed = namespace.annotations().get(cluster::ALLOW_OPT_OUT);
    allowed.is_some_and(|value| value == "true")
}

/// Whether a pod asks to be left out of the mesh, whether its namespace lets it or not.
pub fn opts_out(pod: &Pod) -> bool {
    let disabled = |value: Option<&String>| value.is_some_and(|value| value == cluster::DISABLED);
    disabled(pod.annotations().get(cluster::INJECT)) || disabled(pod.labels().get(cluster::INJECT))
}

/// Why a pod of a meshed namespace is left alone by the injector; none where it should have a sidecar.
pub fn exempt(pod: &Pod, namespace: &Namespace) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    if is_finished(pod) {
        Some("it has ended")
    } else if spec.host_network == Some(true) {
        Some("it has the network of its node")
    } else if pod.annotations().contains_key(MIRROR) {
        Some("the kubelet made it from a file")
    } else if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        Some("it runs on Windows")
    } else if opts_out(pod) && allows_opt_out(namespace) {
        Some("it has opted out")
    } else {
        None
    }
}

/// What made a pod: `Deployment` and `web`; the pod itself where nothing did.
///
/// A ReplicaSet is its Deployment's, and a Job its CronJob's, by the names that Kubernetes gives them: so nothing
/// else need be read.
pub fn owner(pod: &Pod) -> (String, String) {
    let mut owners = pod.owner_references().iter();
    let Some(owner) = owners.find(|owner| owner.controller == Some(true)) else {
        return ("Pod".into(), pod.name_any());
    };
    let hash = pod.labels().get("pod-template-hash");
    let deployment = hash.and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'));
    match (owner.kind.as_str(), deployment) {
        ("ReplicaSet", Some(deployment)) => ("Deployment".into(), deployment.to_owned()),
        (kind, _) => (kind.to_owned(), owner.name.clone()),
    }
}

/// `shop/web-5d8f7c9b6d-x2x1p`.
pub fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// The annotation of a static pod's image in the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(metadata: Value, spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    #[test]
    fn a_pod_is_exempt_only_where_the_platform_allows_it() {
        let namespace = |allows: bool| -> Namespace {
            let annotations = if allows {
                json!({"palisade.dev/allow-opt-out": "true"})
            } else {
                json!({})
            };
            serde_json::from_value(
                json!({"metadata": {"name": "shop", "annotations": annotations}}),
            )
            .unwrap()
        };
        let opted_out = pod(
            json!({"annotations": {"palisade.dev/inject": "disabled"}}),
            json!({"containers": []}),
        );
        let on_host = pod(json!({}), json!({"containers": [], "hostNetwork": true}));
        assert_eq!(exempt(&opted_out, &namespace(false)), None);
        assert_eq!(
            exempt(&opted_out, &namespace(true)),
            Some("it has opted out")
        );
        assert!(exempt(&on_host, &namespace(false)).is_some());
        assert_eq!(
            exempt(&pod(json!({}), json!({"containers": []})), &namespace(true)),
            None
        );
    }
}
