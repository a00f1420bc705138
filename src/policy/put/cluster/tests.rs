use std::time::Duration;

use palisade_api::manifest;
use palisade_control::audit::rules::Status;
use tokio::time::Instant;

use super::follow::Step;
use super::*;
use crate::kubernetes;
use crate::kubernetes::served::Server;

fn status(observed: i64, enforcing: u64, reason: &str) -> Status {
    let status = json!({
        "observedGeneration": observed,
        "proxies": 2,
        "enforcing": enforcing,
        "conditions": [{"type": "Ready", "reason": reason, "message": "spec.rules: why"}],
    });
    let mut object = DynamicObject::new("orders", &resource());
    object.data = json!({"status": status});
    Status::of(&object)
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        GROUP,
        VERSION,
        "AuthorizationPolicy",
    ))
}

#[test]
fn a_cluster_without_a_mesh_is_told_from_one_without_the_namespace() {
    let path = "/apis/palisade.dev/v1alpha1/namespaces/shop/authorizationpolicies/orders";
    let said = |server: Server| {
        let rules = "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: orders, \
                     namespace: shop}\nspec: {rules: [{name: a, effect: allow, from: [{namespace: shop}]}]}\n";
        let read = manifest::parse("orders.yaml", rules).unwrap();
        let change = Change {
            policies: read
                .iter()
                .filter_map(|one| one.policy().cloned())
                .collect(),
            ..Change::default()
        };
        let mesh = server.mesh(Some("shop"));
        let wait = Wait { patience: None };
        let put = kubernetes::complete(put(&mesh, &change, wait));
        put.err().unwrap().to_string()
    };
    let control = "/apis/apps/v1/namespaces/palisade-system/deployments/palisade-control";
    let undefined = || Server::start().knows_nothing_of(path);
    let none = said(undefined().has_none_named(control, "palisade-control"));
    assert!(none.contains("no mesh is installed"), "{none}");
    assert!(none.contains("palisade install --mesh-cidr"), "{none}");
    assert!(none.ends_with("; nothing was applied"), "{none}");
    let gone = "the definition authorizationpolicies.palisade.dev is missing: rules that are in force are listed";
    let deleted = said(undefined().has(control, json!({"metadata": {}})));
    assert!(deleted.contains(gone), "{deleted}");
    assert!(!deleted.contains("no mesh"), "{deleted}");
    // Who may not see whether one is there is not told that none is.
    let unknown = said(undefined());
    assert!(
        unknown.contains("whether a mesh is installed cannot be told"),
        "{unknown}"
    );
    let elsewhere = said(Server::start().has_none_named(path, "shop"));
    assert!(!elsewhere.contains("install"), "{elsewhere}");
}

#[test]
fn what_somebody_else_wrote_meanwhile_is_not_taken_for_it() {
    let rules = "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: orders, \
                 namespace: shop}\nspec: {rules: [{name: a, effect: allow, from: [{namespace: shop}]}]}\n";
    let read = manifest::parse("orders.yaml", rules).unwrap();
    let policy = read[0].policy().unwrap();
    let path = "/apis/palisade.dev/v1alpha1/namespaces/shop/authorizationpolicies/orders";
    let followed = |server: Server| {
        let applied = [Applied {
            policy,
            generation: 5,
            spec: json!({"rules": ["mine"]}),
        }];
        kubernetes::complete(async {
            let client = client::client(&server.args()).await?;
            let wait = (Instant::now(), Duration::from_secs(5));
            Ok(follow(&client, &applied, wait).await)
        })
        .unwrap()
    };
    let says = |spec: Value| {
        Server::start().has(
            path,
            json!({
                "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "AuthorizationPolicy",
                "metadata": {"name": "orders", "namespace": "shop", "generation": 6, "managedFields": [
                    {"manager": "palisade", "operation": "Apply", "time": "2026-11-22T10:00:00Z"},
                    {"manager": "control", "operation": "Update", "time": "2026-11-22T10:00:09Z", "subresource": "status"},
                    {"manager": "kubectl-patch", "operation": "Update", "time": "2026-11-22T10:00:05Z"},
                ]},
                "spec": spec,
                "status": {"observedGeneration": 6, "proxies": 2, "enforcing": 2},
            }),
        )
    };
    let theirs = followed(says(json!({"rules": ["theirs"]})));
    assert!(!theirs.is_done());
    let told = theirs.lines().join("\n");
    let expected = "changed meanwhile (generation 6, by kubectl-patch)";
    assert!(told.contains(expected), "{told}");
    assert!(!told.contains("enforced by"), "{told}");
    // Somebody took it away.
    let gone = followed(Server::start().has_none_named(path, "orders"));
    assert!(!gone.is_done());
    let told = gone.lines().join("\n");
    assert!(
        told.contains("it was deleted meanwhile: it is not in force"),
        "{told}"
    );
    // The same, written again.
    let same = followed(says(json!({"rules": ["mine"]})));
    assert!(same.is_done(), "{:?}", same.lines());
}

/// A status that nobody writes any more says nothing of now.
#[test]
fn without_control_nothing_is_said_to_be_in_force() {
    let rules = "apiVersion: palisade.dev/v1alpha1\nkind: AuthorizationPolicy\nmetadata: {name: orders, \
                 namespace: shop}\nspec: {rules: [{name: a, effect: allow, from: [{namespace: shop}]}]}\n";
    let read = manifest::parse("orders.yaml", rules).unwrap();
    let path = "/apis/palisade.dev/v1alpha1/namespaces/shop/authorizationpolicies/orders";
    let control = "/apis/apps/v1/namespaces/palisade-system/deployments/palisade-control";
    for (ready, is_done) in [(json!({}), false), (json!({"readyReplicas": 1}), true)] {
        let object = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "AuthorizationPolicy",
            "metadata": {"name": "orders", "namespace": "shop", "generation": 1},
            "spec": {"rules": []},
            "status": {"observedGeneration": 1, "proxies": 2, "enforcing": 2},
        });
        let deployment = json!({"metadata": {"name": "palisade-control"}, "status": ready});
        let server = Server::start().has(path, object).has(control, deployment);
        let change = Change {
            policies: vec![read[0].policy().unwrap().clone()],
            ..Change::default()
        };
        let wait = Wait {
            patience: Some(Duration::from_secs(5)),
        };
        let mesh = server.mesh(Some("shop"));
        let done = kubernetes::complete(put(&mesh, &change, wait)).unwrap();
        let progress = done.progress.unwrap();
        assert_eq!(progress.is_done(), is_done, "{:?}", progress.lines());
        let told = progress.lines().join("\n");
        assert_eq!(
            told.contains("control: no replica of it is ready"),
            !is_done,
            "{told}"
        );
    }
}

#[test]
fn what_control_does_not_take_is_not_in_force_however_many_enforce_what_was_before() {
    for (observed, enforcing, reason, expected) in [
        (1, 2, "Enforced", Step::Unseen),
        // What it says of an older one is not said of this one.
        (1, 2, "Invalid", Step::Unseen),
        (2, 2, "Invalid", Step::Invalid("spec.rules: why")),
        (2, 0, "Invalid", Step::Invalid("spec.rules: why")),
        (2, 1, "Pending", Step::Pending),
        (2, 2, "Enforced", Step::Enforced),
        (3, 2, "Enforced", Step::Enforced),
    ] {
        let status = status(observed, enforcing, reason);
        assert_eq!(
            Step::of(&status, 2),
            expected,
            "{observed} {enforcing} {reason}"
        );
    }
}
