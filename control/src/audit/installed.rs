//! Whether the parts of the mesh are there and run.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::ResourceExt;
use palisade_api::cluster;

use super::finding::{Finding, look};
use super::snapshot::Snapshot;

/// Definitions, Deployments and admission policies.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "the rules' definitions are there";
    let definitions = look("definitions", &snapshot.definitions, fine, |found| {
        let plurals = [cluster::POLICIES, cluster::CLUSTER_POLICIES];
        plurals
            .iter()
            .filter_map(|plural| definition(plural, found))
            .collect()
    });
    let fine = "control and injector run";
    let deployments = look("programs", &snapshot.deployments, fine, |found| {
        let names = [cluster::CONTROL, cluster::INJECTOR];
        let judged = names
            .iter()
            .map(|name| deployment(name, &snapshot.system_namespace, found));
        judged.flatten().collect()
    });
    let fine = "a pod without its sidecar is refused even while no injector runs";
    let net = look("net", &snapshot.admission_policies, fine, |found| {
        let is_there = |name: &str| found.iter().any(|policy| policy.name_any() == name);
        let missing = NET.iter().filter(|(name, _)| !is_there(name));
        let error = |(name, what): &(&str, &str)| {
            let place = format!("ValidatingAdmissionPolicy {name}");
            Finding::error("net", place, format!("it is not there: {what}"), REINSTALL)
        };
        missing.map(error).collect()
    });
    [definitions, deployments, net].concat()
}

fn definition(plural: &str, found: &[CustomResourceDefinition]) -> Option<Finding> {
    let name = format!("{plural}.{}", cluster::GROUP);
    let place = format!("CustomResourceDefinition {name}");
    let error = |what: String, remedy: &str| {
        Some(Finding::error("definitions", place.clone(), what, remedy))
    };
    let Some(definition) = found.iter().find(|one| one.name_any() == name) else {
        return error("it is not there: no rule can be written".into(), REINSTALL);
    };
    if definition.metadata.deletion_timestamp.is_some() {
        let what = "it is being deleted, with all its rules; what is enforced stays as it was";
        return error(
            what.into(),
            "save the rules, let it go, then install it again and apply them",
        );
    }
    let versions = &definition.spec.versions;
    if !versions
        .iter()
        .any(|version| version.name == cluster::VERSION && version.served)
    {
        let what = format!("it does not serve the version {}", cluster::VERSION);
        return error(
            what,
            "install the version of this command, or use the command of that version",
        );
    }
    let conditions = definition
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    let established = conditions.any(|one| one.type_ == "Established" && one.status == "True");
    if !established {
        return error(
            "the API server does not serve it yet".into(),
            "look at its conditions",
        );
    }
    None
}

fn deployment(name: &str, system: &str, found: &[Deployment]) -> Option<Finding> {
    let place = format!("Deployment {system}/{name}");
    let Some(deployment) = found.iter().find(|one| one.name_any() == name) else {
        return Some(Finding::error(
            "programs",
            place,
            "it is not there",
            REINSTALL,
        ));
    };
    let wanted = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    let ready = ready(deployment);
    let what = format!("{ready} of {wanted} replicas are ready");
    let remedy =
        format!("kubectl -n {system} describe deployment,pods -l app.kubernetes.io/name={name}");
    if ready == 0 {
        Some(Finding::error("programs", place, what, remedy))
    } else if ready < wanted {
        Some(Finding::warning("programs", place, what, remedy))
    } else {
        None
    }
}

/// The policies that stand behind the webhook, and what happens without each.
const NET: [(&str, &str); 2] = [
    (
        "palisade-sidecar-required",
        "while webhooks are off, pods start without a sidecar",
    ),
    (
        "palisade-sidecar-kept",
        "whoever may edit a pod may put another image in place of its sidecar",
    ),
];
/// How many of its replicas are ready.
pub(super) fn ready(deployment: &Deployment) -> i32 {
    let status = deployment.status.as_ref();
    status.and_then(|status| status.ready_replicas).unwrap_or(0)
}

/// What to do where a part is missing.
pub const REINSTALL: &str = "palisade install | kubectl apply -f -";
