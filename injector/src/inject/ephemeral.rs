//! Containers that are added to a running pod, as `kubectl debug` does it.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer};
use serde_json::Value;

use super::RefuseReason;
use super::read::{List, Place, is_ours};
use super::refuse;

/// Whether a pod's ephemeral containers may run beside the sidecar: not as its uid, not on its ports, not under its
/// name, not with its proof of identity, and not among its processes. `pod` is a whole pod.
///
/// # Errors
///
/// Every reason why not.
pub fn ephemeral(pod: &Value) -> Result<(), Vec<RefuseReason>> {
    let written = pod
        .pointer("/spec/ephemeralContainers")
        .cloned()
        .unwrap_or_default();
    let containers: Option<Vec<EphemeralContainer>> =
        serde_json::from_value(written).map_err(|error| {
            vec![RefuseReason::NotAPod {
                problem: error.to_string(),
            }]
        })?;
    let mut reasons = Vec::new();
    for (index, container) in containers.into_iter().flatten().enumerate() {
        if let Some(name) = container.target_container_name.filter(|name| is_ours(name)) {
            let path = format!("spec.ephemeralContainers[{index}].targetContainerName");
            reasons.push(RefuseReason::Target { path, name });
        }
        // The four fields that are looked at are the same in both types.
        let container = Container {
            name: container.name,
            ports: container.ports,
            security_context: container.security_context,
            volume_mounts: container.volume_mounts,
            ..Container::default()
        };
        let place = Place {
            list: List::Ephemeral,
            index,
            container: &container,
        };
        refuse::container(&place, &mut reasons);
    }
    if reasons.is_empty() {
        Ok(())
    } else {
        Err(reasons)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_kubectl_debug_adds_is_allowed() {
        for container in [
            json!({"name": "debugger-x7", "image": "busybox", "stdin": true, "tty": true,
                "terminationMessagePolicy": "File", "imagePullPolicy": "Always"}),
            json!({"name": "debugger-a", "image": "busybox", "targetContainerName": "app",
                "securityContext": {"capabilities": {"add": ["SYS_PTRACE"]}}}),
            json!({"name": "debugger-b", "image": "busybox",
                "securityContext": {"runAsUser": 0, "runAsNonRoot": false}}),
        ] {
            let pod = json!({"spec": {"ephemeralContainers": [container]}});
            assert_eq!(ephemeral(&pod), Ok(()), "{pod}");
        }
        assert_eq!(ephemeral(&json!({"spec": {}})), Ok(()));
    }

    #[test]
    fn what_would_pass_by_the_mesh_is_refused() {
        for (container, path) in [
            (
                json!({"name": "a", "securityContext": {"runAsUser": 1337}}),
                "securityContext.runAsUser",
            ),
            (json!({"name": "palisade-proxy"}), "name"),
            (
                json!({"name": "a", "ports": [{"containerPort": 15006}]}),
                "ports[0].containerPort",
            ),
            (
                json!({"name": "a", "volumeMounts": [{"name": "palisade-identity", "mountPath": "/x"}]}),
                "volumeMounts[0].name",
            ),
            (
                json!({"name": "a", "targetContainerName": "palisade-proxy"}),
                "targetContainerName",
            ),
        ] {
            let pod = json!({"spec": {"ephemeralContainers": [{"name": "fine"}, container]}});
            let reasons = ephemeral(&pod).unwrap_err();
            let paths: Vec<_> = reasons.iter().map(RefuseReason::path).collect();
            assert_eq!(paths, [format!("spec.ephemeralContainers[1].{path}")]);
        }
        assert!(ephemeral(&json!({"spec": {"ephemeralContainers": "none"}})).is_err());
    }
}
