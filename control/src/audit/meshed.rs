//! Who should be in the mesh and is not, and what passes by it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt;
use palisade_api::manifest::settings_of;
use palisade_api::{cluster, sidecar};

use super::finding::{Finding, both, look};
use super::pod;
use super::snapshot::Snapshot;

/// Namespaces and their pods.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "no namespace stands between out and in";
    let namespaces = look("namespaces", &snapshot.namespaces, fine, |namespaces| {
        namespaces.iter().flat_map(namespace).collect()
    });
    let looked = both(&snapshot.namespaces, &snapshot.pods);
    let fine = "every pod that should be meshed is";
    let unmeshed = look("unmeshed", &looked, fine, |(namespaces, pods)| {
        each(namespaces, pods, unmeshed)
    });
    let fine = "nothing is exempt";
    let exempt = look("exemptions", &looked, fine, |(namespaces, pods)| {
        each(namespaces, pods, exemptions)
    });
    let left_out = snapshot.unreadable.iter().map(|namespace| {
        Finding::unknown(
            "namespaces",
            &format!("you may not read all of {namespace}"),
        )
    });
    [namespaces, unmeshed, exempt, left_out.collect()].concat()
}

fn namespace(namespace: &Namespace) -> Vec<Finding> {
    let name = namespace.name_any();
    let (asks, member) = (pod::asks(namespace), pod::is_member(namespace));
    let mut findings = Vec::new();
    if asks != member {
        let (what, then) = if asks {
            (
                "it asks for the mesh, and its label is missing: its new pods get no sidecar",
                "added",
            )
        } else {
            (
                "it no longer asks for the mesh, and still has its label: its new pods get a sidecar",
                "removed",
            )
        };
        let remedy = format!(
            "control repairs the label {} when it runs; until it is {then} there, see what control logs",
            cluster::MEMBER_LABEL
        );
        findings.push(Finding::error("namespaces", name.clone(), what, remedy));
    }
    let level = namespace.labels().get(POD_SECURITY).map(String::as_str);
    if let (true, Some(level @ ("baseline" | "restricted"))) = (asks || member, level) {
        findings.push(Finding::error(
            "namespaces",
            name.clone(),
            format!("its pod-security level {level} refuses every meshed pod, since the redirect needs NET_ADMIN"),
            format!("kubectl label namespace {name} {POD_SECURITY}=privileged --overwrite"),
        ));
    }
    let annotation = namespace.annotations().get(sidecar::MTLS_ANNOTATION);
    if member && annotation.is_some_and(|mode| mode == "permissive") {
        findings.push(Finding::warning(
            "namespaces",
            name.clone(),
            "it is permissive: callers without an identity may be let in, as plaintext",
            format!(
                "kubectl annotate namespace {name} {}-, once `palisade logs` shows no such caller",
                sidecar::MTLS_ANNOTATION
            ),
        ));
    }
    let annotations = namespace.annotations().iter();
    let (_, wrong) = settings_of(annotations.map(|(key, value)| (key, value.as_str())));
    findings.extend(wrong.into_iter().map(|wrong| {
        let what = format!("{}: it counts as closed there", wrong.message);
        Finding::warning("namespaces", name.clone(), what, wrong.remedy)
    }));
    findings
}

/// Judges the pods of each meshed namespace, together with those that the same object made.
fn each(
    namespaces: &[Namespace],
    pods: &[Pod],
    judge: impl Fn(&Namespace, &Made<'_>) -> Option<Finding>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for namespace in namespaces {
        if !pod::asks(namespace) && !pod::is_member(namespace) {
            continue;
        }
        let name = namespace.name_any();
        let mut made: BTreeMap<(String, String), Vec<&Pod>> = BTreeMap::new();
        let own = pods
            .iter()
            .filter(|one| one.metadata.namespace.as_ref() == Some(&name));
        for one in own.filter(|one| !pod::is_finished(one)) {
            made.entry(pod::owner(one)).or_default().push(one);
        }
        let made = made
            .iter()
            .map(|((kind, by), pods)| Made { kind, by, pods });
        findings.extend(made.filter_map(|made| judge(namespace, &made)));
    }
    findings
}

/// The pods that one object made.
struct Made<'a> {
    kind: &'a str,
    by: &'a str,
    pods: &'a [&'a Pod],
}

fn unmeshed(namespace: &Namespace, made: &Made<'_>) -> Option<Finding> {
    let missed = made
        .pods
        .iter()
        .filter(|one| pod::sidecar(one).is_none() && pod::exempt(one, namespace).is_none());
    let missed = missed.count();
    let name = namespace.name_any();
    let what = match made.kind {
        "Pod" => "it has no sidecar: it is older than its namespace's place in the mesh".to_owned(),
        _ => format!(
            "{missed} of its {} pods have no sidecar: they are older than their namespace's place in the mesh",
            made.pods.len()
        ),
    };
    let remedy = again(made.kind, made.by, &name);
    (missed > 0).then(|| {
        Finding::error(
            "unmeshed",
            format!("{} {name}/{}", made.kind, made.by),
            what,
            remedy,
        )
    })
}

/// How an object's pods are made again, or a pod that nothing made.
pub(super) fn again(kind: &str, by: &str, namespace: &str) -> String {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" => restart(kind, by, namespace),
        "Pod" => format!("create it again: kubectl -n {namespace} delete pod {by} and apply it"),
        kind => format!("delete these pods, so that the {kind} makes them again"),
    }
}

/// The command that makes an object's pods again.
pub(super) fn restart(kind: &str, name: &str, namespace: &str) -> String {
    format!(
        "kubectl -n {namespace} rollout restart {}/{name}",
        kind.to_lowercase()
    )
}

fn exemptions(namespace: &Namespace, made: &Made<'_>) -> Option<Finding> {
    let first = made.pods.first()?;
    let exclusions = EXCLUSIONS.iter().filter_map(|(key, what)| {
        let value = first.annotations().get(*key)?;
        Some(format!("{what} {value}"))
    });
    let mut parts: Vec<String> = exclusions.collect();
    if pod::sidecar(first).is_none()
        && let Some(why) = pod::exempt(first, namespace)
    {
        parts.insert(0, format!("it is not meshed, since {why}"));
    }
    let remedy = if pod::allows_opt_out(namespace) {
        format!(
            "meant? else remove it; the namespace's {} allows it",
            cluster::ALLOW_OPT_OUT
        )
    } else {
        "meant? no rule holds there".to_owned()
    };
    let place = format!("{} {}/{}", made.kind, namespace.name_any(), made.by);
    (!parts.is_empty()).then(|| Finding::warning("exemptions", place, parts.join("; "), remedy))
}

const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";
const EXCLUSIONS: [(&str, &str); 3] = [
    (
        cluster::EXCLUDE_INBOUND_PORTS,
        "it is reached without the mesh on ports",
    ),
    (
        cluster::EXCLUDE_OUTBOUND_PORTS,
        "it reaches without the mesh ports",
    ),
    (
        cluster::EXCLUDE_OUTBOUND_CIDRS,
        "it reaches without the mesh addresses",
    ),
];
