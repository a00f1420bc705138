//! Nobody may do more than they need.

use serde_json::{Value, json};

use crate::harness::{BOUND, Cluster, Mesh, stdout, text, wait_for};

#[test]
fn control_may_do_what_it_does_and_no_more() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("limits");
    let name = namespace.name();
    for (allowed, verb, what, at) in RIGHTS {
        let said = may(verb, what, &["-n", at, AS_CONTROL]);
        assert_eq!(said, *allowed, "{verb} {what} in {at}");
    }
    let patched = |what: &str, patch: Value| {
        let patch = patch.to_string();
        let (kind, name) = what.split_once('/').unwrap();
        let merge = [
            "patch",
            kind,
            name,
            "--type=merge",
            "--dry-run=server",
            "-p",
            &patch,
            AS_CONTROL,
        ];
        mesh.cluster().kubectl(&merge)
    };
    let this = format!("namespace/{name}");
    let webhooks = "mutatingwebhookconfiguration/palisade-injector";
    stdout(&patched(
        &this,
        json!({"metadata": {"labels": {"mesh.palisade.dev/member": null}}}),
    ));
    for (what, patch) in [
        (&*this, json!({"metadata": {"labels": {"team": "mine"}}})),
        (
            &this,
            json!({"metadata": {"annotations": {"palisade.dev/inject": null}}}),
        ),
        (
            &this,
            json!({"metadata": {"finalizers": ["mine.dev/hold"]}}),
        ),
        (webhooks, json!({"webhooks": []})),
        (webhooks, json!({"metadata": {"labels": {"team": "mine"}}})),
    ] {
        let refused = text(&patched(what, patch.clone()).stderr);
        assert!(
            refused.contains("control may change nothing"),
            "{what} {patch}: {refused}"
        );
    }
    let make = |name: &str| {
        namespace.kubectl(&["create", "configmap", name, "--dry-run=server", AS_CONTROL])
    };
    let refused = text(&make("settings").stderr);
    assert!(
        refused.contains("no ConfigMap but palisade-trust"),
        "{refused}"
    );
}

#[test]
fn whoever_may_only_edit_writes_no_rules() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("edit");
    for role in ["view", "edit", "admin"] {
        let (role_flag, user) = (format!("--clusterrole={role}"), format!("--user={role}"));
        stdout(&namespace.kubectl(&["create", "rolebinding", role, &role_flag, &user]));
    }
    for (role, verb, what, allowed) in [
        ("view", "get", "authorizationpolicies", true),
        ("view", "create", "authorizationpolicies", false),
        ("edit", "get", "authorizationpolicies", true),
        ("edit", "create", "authorizationpolicies", false),
        ("edit", "update", "authorizationpolicies", false),
        ("edit", "delete", "authorizationpolicies", false),
        ("edit", "create", "pods", true),
        ("admin", "create", "authorizationpolicies", true),
        ("admin", "update", "authorizationpolicies+status", false),
        ("admin", "create", "clusterauthorizationpolicies", false),
    ] {
        let user = format!("--as={role}");
        // Roles that are bound, and roles that are aggregated, count some moments later.
        wait_for(&format!("{role} {verb} {what}: {allowed}"), BOUND, || {
            (may(verb, what, &["-n", namespace.name(), &user]) == allowed).then_some(())
        });
    }
}

/// By the API server's own answer. `pods+exec` is a subresource, `secrets/one` an object.
fn may(verb: &str, what: &str, who_and_where: &[&str]) -> bool {
    let (what, sub) = what.split_once('+').unwrap_or((what, ""));
    let sub = format!("--subresource={sub}");
    let can = ["auth", "can-i", verb, what, &sub];
    let asked = Cluster::shared().kubectl(&[&can, who_and_where].concat());
    match text(&asked.stdout).trim() {
        "yes" => true,
        "no" => false,
        _ => panic!("{asked:?}"),
    }
}

const AS_CONTROL: &str = "--as=system:serviceaccount:palisade-system:palisade-control";

/// Whether control may, the verb, what, and where.
const RIGHTS: &[(bool, &str, &str, &str)] = &[
    (true, "get", "secrets/palisade-ca", "palisade-system"),
    (
        true,
        "update",
        "secrets/palisade-webhook-tls",
        "palisade-system",
    ),
    (false, "get", "secrets/another", "palisade-system"),
    (false, "list", "secrets", "palisade-system"),
    (false, "get", "secrets/palisade-ca", "default"),
    (false, "list", "secrets", "default"),
    (false, "delete", "secrets/palisade-ca", "palisade-system"),
    (true, "list", "pods", "default"),
    (false, "create", "pods", "palisade-system"),
    (false, "delete", "pods", "default"),
    (false, "create", "pods+exec", "default"),
    (true, "patch", "namespaces", "default"),
    (false, "update", "namespaces", "default"),
    (false, "delete", "namespaces", "default"),
    (true, "list", "deployments.apps", "default"),
    (false, "patch", "deployments.apps", "palisade-system"),
    (true, "list", "networkpolicies.networking.k8s.io", "default"),
    (
        false,
        "create",
        "networkpolicies.networking.k8s.io",
        "default",
    ),
    (false, "delete", "events", "default"),
    (false, "get", "pods+log", "default"),
    (false, "create", "authorizationpolicies", "default"),
    (true, "delete", "authorizationpolicies", "default"),
    (false, "delete", "clusterauthorizationpolicies", "default"),
    (false, "update", "authorizationpolicies", "default"),
    (true, "patch", "authorizationpolicies+status", "default"),
    (
        true,
        "patch",
        "mutatingwebhookconfigurations/palisade-injector",
        "default",
    ),
    (
        false,
        "patch",
        "mutatingwebhookconfigurations/another",
        "default",
    ),
    (false, "create", "mutatingwebhookconfigurations", "default"),
    (false, "update", "customresourcedefinitions", "default"),
    (false, "create", "clusterrolebindings", "default"),
    (false, "create", "serviceaccounts+token", "default"),
    (
        true,
        "create",
        "subjectaccessreviews.authorization.k8s.io",
        "default",
    ),
    (false, "get", "usages.palisade.dev", "default"),
    (false, "get", "configmaps/settings", "default"),
    (false, "impersonate", "users", "default"),
];
