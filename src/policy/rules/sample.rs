//! Rules for tests.

use palisade_api::cluster;
use serde_json::{Value, json};

use super::extent::{Extent, Namespaces};
use super::{Rules, of_files};
use crate::kubernetes::served::Server;

/// The rules of one file with this text.
pub(crate) fn rules(text: &str) -> Rules {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    of_files(&[file], None).unwrap()
}

/// The same, as if they were all that was read of a cluster: of this namespace.
pub(crate) fn rules_of(namespace: &str, text: &str) -> Rules {
    let mut rules = rules(text);
    rules.known.extent = Some(Extent {
        rules: Namespaces::only(namespace),
        pods: Namespaces::only(namespace),
        accounts: Namespaces::only(namespace),
        addresses: Namespaces::only(namespace),
        has_unnamed: false,
    });
    rules
}

/// As the API server lists objects.
pub(crate) fn list(items: &[Value]) -> Value {
    json!({"metadata": {}, "items": items})
}

/// A pod with a sidecar.
pub(crate) fn pod(namespace: &str, owner: &str, account: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": format!("{owner}-0"), "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "uid": "u", "controller": true},
        ]},
        "spec": {
            "serviceAccountName": account,
            "containers": [{"name": "app"}],
            "initContainers": [{
                "name": cluster::PROXY_CONTAINER,
                "restartPolicy": "Always",
                "command": cluster::PROXY_COMMAND,
                "args": cluster::PROXY_ARGS,
            }],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
    })
}

/// A policy that lets `jobs/runner` in.
pub(crate) fn rule(namespace: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": "orders"},
        "spec": {"rules": [{"name": "r", "effect": "allow", "from": [{"serviceAccount": "jobs/runner"}]}]},
    })
}

/// The policy `shop/orders` in its fourth generation, which has a mistake; what control says of it.
pub(crate) fn mistaken(said: &str, good: Option<i64>) -> Value {
    let mut status = json!({
        "observedGeneration": 4,
        "conditions": [{"type": "Ready", "reason": "Invalid", "message": said}],
    });
    if let Some(generation) = good {
        status["enforcedGeneration"] = generation.into();
    }
    json!({
        "metadata": {"namespace": "shop", "name": "orders", "generation": 4},
        "spec": {"rules": [{"name": "r", "effect": "allow", "from": [{"serviceAccount": "shop/*"}]}]},
        "status": status,
    })
}

/// An API server that shows a user the namespace `shop`, the names of all namespaces, and the cluster's own rules.
pub(crate) fn readable() -> Server {
    let named = |name: &str| json!({"metadata": {"name": name}});
    in_shop(Server::start())
        .has(
            "/api/v1/namespaces",
            list(&[named("shop"), named("jobs"), named("other")]),
        )
        .has("/api/v1/namespaces/jobs", named("jobs"))
        .has("/api/v1/namespaces/other", named("other"))
}

/// The same without the names.
pub(crate) fn in_shop(server: Server) -> Server {
    server
        .has(
            "/api/v1/namespaces/shop",
            json!({"metadata": {"name": "shop"}}),
        )
        .has(
            "/api/v1/namespaces/shop/pods",
            list(&[pod("shop", "orders", "orders")]),
        )
        .has("/api/v1/namespaces/shop/serviceaccounts", list(&[]))
        .has(&own_rules("shop"), list(&[rule("shop")]))
        .has(
            "/apis/palisade.dev/v1alpha1/clusterauthorizationpolicies",
            list(&[]),
        )
}

/// Where the rules of a namespace are.
pub(crate) fn own_rules(namespace: &str) -> String {
    format!("/apis/palisade.dev/v1alpha1/namespaces/{namespace}/authorizationpolicies")
}
