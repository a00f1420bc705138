//! Which object a finding is about, so that it can be told there.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use kube::api::ObjectMeta;
use palisade_api::cluster;

use super::finding::Finding;
use super::snapshot::{Looked, Snapshot};

/// The object that a finding's place names; control itself where it names none. A place with several names stands for
/// the first.
pub(crate) fn about(finding: &Finding, snapshot: &Snapshot) -> ObjectReference {
    let control = format!(
        "Deployment {}/{}",
        snapshot.system_namespace,
        cluster::CONTROL
    );
    let place = match finding.place.as_str() {
        "" => &control,
        place => place,
    };
    let place = place.split(',').next().unwrap_or_default();
    let (kind, name) = place.split_once(' ').unwrap_or(("Namespace", place));
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        // Whoever looks at a namespace sees what is told there, and not in `default`.
        None if kind == "Namespace" => (Some(name), name),
        None => (None, name),
    };
    ObjectReference {
        api_version: api_version(kind).map(str::to_owned),
        kind: Some(kind.to_owned()),
        namespace: namespace.map(str::to_owned),
        name: Some(name.to_owned()),
        uid: uid(snapshot, kind, namespace, name),
        ..ObjectReference::default()
    }
}

fn api_version(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ConfigMap"
        | "Namespace"
        | "Node"
        | "Pod"
        | "ReplicationController"
        | "Secret"
        | "Service" => "v1",
        "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet" => "apps/v1",
        "CronJob" | "Job" => "batch/v1",
        "NetworkPolicy" => "networking.k8s.io/v1",
        "CustomResourceDefinition" => "apiextensions.k8s.io/v1",
        "MutatingWebhookConfiguration"
        | "ValidatingWebhookConfiguration"
        | "ValidatingAdmissionPolicy" => "admissionregistration.k8s.io/v1",
        "AuthorizationPolicy" | "ClusterAuthorizationPolicy" => "palisade.dev/v1alpha1",
        _ => return None,
    })
}

/// As far as the snapshot tells: `kubectl describe` looks for it.
fn uid(snapshot: &Snapshot, kind: &str, namespace: Option<&str>, name: &str) -> Option<String> {
    let of = |metadata: &ObjectMeta| {
        let is_it = metadata.name.as_deref() == Some(name)
            && (metadata.namespace.as_deref() == namespace || kind == "Namespace");
        is_it.then(|| metadata.uid.clone()).flatten()
    };
    match kind {
        "Namespace" => find(&snapshot.namespaces, |one| of(&one.metadata)),
        "Node" => find(&snapshot.platform.nodes, |one| of(&one.metadata)),
        "Pod" => find(&snapshot.pods, |one| of(&one.metadata)),
        "Service" => find(&snapshot.services, |one| of(&one.metadata)),
        "Deployment" => find(&snapshot.deployments, |one| of(&one.metadata)),
        "NetworkPolicy" => find(&snapshot.network_policies, |one| of(&one.metadata)),
        "AuthorizationPolicy" => find(&snapshot.policies, |one| of(&one.metadata)),
        "ClusterAuthorizationPolicy" => find(&snapshot.cluster_policies, |one| of(&one.metadata)),
        kind => find(&snapshot.pods, |pod| {
            let mut owners = pod.owner_references().iter();
            let owner = owners.find(|owner| owner.kind == kind && owner.name == name)?;
            (pod.metadata.namespace.as_deref() == namespace).then(|| owner.uid.clone())
        }),
    }
}

fn find<T>(looked: &Looked<Vec<T>>, of: impl Fn(&T) -> Option<String>) -> Option<String> {
    looked.iter().flatten().find_map(of)
}
