//! What a Pod object says about its part in the mesh.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Namespace, Pod};
use kube::ResourceExt;
use palisade_api::cluster;

use crate::records::filter::Replica;

/// The pod's sidecar.
pub(crate) fn sidecar(pod: &Pod) -> Option<&Container> {
    let containers = pod.spec.as_ref()?.init_containers.as_deref()?;
    containers.iter().find(|container| is_sidecar(container))
}

fn is_sidecar(container: &Container) -> bool {
    cluster::is_sidecar(
        &container.name,
        container.restart_policy.as_deref(),
        container.command.as_deref().unwrap_or_default(),
        container.args.as_deref().unwrap_or_default(),
    )
}

/// How the sidecar is.
pub(crate) fn sidecar_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_deref()?;
    let mut statuses = statuses.iter();
    statuses.find(|status| status.name == cluster::PROXY_CONTAINER)
}

/// Its SPIFFE ID, where it has a sidecar that says which trust domain it belongs to.
pub(crate) fn identity(pod: &Pod) -> Option<String> {
    let variables = sidecar(pod)?.env.as_deref()?;
    let domain = variables
        .iter()
        .find(|variable| variable.name == "PALISADE_TRUST_DOMAIN")?;
    let spec = pod.spec.as_ref()?;
    let account = spec.service_account_name.as_deref();
    Some(format!(
        "spiffe://{}/ns/{}/sa/{}",
        domain.value.as_deref()?,
        pod.namespace().unwrap_or_default(),
        account.filter(|name| !name.is_empty()).unwrap_or("default"),
    ))
}

/// Whether all its containers have ended, for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Whether a namespace asks for the mesh, by annotation or label.
pub(crate) fn asks(namespace: &Namespace) -> bool {
    let enabled = |value: Option<&String>| value.is_some_and(|value| value == cluster::ENABLED);
    enabled(namespace.annotations().get(cluster::INJECT))
        || enabled(namespace.labels().get(cluster::INJECT))
}

/// Whether the webhooks serve a namespace.
pub(crate) fn is_member(namespace: &Namespace) -> bool {
    let label = namespace.labels().get(cluster::MEMBER_LABEL);
    label.is_some_and(|value| value == cluster::ENABLED)
}

/// Whether pods of a namespace may opt out.
pub(crate) fn allows_opt_out(namespace: &Namespace) -> bool {
    let allowed = namespace.annotations().get(cluster::ALLOW_OPT_OUT);
    allowed.is_some_and(|value| value == "true")
}

/// Why a pod of a meshed namespace is left alone by the injector; none where it should have a sidecar.
pub(crate) fn exempt(pod: &Pod, namespace: &Namespace) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let disabled = |value: Option<&String>| value.is_some_and(|value| value == cluster::DISABLED);
    let opted_out = disabled(pod.annotations().get(cluster::INJECT))
        || disabled(pod.labels().get(cluster::INJECT));
    if is_finished(pod) {
        Some("it has ended")
    } else if spec.host_network == Some(true) {
        Some("it has the network of its node")
    } else if pod.annotations().contains_key(MIRROR) {
        Some("the kubelet made it from a file")
    } else if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        Some("it runs on Windows")
    } else if opted_out && allows_opt_out(namespace) {
        Some("it has opted out")
    } else {
        None
    }
}

/// What made a pod: `Deployment` and `web`; the pod itself where nothing did.
///
/// A ReplicaSet is its Deployment's, and a Job its CronJob's, by the names that Kubernetes gives them: so nothing
/// else need be read.
pub(crate) fn owner(pod: &Pod) -> (String, String) {
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

/// Whether a pod is meant by its own name, its owner's, or that of its owner's owner.
pub(crate) fn is_named(pod: &Pod, asked: &Replica) -> bool {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    if asked
        .namespace
        .as_ref()
        .is_some_and(|wanted| *wanted != namespace)
    {
        return false;
    }
    let mut owners = pod.owner_references().iter();
    let (kind, owner) = owner(pod);
    let cron_job = (kind == "Job").then(|| owner.rsplit_once('-')).flatten();
    let cron_job = cron_job.filter(|(_, at)| at.bytes().all(|byte| byte.is_ascii_digit()));
    asked.name == name
        || asked.name == owner
        || owners.any(|owner| owner.name == asked.name)
        || cron_job.is_some_and(|(name, _)| name == asked.name)
}

/// `shop/web-5d8f7c9b6d-x2x1p`.
pub(crate) fn key(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any())
}

/// The annotation of a static pod's image in the API.
const MIRROR: &str = "kubernetes.io/config.mirror";

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
