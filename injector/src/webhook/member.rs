//! Namespaces: the label that webhooks select by is derived here, and nobody else's.

use palisade_api::cluster::{
    DISABLED, ENABLED, EXCLUDE_INBOUND_PORTS, INJECT, MEMBER_LABEL, is_exempt,
};
use serde_json::{Value, json};

use super::review::{Change, Verdict};
use crate::listed::Called;
use crate::patch;

/// The name of a namespace that comes into the mesh.
pub(crate) fn joining<'c>(change: &'c Change, system_namespace: &str) -> Option<&'c str> {
    let namespace = match change {
        Change::Create(namespace) => Some(namespace),
        Change::Update { old, new } => Some(new).filter(|_| !asks(old)),
        Change::Other => None,
    };
    let namespace = namespace.filter(|one| is_member(one, system_namespace));
    namespace.map(name)
}

/// Puts a namespace's label right; `system_namespace` is never a member. `called` are the Services of a namespace that
/// comes into the mesh which the API server calls.
pub(crate) fn review(change: &Change, system_namespace: &str, called: &[Called]) -> Verdict {
    let (has_pods, namespace) = match change {
        Change::Create(namespace) => (false, namespace),
        Change::Update { old, new } => (!asks(old), new),
        Change::Other => return Verdict::allow(),
    };
    let derived = derive(namespace, system_namespace);
    let operations = patch::between(namespace, &derived);
    let mut warnings = warnings(namespace, has_pods, system_namespace);
    warnings.extend(called.iter().take(MAX_CALLED).map(warning_of_calls));
    if operations.is_empty() {
        return Verdict::Allow { warnings };
    }
    Verdict::Patch {
        operations: json!(operations),
        warnings,
    }
}

/// Whether a namespace is in the mesh, as its annotation or label asks and its name allows.
fn is_member(namespace: &Value, system_namespace: &str) -> bool {
    asks(namespace) && !is_exempt(name(namespace), system_namespace)
}

/// The namespace with the label that it should have: whatever somebody wrote there, it is derived.
fn derive(namespace: &Value, system_namespace: &str) -> Value {
    let mut derived = namespace.clone();
    if is_member(namespace, system_namespace) {
        let metadata = object(&mut derived, "metadata");
        let labels = metadata.map(|metadata| object(metadata, "labels"));
        if let Some(labels) = labels.flatten().and_then(Value::as_object_mut) {
            labels.insert(MEMBER_LABEL.to_owned(), ENABLED.into());
        }
    } else if let Some(labels) = derived
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut)
    {
        labels.remove(MEMBER_LABEL);
    }
    derived
}

/// A field that is an object, made where it is not there.
fn object<'v>(parent: &'v mut Value, field: &str) -> Option<&'v mut Value> {
    let fields = parent.as_object_mut()?;
    let child = fields.entry(field).or_insert(Value::Null);
    if child.is_null() {
        *child = json!({});
    }
    Some(child)
}

fn asks(namespace: &Value) -> bool {
    ["annotations", "labels"]
        .iter()
        .any(|kind| mark(namespace, kind, INJECT) == Some(ENABLED))
}

fn name(namespace: &Value) -> &str {
    let name = namespace.pointer("/metadata/name");
    name.and_then(Value::as_str).unwrap_or_default()
}

fn mark<'v>(namespace: &'v Value, kind: &str, key: &str) -> Option<&'v str> {
    let marks = namespace.get("metadata")?.get(kind)?;
    marks.get(key)?.as_str()
}

