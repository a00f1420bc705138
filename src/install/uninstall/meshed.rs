//! Which workloads have pods in the mesh, and how each is taken out of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;

use palisade_api::cluster;

use crate::kubernetes::pod;

/// What makes pods, or a pod that nothing made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) namespace: String,
    pub(super) kind: String,
    pub(super) name: String,
}

/// What has pods in the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Workload {
    pub(super) namespace: String,
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) pods: usize,
    /// What its pods need to leave the mesh.
    pub(super) restart: String,
}

/// Whether a pod has a running sidecar.
pub(super) fn is_meshed(one: &Pod) -> bool {
    !pod::is_finished(one) && pod::sidecar(one).is_some()
}

/// What made this pod, or the pod itself.
pub(super) fn owner(pod: &Pod) -> Owner {
    let metadata = &pod.metadata;
    controller(metadata).unwrap_or_else(|| Owner {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        kind: "Pod".to_owned(),
        name: metadata.name.clone().unwrap_or_default(),
    })
}

/// What made this object.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<Owner> {
    let is_controller = |owner: &&OwnerReference| owner.controller == Some(true);
    let owner = metadata
        .owner_references
        .as_deref()?
        .iter()
        .find(is_controller)?;
    Some(Owner {
        namespace: metadata.namespace.clone()?,
        kind: owner.kind.clone(),
        name: owner.name.clone(),
    })
}

/// The workloads of meshed pods; `parents` says what made a ReplicaSet or a Job.
pub(super) fn workloads(pods: &[Pod], parents: &BTreeMap<Owner, Owner>) -> Vec<Workload> {
    let mut counted: BTreeMap<Owner, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_meshed(pod)) {
        let owner = owner(pod);
        let owner = parents.get(&owner).cloned().unwrap_or(owner);
        *counted.entry(owner).or_default() += 1;
    }
    counted
        .into_iter()
        .map(|(owner, pods)| Workload {
            restart: restart(&owner),
            namespace: owner.namespace,
            kind: owner.kind,
            name: owner.name,
            pods,
        })
        .collect()
}

/// How the namespaces of these workloads stop asking for the mesh.
pub(super) fn leave(namespaces: &[Namespace], workloads: &[Workload]) -> Vec<String> {
    let concerned: BTreeSet<&str> = workloads.iter().map(|w| w.namespace.as_str()).collect();
    let mut commands = Vec::new();
    for Namespace { metadata, .. } in namespaces {
        let Some(name) = metadata
            .name
            .as_deref()
            .filter(|name| concerned.contains(name))
        else {
            continue;
        };
        let written = [
            ("annotate", &metadata.annotations),
            ("label", &metadata.labels),
        ];
        for (verb, keys) in written {
            if keys
                .as_ref()
                .is_some_and(|keys| keys.contains_key(cluster::INJECT))
            {
                commands.push(format!(
                    "kubectl {verb} namespace {name} {}-",
                    cluster::INJECT
                ));
            }
        }
    }
    commands
}

fn restart(
    Owner {
        namespace,
        kind,
        name,
    }: &Owner,
) -> String {
    let lower = kind.to_ascii_lowercase();
    match kind.as_str() {
        "Deployment" | "StatefulSet" | "DaemonSet" => {
            format!("kubectl -n {namespace} rollout restart {lower}/{name}")
        }
        // The next run of a CronJob is out of the mesh by itself.
        "CronJob" => format!(
            "kubectl -n {namespace} get jobs # wait for those of cronjob/{name}, or delete them"
        ),
        "Job" => format!("kubectl -n {namespace} delete job/{name} # or wait until it is done"),
        _ => format!("kubectl -n {namespace} delete {lower}/{name} # and create it again"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, owner: Option<(&str, &str)>, sidecar: &Value, phase: &str) -> Pod {
        let owners: Vec<Value> = owner
            .iter()
            .map(|(kind, name)| json!({"apiVersion": "v1", "kind": kind, "name": name, "uid": "1", "controller": true}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"namespace": "shop", "name": name, "ownerReferences": owners},
            "spec": {"containers": [], "initContainers": [sidecar]},
            "status": {"phase": phase},
        }))
        .unwrap()
    }

    fn of(kind: &str, name: &str) -> Owner {
        Owner {
            namespace: "shop".into(),
            kind: kind.into(),
            name: name.into(),
        }
    }

    #[test]
    fn workloads_are_named_by_what_made_their_pods() {
        let sidecar = json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"});
        let init = json!({"name": "palisade-proxy"});
        let other = json!({"name": "other", "restartPolicy": "Always"});
        let web = Some(("ReplicaSet", "web-5d9"));
        let pods = [
            pod("web-1", web, &sidecar, "Running"),
            pod("web-2", web, &sidecar, "Pending"),
            pod("web-3", web, &sidecar, "Failed"),
            pod("db-0", Some(("StatefulSet", "db")), &sidecar, "Running"),
            pod("once-x", Some(("Job", "once")), &sidecar, "Running"),
            pod("once-y", Some(("Job", "once")), &sidecar, "Succeeded"),
            pod("alone", None, &sidecar, "Running"),
            pod("init", None, &init, "Running"),
            pod("other", None, &other, "Running"),
        ];
        let parents = BTreeMap::from([(of("ReplicaSet", "web-5d9"), of("Deployment", "web"))]);
        let found: Vec<_> = workloads(&pods, &parents)
            .into_iter()
            .map(|w| (w.kind, w.name, w.pods, w.restart))
            .collect();
        let expected = [
            (
                "Deployment",
                "web",
                2,
                "kubectl -n shop rollout restart deployment/web",
            ),
            (
                "Job",
                "once",
                1,
                "kubectl -n shop delete job/once # or wait until it is done",
            ),
            (
                "Pod",
                "alone",
                1,
                "kubectl -n shop delete pod/alone # and create it again",
            ),
            (
                "StatefulSet",
                "db",
                1,
                "kubectl -n shop rollout restart statefulset/db",
            ),
        ]
        .map(|(kind, name, pods, restart)| {
            (kind.to_owned(), name.to_owned(), pods, restart.to_owned())
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_namespace_leaves_by_the_key_that_it_joined_by() {
        let namespaces: Vec<Namespace> = serde_json::from_value(json!([
            {"metadata": {"name": "shop", "annotations": {"palisade.dev/inject": "enabled"},
                "labels": {"palisade.dev/inject": "enabled"}}},
            {"metadata": {"name": "empty", "annotations": {"palisade.dev/inject": "enabled"}}},
        ]))
        .unwrap();
        let sidecar = json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "restartPolicy": "Always"});
        let found = workloads(&[pod("a", None, &sidecar, "Running")], &BTreeMap::new());
        assert_eq!(
            leave(&namespaces, &found),
            [
                "kubectl annotate namespace shop palisade.dev/inject-",
                "kubectl label namespace shop palisade.dev/inject-",
            ]
        );
    }
}
