//! Rules: nothing wrong gets in, and what is in can always go out.

use std::net::IpAddr;

use palisade_api::manifest::{Manifest, NARROW, check_object, lets_nodes_in, warnings};
use serde_json::Value;

use super::review::{Change, Verdict};

/// Whether a rule is to let callers in by their addresses.
pub(crate) fn lets_addresses_in(change: &Change) -> bool {
    let (Change::Create(object) | Change::Update { new: object, .. }) = change else {
        return false;
    };
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    list(object.pointer("/spec/rules")).iter().any(|rule| {
        let mut sources = list(rule.get("from")).into_iter();
        sources.any(|source| source.get("unauthenticated").is_some())
    })
}

/// Checks a rule object; `permissive` names the namespaces that take plaintext, `nodes` the addresses of nodes.
pub(crate) fn review(
    change: &Change,
    permissive: &[String],
    nodes: &[(String, IpAddr)],
) -> Verdict {
    let object = match change {
        Change::Create(object) => object,
        // Labels and finalizers of an object that an older version let in can be changed: it could not even be
        // deleted otherwise.
        Change::Update { old, new } if old.get("spec") == new.get("spec") => {
            return Verdict::allow();
        }
        Change::Update { new, .. } => new,
        Change::Other => return Verdict::allow(),
    };
    check(object, permissive, nodes)
}

fn check(object: &Value, permissive: &[String], nodes: &[(String, IpAddr)]) -> Verdict {
    match check_object(&object.to_string()) {
        Ok(Manifest::Policy(policy)) => {
            let permissive: Vec<_> = permissive.iter().map(String::as_str).collect();
            let mut warnings = warnings(&policy, &permissive);
            let lets_in = lets_nodes_in(&policy, nodes).into_iter();
            warnings.extend(lets_in.map(|what| format!("{what}; {NARROW}")));
            Verdict::Allow { warnings }
        }
        // No object is of another kind.
        Ok(
            Manifest::Workload(_)
            | Manifest::Service(_)
            | Manifest::Namespace { .. }
            | Manifest::Revocations(_)
            | Manifest::TrustBundle { .. },
        ) => Verdict::allow(),
        Err(found) => {
            let mut lines: Vec<_> = found
                .iter()
                .take(MAX_LINES)
                .map(ToString::to_string)
                .collect();
            if let Some(more) = found.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
                lines.push(format!("and {more} more"));
            }
            Verdict::Refuse {
                code: UNPROCESSABLE,
                message: lines.join("\n"),
            }
        }
    }
}

const UNPROCESSABLE: u16 = 422;
const MAX_LINES: usize = 50;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(spec: Value) -> Value {
        json!({
            "apiVersion": "palisade.dev/v1alpha1",
            "kind": "AuthorizationPolicy",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": spec,
        })
    }

    fn good() -> Value {
        policy(
            json!({"rules": [{"name": "web", "effect": "allow", "from": [{"namespace": "web"}]}]}),
        )
    }

    fn wrong() -> Value {
        policy(json!({"rules": [
            {"name": "web", "effect": "Allow", "from": [{"namespac": "web"}], "port": [80]},
        ]}))
    }

    const WRONG: &str = "\
spec.rules[0].effect: `effect` cannot be \"Allow\"; did you mean `allow`?
spec.rules[0].from[0].namespac: there is no source \"namespac\"; did you mean `namespace`?
spec.rules[0].port: `rules` has no field \"port\"; did you mean `ports`?";

    fn update(old: Value, new: Value) -> Change {
        Change::Update { old, new }
    }

    fn labelled(mut object: Value) -> Value {
        object["metadata"]["labels"] = json!({"a": "b"});
        object
    }

    #[test]
    fn what_is_wrong_is_refused_with_every_line() {
        let refused = Verdict::Refuse {
            code: 422,
            message: WRONG.to_owned(),
        };
        for (change, expected) in [
            (Change::Create(good()), Verdict::allow()),
            (Change::Create(wrong()), refused.clone()),
            (update(good(), wrong()), refused.clone()),
            (update(wrong(), good()), Verdict::allow()),
            (update(wrong(), labelled(wrong())), Verdict::allow()),
            (Change::Other, Verdict::allow()),
        ] {
            assert_eq!(review(&change, &[], &[]), expected, "{change:?}");
        }
    }

    #[test]
    fn a_refusal_stays_readable() {
        let rule = json!({"name": "web"});
        // Each lacks two fields, and all but the first have the name of another.
        let change = Change::Create(policy(json!({"rules": vec![rule; 1000]})));
        let Verdict::Refuse { message, .. } = review(&change, &[], &[]) else {
            panic!("not refused");
        };
        assert_eq!(message.lines().count(), MAX_LINES + 1);
        assert_eq!(message.lines().last(), Some("and 2949 more"));
    }

    #[test]
    fn a_denied_identity_in_a_permissive_namespace_is_warned_of() {
        let rule = json!({"name": "no", "effect": "deny", "from": [{"namespace": "batch"}]});
        let change = Change::Create(policy(json!({"rules": [rule]})));
        assert_eq!(review(&change, &["web".to_owned()], &[]), Verdict::allow());
        let Verdict::Allow { warnings } = review(&change, &["shop".to_owned()], &[]) else {
            panic!("not allowed");
        };
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("`no` denies identities in `shop`"));
    }

    #[test]
    fn a_range_with_a_node_in_it_is_warned_of() {
        let nodes = [("node1".to_owned(), "10.0.0.11".parse().unwrap())];
        let from = |source: Value| {
            let rule = json!({"name": "lb", "effect": "allow", "from": [source]});
            Change::Create(policy(json!({"rules": [rule]})))
        };
        let open = from(json!({"unauthenticated": {"cidr": "10.0.0.0/8"}}));
        let shut = from(json!({"namespace": "web"}));
        assert!(lets_addresses_in(&open) && !lets_addresses_in(&shut));
        assert_eq!(review(&shut, &[], &nodes), Verdict::allow());
        assert_eq!(review(&open, &[], &[]), Verdict::allow());
        let Verdict::Allow { warnings } = review(&open, &[], &nodes) else {
            panic!("not allowed");
        };
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}");
        };
        assert!(warning.contains("the node `node1`"), "{warning}");
        assert!(warning.len() <= 256, "longer warnings are cut: {warning}");
    }
}