/// What somebody should know; `has_pods` if some may run there that began outside the mesh.
fn warnings(namespace: &Value, has_pods: bool, system_namespace: &str) -> Vec<String> {
    let name = name(namespace);
    let mut warnings = Vec::new();
    if !asks(namespace) {
        let values = ["annotations", "labels"].map(|kind| mark(namespace, kind, INJECT));
        let unknown = values
            .into_iter()
            .flatten()
            .find(|value| *value != DISABLED);
        if let Some(value) = unknown {
            let value: String = value.chars().take(63).collect();
            warnings.push(format!(
                "{INJECT} cannot be {value:?}, and `{name}` is not in the mesh; write {ENABLED}"
            ));
        }
        return warnings;
    }
    if is_exempt(name, system_namespace) {
        warnings.push(format!(
            "`{name}` is never in the mesh: the mesh itself stands on it; remove {INJECT}"
        ));
        return warnings;
    }
    let level = mark(namespace, "labels", POD_SECURITY);
    if let Some(level) = level.filter(|level| matches!(*level, "baseline" | "restricted")) {
        warnings.push(format!(
            "pods of `{name}` will be refused: {POD_SECURITY}={level} forbids NET_ADMIN, which the redirect needs; set it to privileged, or leave the namespace out of the mesh"
        ));
    }
    if has_pods {
        warnings.push(format!(
            "pods that run in `{name}` already, if any, are in the mesh once they are restarted: kubectl rollout restart deployment,statefulset,daemonset -n {name}"
        ));
    }
    warnings
}

/// The API server has no identity, and what it may not call can stop the whole cluster.
fn warning_of_calls(Called { service, by }: &Called) -> String {
    format!(
        "the API server calls the Service `{service}` for {by}: meshed pods refuse that; annotate them with {EXCLUDE_INBOUND_PORTS}, or allow `unauthenticated` from its addresses"
    )
}

/// How many calls are told of; `palisade check` tells of all.
const MAX_CALLED: usize = 5;
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

#[cfg(test)]
mod tests {
    use super::*;

    const SYSTEM: &str = "palisade-system";

    fn namespace(name: &str, annotations: Value, labels: Value) -> Value {
        json!({"metadata": {"name": name, "annotations": annotations, "labels": labels}})
    }

    /// The namespace afterwards, and what was said of it.
    fn reviewed(change: &Change) -> (Value, Vec<String>) {
        let (Change::Create(before) | Change::Update { new: before, .. }) = change else {
            panic!("no namespace");
        };
        match review(change, SYSTEM, &[]) {
            Verdict::Patch {
                operations,
                warnings,
            } => {
                let patch: json_patch::Patch = serde_json::from_value(operations).unwrap();
                let mut after = before.clone();
                json_patch::patch(&mut after, &patch).unwrap();
                (after, warnings)
            }
            Verdict::Allow { warnings } => (before.clone(), warnings),
            Verdict::Skip { .. } | Verdict::Refuse { .. } | Verdict::Fail { .. } => {
                panic!("{before}")
            }
        }
    }

    fn label(namespace: &Value) -> Option<&str> {
        mark(namespace, "labels", MEMBER_LABEL)
    }

    #[test]
    fn the_label_is_what_the_marks_say_whatever_somebody_wrote() {
        let on = json!({INJECT: "enabled"});
        let by_hand = json!({MEMBER_LABEL: "enabled", "a": "b"});
        for (name, annotations, labels, expected) in [
            ("shop", on.clone(), json!({"a": "b"}), Some("enabled")),
            ("shop", on.clone(), Value::Null, Some("enabled")),
            ("shop", Value::Null, on.clone(), Some("enabled")),
            (
                "shop",
                on.clone(),
                json!({MEMBER_LABEL: "no"}),
                Some("enabled"),
            ),
            ("shop", on.clone(), by_hand.clone(), Some("enabled")),
            (
                "shop",
                json!({INJECT: "disabled"}),
                on.clone(),
                Some("enabled"),
            ),
            ("shop", Value::Null, by_hand.clone(), None),
            ("shop", json!({INJECT: "disabled"}), by_hand.clone(), None),
            ("shop", json!({INJECT: "true"}), by_hand.clone(), None),
            ("kube-system", on.clone(), by_hand.clone(), None),
            (SYSTEM, on.clone(), by_hand.clone(), None),
            ("shop", Value::Null, Value::Null, None),
        ] {
            let before = namespace(name, annotations, labels);
            for change in [
                Change::Create(before.clone()),
                Change::Update {
                    old: before.clone(),
                    new: before.clone(),
                },
            ] {
                let (after, _) = reviewed(&change);
                assert_eq!(label(&after), expected, "{before}");
                assert_eq!(mark(&after, "labels", "a"), mark(&before, "labels", "a"));
                assert_eq!(
                    after["metadata"]["annotations"],
                    before["metadata"]["annotations"]
                );
                // Once more changes nothing more.
                let again = Change::Create(after.clone());
                assert_eq!(reviewed(&again).0, after);
            }
        }
        assert_eq!(review(&Change::Other, SYSTEM, &[]), Verdict::allow());
    }

