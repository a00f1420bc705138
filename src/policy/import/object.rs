//! What is made, as the objects that the validator reads.

use palisade_api::manifest;
use palisade_api::policy::{AuthorizationPolicy, Effect, From, Mode, PortRange, Rule, Target};
use palisade_api::workload::{Closing, Mtls};
use serde_json::{Map, Value, json};

use super::NamespaceSetting;

/// A policy as the API server would hold it.
pub(super) fn of_policy(policy: &AuthorizationPolicy) -> Value {
    let kind = match policy.namespace {
        Some(_) => "AuthorizationPolicy",
        None => "ClusterAuthorizationPolicy",
    };
    let mut metadata = Map::new();
    metadata.insert("name".into(), policy.name.as_str().into());
    if let Some(namespace) = &policy.namespace {
        metadata.insert("namespace".into(), namespace.as_str().into());
    }
    let mut target = Map::new();
    if !policy.target.labels.is_empty() {
        target.insert("labels".into(), json!(policy.target.labels));
    }
    let mut spec = Map::new();
    if !target.is_empty() {
        spec.insert("target".into(), target.into());
    }
    spec.insert("rules".into(), policy.rules.iter().map(rule).collect());
    json!({
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": spec,
    })
}

/// A namespace with the annotations that it is to have.
pub(super) fn of_namespace(setting: &NamespaceSetting) -> Value {
    let annotations: Map<_, _> = annotations(setting)
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    json!({
        "apiVersion": VERSION,
        "kind": "Namespace",
        "metadata": {"name": setting.name, "annotations": annotations},
    })
}

/// The annotations of a namespace, and what they say.
pub(super) fn annotations(setting: &NamespaceSetting) -> Vec<(&'static str, &'static str)> {
    let mtls = setting.mtls.map(|mtls| match mtls {
        Mtls::Strict => "strict",
        Mtls::Permissive => "permissive",
    });
    let closing = setting.closing.map(|closing| match closing {
        Closing::Enforce => "enforce",
        Closing::Shadow => "shadow",
    });
    let said = [
        ("palisade.dev/mtls", mtls),
        ("palisade.dev/authorization", closing),
    ];
    said.into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect()
}

/// What the validator has against a policy, in one line; nothing where it takes it.
pub(super) fn objection(policy: &AuthorizationPolicy) -> Option<(String, String)> {
    let found = manifest::check_object(&of_policy(policy).to_string()).err()?;
    let first = found.into_iter().next()?;
    Some((format!("{}: {}", first.path, first.message), first.remedy))
}

/// What the validator has against whom a rule is about; nothing where it takes them.
pub(super) fn objection_to_sources(from: &[From]) -> Option<(String, String)> {
    objection(&AuthorizationPolicy {
        namespace: Some("default".to_owned()),
        name: "default".to_owned(),
        target: Target::default(),
        rules: vec![Rule {
            name: "default".to_owned(),
            effect: Effect::Allow,
            from: from.to_vec(),
            ports: Vec::new(),
            mode: Mode::Enforce,
            expires: None,
            reason: String::new(),
        }],
    })
}

fn rule(rule: &Rule) -> Value {
    let mut fields = Map::new();
    fields.insert("name".into(), rule.name.as_str().into());
    fields.insert("effect".into(), rule.effect.as_str().into());
    fields.insert("from".into(), rule.from.iter().map(source).collect());
    if !rule.ports.is_empty() {
        fields.insert("ports".into(), rule.ports.iter().map(port).collect());
    }
    if rule.mode == Mode::Shadow {
        fields.insert("mode".into(), rule.mode.as_str().into());
    }
    fields.into()
}

fn source(from: &From) -> Value {
    match from {
        From::ServiceAccount { namespace, name } => {
            json!({"serviceAccount": format!("{namespace}/{name}")})
        }
        From::Identity(id) => json!({"identity": id.as_str()}),
        From::Namespace(namespace) => json!({"namespace": namespace}),
        From::TrustDomain(domain) => json!({"trustDomain": domain.as_str()}),
        From::Unauthenticated(network) => json!({"unauthenticated": {"cidr": network.to_string()}}),
    }
}

fn port(range: &PortRange) -> Value {
    if range.first == range.last {
        return range.first.into();
    }
    range.to_string().into()
}

const VERSION: &str = "palisade.dev/v1alpha1";
