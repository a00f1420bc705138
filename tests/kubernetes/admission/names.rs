//! Names in rules: whoever writes one that nobody has is told, as far as they may know who there is.

use serde_json::{Value, json};

use super::{create, pod, tried};
use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_or_say};

#[test]
fn whoever_writes_a_rule_is_warned_of_names_that_nobody_has() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("named");
    let name = namespace.name();
    stdout(&namespace.kubectl(&["create", "serviceaccount", "web"]));
    // No node has to run it.
    let mut orders = pod("orders");
    orders["metadata"]["labels"] = json!({"app": "orders"});
    orders["spec"]["nodeSelector"] = json!({"nowhere": "yes"});
    namespace.apply(&orders.to_string());

    let good = json!([{"serviceAccount": format!("{name}/web")}, {"namespace": name}]);
    let written = create(&namespace, &rule("orders", &good));
    assert_eq!(text(&written.stderr), "", "{written:?}");
    let wrong = json!([
        {"serviceAccount": format!("{name}/wbe")},
        {"identity": format!("spiffe://cluster.local/ns/{name}/sa/wbe")},
        {"namespace": "palisade-sytem"},
        {"serviceAccount": "palisade-system/nobody"},
    ]);
    let own = [
        format!(
            "spec.target.labels[app]: no workload of `{name}` is labelled app=ordres; did you mean `orders`?"
        ),
        format!(
            "spec.rules[0].from[0].serviceAccount: no service account `wbe` in namespace `{name}`; did you mean `web`?"
        ),
        format!(
            "spec.rules[0].from[1].identity: no service account `wbe` in namespace `{name}`; did you mean `web`?"
        ),
    ];
    let others = [
        "spec.rules[0].from[2].namespace: there is no namespace `palisade-sytem`; did you mean `palisade-system`?",
        "spec.rules[0].from[3].serviceAccount: no service account `nobody` in namespace `palisade-system`",
    ];
    let over = "spec.rules[1].expires: the rule `over` expired at 2026-01-01T00:00:00Z";
    let written = create(&namespace, &rule("ordres", &wrong));
    assert!(written.status.success(), "{written:?}");
    let warned = text(&written.stderr);
    let own_and_others = own.iter().map(String::as_str).chain(others).chain([over]);
    for expected in own_and_others {
        assert!(warned.contains(expected), "{expected}: {warned}");
    }
    assert_eq!(warned.lines().count(), 6, "{warned}");
    known_to_a_tenant(&namespace, &rule("ordres", &wrong), (&own, over));
}

/// Who administers one namespace is told nothing of the others.
fn known_to_a_tenant(namespace: &Namespace, rule: &Value, (own, over): (&[String], &str)) {
    let bind = ["create", "rolebinding", "tess", "--clusterrole=admin"];
    stdout(&namespace.kubectl(&[&bind[..], &["--user=tess"]].concat()));
    let warned = wait_or_say("tess to write rules", BOUND, || {
        let written = tried(namespace, &rule.to_string(), &["--as=tess"]);
        let said = text(&written.stderr);
        // A role that is bound counts some moments later.
        match written.status.success() && said.contains(own[0].as_str()) {
            true => Ok(said),
            false => Err(said),
        }
    });
    for expected in own.iter().map(String::as_str).chain([over]) {
        assert!(warned.contains(expected), "{expected}: {warned}");
    }
    assert_eq!(warned.lines().count(), 4, "{warned}");
}

fn rule(app: &str, from: &Value) -> Value {
    let mut rules = vec![json!({"name": "callers", "effect": "allow", "from": from})];
    if app == "ordres" {
        rules.push(json!({
            "name": "over", "effect": "allow", "from": [{"unauthenticated": {"cidr": "192.0.2.1/32"}}],
            "expires": "2026-01-01T00:00:00Z", "reason": "INC-1",
        }));
    }
    json!({
        "apiVersion": "palisade.dev/v1alpha1", "kind": "AuthorizationPolicy", "metadata": {"name": "orders"},
        "spec": {"target": {"labels": {"app": app}}, "rules": rules},
    })
}