    #[test]
    fn whoever_asks_is_told_what_will_not_work() {
        let on = json!({INJECT: "enabled"});
        let off = namespace("shop", Value::Null, Value::Null);
        let secured = |level: &str| namespace("shop", on.clone(), json!({POD_SECURITY: level}));
        let joining = |new: Value| Change::Update {
            old: off.clone(),
            new,
        };
        for (change, expected) in [
            (
                Change::Create(secured("baseline")),
                vec!["=baseline forbids NET_ADMIN"],
            ),
            (
                Change::Create(secured("restricted")),
                vec!["=restricted forbids NET_ADMIN"],
            ),
            (Change::Create(secured("privileged")), vec![]),
            (
                Change::Create(namespace("shop", on.clone(), Value::Null)),
                vec![],
            ),
            (
                joining(namespace("shop", on.clone(), Value::Null)),
                vec!["once they are restarted"],
            ),
            (
                joining(secured("baseline")),
                vec!["forbids NET_ADMIN", "once they are restarted"],
            ),
            (
                Change::Update {
                    old: secured("privileged"),
                    new: secured("privileged"),
                },
                vec![],
            ),
            (
                joining(namespace("kube-system", on.clone(), Value::Null)),
                vec!["`kube-system` is never in the mesh"],
            ),
            (
                joining(namespace("shop", json!({INJECT: "yes\n"}), Value::Null)),
                vec!["palisade.dev/inject cannot be \"yes\\n\""],
            ),
            (
                joining(namespace("shop", json!({INJECT: "disabled"}), Value::Null)),
                vec![],
            ),
            (joining(off.clone()), vec![]),
        ] {
            let (_, warnings) = reviewed(&change);
            assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
            for (warning, part) in warnings.iter().zip(expected) {
                assert!(warning.contains(part), "{warning}");
                assert!(warning.len() <= 256, "longer warnings are cut: {warning}");
            }
        }
    }

    #[test]
    fn whoever_comes_into_the_mesh_is_told_whom_the_api_server_calls() {
        let (on, off) = (json!({INJECT: "enabled"}), Value::Null);
        let named =
            |name: &str, annotations: &Value| namespace(name, annotations.clone(), Value::Null);
        let update = |old: &Value, new: &Value| Change::Update {
            old: named("shop", old),
            new: named("shop", new),
        };
        for (change, expected) in [
            (update(&off, &on), Some("shop")),
            (Change::Create(named("shop", &on)), Some("shop")),
            (update(&on, &on), None),
            (update(&on, &off), None),
            (Change::Create(named("kube-system", &on)), None),
            (Change::Other, None),
        ] {
            assert_eq!(joining(&change, SYSTEM), expected, "{change:?}");
        }
        let called = [Called {
            service: "hook".to_owned(),
            by: "ValidatingWebhookConfiguration shop".to_owned(),
        }];
        let Verdict::Patch { warnings, .. } = review(&update(&off, &on), SYSTEM, &called) else {
            panic!("no label");
        };
        let [_, warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(
            warning.contains("calls the Service `hook` for Validating"),
            "{warning}"
        );
        assert!(warning.len() <= 256, "longer warnings are cut: {warning}");
    }
}
