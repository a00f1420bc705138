//! What a Pod object says about its part in the mesh.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;
use palisade_api::cluster;
use palisade_api::spiffe::TrustDomain;

pub(crate) use palisade_control::audit::pod::{
    asks, exempt, is_finished, is_member, key, opts_out, owner, sidecar,
};

use crate::records::filter::Replica;

/// How the sidecar is.
pub(crate) fn sidecar_status(pod: &Pod) -> Option<&ContainerStatus> {
    let statuses = pod.status.as_ref()?.init_container_statuses.as_deref()?;
    let mut statuses = statuses.iter();
    statuses.find(|status| status.name == cluster::PROXY_CONTAINER)
}

/// Whether its node says that it has a sidecar, and that it runs.
pub(crate) fn sidecar_runs(pod: &Pod) -> bool {
    let state = sidecar_status(pod).and_then(|status| status.state.as_ref());
    state.is_some_and(|state| state.running.is_some())
}

/// The trust domain that its sidecar belongs to.
pub(crate) fn trust_domain(pod: &Pod) -> Option<TrustDomain> {
    let variables = sidecar(pod)?.env.as_deref()?;
    let mut variables = variables.iter();
    let domain = variables.find(|variable| variable.name == "PALISADE_TRUST_DOMAIN")?;
    domain.value.as_deref()?.parse().ok()
}

/// Its SPIFFE ID, where it has a sidecar that says which trust domain it belongs to.
pub(crate) fn identity(pod: &Pod) -> Option<String> {
    let domain = trust_domain(pod)?;
    let spec = pod.spec.as_ref()?;
    let account = spec.service_account_name.as_deref();
    Some(format!(
        "spiffe://{domain}/ns/{}/sa/{}",
        pod.namespace().unwrap_or_default(),
        account.filter(|name| !name.is_empty()).unwrap_or("default"),
    ))
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
    let cron_job = (kind == "Job").then(|| cron_job(&owner)).flatten();
    asked.name == name
        || asked.name == owner
        || owners.any(|owner| owner.name == asked.name)
        || cron_job == Some(&asked.name)
}

/// What people call a pod's workload: what made it, and of a Job that a CronJob made that one.
pub(crate) fn workload(pod: &Pod) -> String {
    let (kind, owner) = owner(pod);
    let cron_job = (kind == "Job").then(|| cron_job(&owner)).flatten();
    cron_job.unwrap_or(&owner).to_owned()
}

/// Jobs of CronJobs are named by these and by the minute of their time.
pub(crate) fn cron_job(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    let is_minute = minute.len() >= 8 && minute.bytes().all(|byte| byte.is_ascii_digit());
    is_minute.then_some(name)
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
