use serde_json::{Value, json};

use super::*;

fn pod(metadata: Value, spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

fn owned(name: &str, hash: Option<&str>, kind: &str, owner: &str) -> Pod {
    let mut metadata = json!({
        "namespace": "shop", "name": name,
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": owner, "uid": "u", "controller": true}],
    });
    if let Some(hash) = hash {
        metadata["labels"] = json!({"pod-template-hash": hash});
    }
    pod(metadata, json!({"containers": []}))
}

#[test]
fn a_pod_is_named_by_what_made_it() {
    let web = owned("web-6d4f-x2x1p", Some("6d4f"), "ReplicaSet", "web-6d4f");
    let base = owned("db-0", None, "StatefulSet", "db");
    let night = owned("night-29384711-abcde", None, "Job", "night-29384711");
    for (pod, asked, expected) in [
        (&web, "web", true),
        (&web, "web-6d4f", true),
        (&web, "web-6d4f-x2x1p", true),
        (&web, "shop/web", true),
        (&web, "other/web", false),
        (&web, "we", false),
        (&base, "db", true),
        (&base, "db-0", true),
        (&base, "db-1", false),
        (&night, "night", true),
        (&night, "night-29384711", true),
    ] {
        assert_eq!(is_named(pod, &asked.parse().unwrap()), expected, "{asked}");
    }
    assert_eq!(owner(&web), ("Deployment".into(), "web".into()));
    assert_eq!(owner(&base), ("StatefulSet".into(), "db".into()));
}

#[test]
fn only_a_native_sidecar_is_one_and_it_says_the_trust_domain() {
    let with = |policy: Option<&str>| {
        let environment = json!([{"name": "PALISADE_TRUST_DOMAIN", "value": "cluster.local"}]);
        let mut proxy = json!({"name": "palisade-proxy", "command": ["/palisade-proxy"], "args": ["run"], "env": environment});
        if let Some(policy) = policy {
            proxy["restartPolicy"] = json!(policy);
        }
        let metadata = json!({"namespace": "shop", "name": "web"});
        pod(
            metadata,
            json!({"containers": [], "initContainers": [proxy]}),
        )
    };
    assert_eq!(
        identity(&with(Some("Always"))).as_deref(),
        Some("spiffe://cluster.local/ns/shop/sa/default")
    );
    assert_eq!(identity(&with(None)), None);
}
