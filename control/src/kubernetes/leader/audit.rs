//! Says which pods run in namespaces of the mesh and are not in it: an Event for each, and a metric.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use palisade_api::cluster::{
    ALLOW_OPT_OUT, CONTROL, DISABLED, ENABLED, INJECT, MEMBER_LABEL, is_sidecar,
};

use super::Cluster;
use super::pace::failures;

/// A running pod that should be in the mesh and is not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unmeshed {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) reason: Reason,
}

/// Why a pod is not in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// It was made before its namespace was in the mesh, or by another way than the injector's.
    NotInjected,
    /// It uses its node's network.
    HostNetwork,
}

impl Reason {
    const ALL: [Self; 2] = [Self::NotInjected, Self::HostNetwork];

    fn label(self) -> &'static str {
        match self {
            Self::NotInjected => "not_injected",
            Self::HostNetwork => "host_network",
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::NotInjected => {
                "The namespace is in the mesh and this pod has no sidecar: nothing protects it, and strict pods \
                 refuse it. Restart it."
            }
            Self::HostNetwork => {
                "The namespace is in the mesh and this pod uses its node's network: nothing protects it, and strict \
                 pods refuse it. Do without hostNetwork, or move it to a namespace outside of the mesh."
            }
        }
    }
}

/// Whether a pod is one, its namespace being as given.
pub(crate) fn unmeshed(pod: &Pod, namespace: &ObjectMeta) -> Option<Unmeshed> {
    let value = |map: &Option<BTreeMap<String, String>>, key: &str| {
        map.as_ref().and_then(|map| map.get(key).cloned())
    };
    let is = |map, key, expected: &str| value(map, key).as_deref() == Some(expected);
    let spec = pod.spec.as_ref()?;
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let lives =
        pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"));
    let meshed = spec.init_containers.iter().flatten().any(|container| {
        is_sidecar(
            &container.name,
            container.restart_policy.as_deref(),
            container.command.as_deref().unwrap_or_default(),
            container.args.as_deref().unwrap_or_default(),
        )
    });
    let opted_out = is(&namespace.annotations, ALLOW_OPT_OUT, "true")
        && (is(&pod.metadata.annotations, INJECT, DISABLED)
            || is(&pod.metadata.labels, INJECT, DISABLED));
    if !lives || meshed || opted_out || !is(&namespace.labels, MEMBER_LABEL, ENABLED) {
        return None;
    }
    Some(Unmeshed {
        namespace: pod.metadata.namespace.clone()?,
        name: pod.metadata.name.clone()?,
        uid: pod.metadata.uid.clone()?,
        reason: if spec.host_network == Some(true) {
            Reason::HostNetwork
        } else {
            Reason::NotInjected
        },
    })
}

/// Until it is dropped. A pod is told of once by each leader.
pub(super) async fn keep(cluster: &Cluster) {
    let reporter = Reporter {
        controller: CONTROL.to_owned(),
        instance: Some(cluster.replica.clone()),
    };
    let recorder = Recorder::new(cluster.client.clone(), reporter);
    let mut found = cluster.unmeshed.clone();
    let mut told = BTreeSet::new();
    loop {
        let unmeshed = found.borrow_and_update().clone();
        for reason in Reason::ALL {
            let count = unmeshed.iter().filter(|pod| pod.reason == reason).count();
            cluster.metrics.unmeshed_pods(reason.label(), count);
        }
        let uids: BTreeSet<String> = unmeshed.iter().map(|pod| pod.uid.clone()).collect();
        told.retain(|uid| uids.contains(uid));
        let told_now: Vec<_> = unmeshed
            .iter()
            .filter(|pod| told.insert(pod.uid.clone()))
            .map(|pod| tell(&recorder, pod))
            .collect();
        // A pod that could not be told of is not worth a storm: the metric counts it.
        failures(told_now).await;
        if found.changed().await.is_err() {
            // Control stops.
            return std::future::pending().await;
        }
    }
}

async fn tell(recorder: &Recorder, pod: &Unmeshed) -> usize {
    let about = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: "OutsideMesh".to_owned(),
        note: Some(pod.reason.note().to_owned()),
        action: "Audit".to_owned(),
        secondary: None,
    };
    match recorder.publish(&event, &about).await {
        Ok(()) => 0,
        Err(error) => {
            tracing::warn!(namespace = %pod.namespace, pod = %pod.name, %error, "an Event was not written");
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reason(pod: Value, namespace: Value) -> Option<Reason> {
        let mut whole = json!({"metadata": {"namespace": "shop", "name": "web-1", "uid": "u"}, "spec": {"containers": []}});
        json_merge(&mut whole, pod);
        let pod = serde_json::from_value(whole).unwrap();
        unmeshed(&pod, &serde_json::from_value(namespace).unwrap()).map(|pod| pod.reason)
    }

    fn json_merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    json_merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    #[test]
    fn each_pod_is_outside_for_its_reason_or_not_at_all() {
        let member = || json!({"labels": {"mesh.palisade.dev/member": "enabled"}});
        let lenient = || {
            json!({
                "labels": {"mesh.palisade.dev/member": "enabled"},
                "annotations": {"palisade.dev/allow-opt-out": "true"},
            })
        };
        let out = || json!({"metadata": {"annotations": {"palisade.dev/inject": "disabled"}}});
        let sidecar =
            json!({"name": "palisade-proxy", "args": ["proxy", "run"], "restartPolicy": "Always"});
        let meshed = json!({"spec": {"initContainers": [sidecar]}});
        let in_name_only = json!({"spec": {"initContainers": [{"name": "palisade-proxy"}]}});
        let fake = json!({"name": "palisade-proxy", "image": "evil", "restartPolicy": "Always"});
        let fake = json!({"spec": {"initContainers": [fake]}});
        let cases = [
            (json!({}), member(), Some(Reason::NotInjected)),
            (json!({}), json!({}), None),
            (meshed, member(), None),
            (in_name_only, member(), Some(Reason::NotInjected)),
            (fake, member(), Some(Reason::NotInjected)),
            (
                json!({"spec": {"hostNetwork": true}}),
                member(),
                Some(Reason::HostNetwork),
            ),
            (json!({"status": {"phase": "Succeeded"}}), member(), None),
            (
                json!({"status": {"phase": "Running"}}),
                member(),
                Some(Reason::NotInjected),
            ),
            (
                json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
                member(),
                None,
            ),
            (out(), member(), Some(Reason::NotInjected)),
            (out(), lenient(), None),
        ];
        for (at, (pod, namespace, expected)) in cases.into_iter().enumerate() {
            assert_eq!(reason(pod, namespace), expected, "{at}");
        }
    }
}
