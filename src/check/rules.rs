//! Rules that are not enforced everywhere, and rules that let callers in without an identity.

use kube::ResourceExt;
use kube::api::DynamicObject;
use palisade_api::manifest::{self, Manifest};
use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode};
use serde::Deserialize;
use serde_json::{Map, json};

use super::finding::{Finding, look};
use super::snapshot::Snapshot;

/// Every rule's status, and its sources.
pub(super) fn judge(snapshot: &Snapshot) -> Vec<Finding> {
    let fine = "every proxy enforces the rules as they stand";
    let status = look("rules", &snapshot.policies, fine, |policies| {
        policies.iter().flat_map(status).collect()
    });
    let fine = "no rule lets a caller in that has no identity";
    let plaintext = look("plaintext", &snapshot.policies, fine, |policies| {
        policies
            .iter()
            .filter_map(|object| plaintext(object, snapshot))
            .collect()
    });
    [status, plaintext].concat()
}

/// What control says of a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    observed_generation: Option<i64>,
    proxies: u64,
    enforcing: u64,
    pending: Vec<String>,
    refusing: Vec<String>,
}

fn status(object: &DynamicObject) -> Vec<Finding> {
    let place = place(object);
    let status = object.data.get("status").cloned().unwrap_or_default();
    // No status at all is one that says nothing, as is one of another version.
    let status: Status = serde_json::from_value(status).unwrap_or_default();
    let mut findings = Vec::new();
    if status.observed_generation != object.metadata.generation {
        findings.push(Finding::warning(
            "rules",
            place.clone(),
            "control has not taken up its last change",
            "see that control runs, and what it logs about it",
        ));
    }
    if !status.refusing.is_empty() {
        findings.push(Finding::error(
            "rules",
            place.clone(),
            format!(
                "proxies do not understand it, and close what it protects: {}",
                names(&status.refusing)
            ),
            "restart these pods, so that they get the sidecar of this version",
        ));
    }
    if !status.pending.is_empty() {
        findings.push(Finding::warning(
            "rules",
            place,
            format!(
                "{} of {} proxies enforce it; behind are {}",
                status.enforcing,
                status.proxies,
                names(&status.pending)
            ),
            "palisade ps shows whether they are ready, and why not",
        ));
    }
    findings
}

fn names(names: &[String]) -> String {
    names.join(", ")
}

fn plaintext(object: &DynamicObject, snapshot: &Snapshot) -> Option<Finding> {
    let policy = match parse(object) {
        Ok(policy) => policy,
        Err(why) => {
            let what =
                format!("it has mistakes, and control stays with what it said before: {why}");
            return Some(Finding::error(
                "rules",
                place(object),
                what,
                "put it right, and apply it again",
            ));
        }
    };
    let rules = policy.rules.iter().filter(|rule| {
        rule.effect == Effect::Allow
            && rule.mode == Mode::Enforce
            && rule.expires.is_none_or(|expires| expires > snapshot.now)
    });
    let sources = rules
        .flat_map(|rule| &rule.from)
        .filter_map(|from| match from {
            From::Unauthenticated(network) => Some(network.to_string()),
            From::ServiceAccount { .. }
            | From::Identity(_)
            | From::Namespace(_)
            | From::TrustDomain(_) => None,
        });
    let mut sources: Vec<String> = sources.collect();
    sources.sort();
    sources.dedup();
    (!sources.is_empty()).then(|| {
        Finding::warning(
            "plaintext",
            place(object),
            format!(
                "callers without an identity are let in, as plaintext, from {}",
                sources.join(", ")
            ),
            "bring these callers into the mesh, then remove the source",
        )
    })
}

/// The rule that an object is, by the validator of files.
pub(crate) fn parse(object: &DynamicObject) -> Result<AuthorizationPolicy, String> {
    let kind = object.types.as_ref().map(|types| types.kind.as_str());
    let mut metadata = Map::new();
    metadata.insert("name".into(), object.name_any().into());
    if let Some(namespace) = object.namespace() {
        metadata.insert("namespace".into(), namespace.into());
    }
    let document = json!({
        "apiVersion": palisade_api::sidecar::API_VERSION,
        "kind": kind.unwrap_or_default(),
        "metadata": metadata,
        "spec": object.data.get("spec"),
    });
    // JSON is YAML.
    let parsed = manifest::parse(&place(object), &document.to_string());
    let manifests = parsed.map_err(|mistakes| {
        let mistakes: Vec<String> = mistakes
            .iter()
            .map(|mistake| mistake.message.clone())
            .collect();
        mistakes.join("; ")
    })?;
    match manifests.into_iter().next() {
        Some(Manifest::Policy(policy)) => Ok(policy),
        _ => Err("it is no policy".into()),
    }
}

/// `AuthorizationPolicy shop/orders`.
pub(crate) fn place(object: &DynamicObject) -> String {
    let kind = object
        .types
        .as_ref()
        .map_or("", |types| types.kind.as_str());
    match object.namespace() {
        Some(namespace) => format!("{kind} {namespace}/{}", object.name_any()),
        None => format!("{kind} {}", object.name_any()),
    }
}
