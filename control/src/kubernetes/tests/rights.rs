//! Control as it is in a cluster: with the rights that it needs, and no others.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::Client;
use kube::api::{Api, DeleteParams};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{SYSTEM, create};

/// What control may do in the cluster, beside reading what it watches for its index: with less the test fails.
fn rights() -> Value {
    let rule = |group: &str, resources: &[&str], names: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": resources, "resourceNames": names, "verbs": verbs});
    let seen = ["get", "list", "watch"];
    let hooks = [
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
    ];
    json!([
        rule("", &["namespaces"], &[], &["get", "list", "watch", "patch"]),
        rule("", &["pods"], &[], &["get", "list"]),
        rule("", &["services", "nodes", "events"], &[], &["list"]),
        rule("apps", &["deployments"], &[], &["get", "list"]),
        rule("networking.k8s.io", &["networkpolicies"], &[], &["list"]),
        rule(
            "apiextensions.k8s.io",
            &["customresourcedefinitions"],
            &[],
            &["list"]
        ),
        rule("apiregistration.k8s.io", &["apiservices"], &[], &["list"]),
        rule(
            "admissionregistration.k8s.io",
            &[&hooks[..], &["validatingadmissionpolicies"]].concat(),
            &[],
            &["list"]
        ),
        rule(
            "palisade.dev",
            &["authorizationpolicies", "clusterauthorizationpolicies"],
            &[],
            &["list"]
        ),
        rule("authentication.k8s.io", &["tokenreviews"], &[], &["create"]),
        rule("", &["configmaps"], &[], &["create"]),
        rule(
            "",
            &["configmaps"],
            &["palisade-trust"],
            &[&seen[..], &["update", "delete"]].concat()
        ),
        rule(
            "admissionregistration.k8s.io",
            &hooks,
            &["palisade-injector"],
            &["list", "watch", "patch"]
        ),
        rule(
            "palisade.dev",
            &[
                "authorizationpolicies/status",
                "clusterauthorizationpolicies/status"
            ],
            &[],
            &["patch"]
        ),
        rule("events.k8s.io", &["events"], &[], &["create", "patch"]),
    ])
}

/// The same in the system namespace alone.
fn own_rights() -> Value {
    let rule = |group: &str, resource: &str, names: &[&str], verbs: &[&str]| json!({"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": verbs});
    json!([
        rule("", "secrets", &[], &["create"]),
        rule("", "secrets", &["palisade-ca"], &["get"]),
        rule(
            "",
            "secrets",
            &["palisade-webhook-tls"],
            &["get", "list", "watch", "update"]
        ),
        rule("", "configmaps", &[], &["list", "watch", "patch"]),
        rule("coordination.k8s.io", "leases", &[], &["create"]),
        rule(
            "coordination.k8s.io",
            "leases",
            &["palisade-control"],
            &["get", "update"]
        ),
    ])
}

/// A client with control's own rights.
pub(super) async fn control(admin: &Client) -> Client {
    let subject =
        json!([{"kind": "ServiceAccount", "name": "palisade-control", "namespace": SYSTEM}]);
    let name = json!({"name": "palisade-control-test"});
    let group = "rbac.authorization.k8s.io";
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    create(&roles, json!({"metadata": name, "rules": rights()})).await;
    let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
    let to = json!({"apiGroup": group, "kind": "ClusterRole", "name": "palisade-control-test"});
    create(
        &bindings,
        json!({"metadata": name, "roleRef": to, "subjects": subject}),
    )
    .await;
    let roles: Api<Role> = Api::namespaced(admin.clone(), SYSTEM);
    create(&roles, json!({"metadata": name, "rules": own_rights()})).await;
    let bindings: Api<RoleBinding> = Api::namespaced(admin.clone(), SYSTEM);
    let to = json!({"apiGroup": group, "kind": "Role", "name": "palisade-control-test"});
    create(
        &bindings,
        json!({"metadata": name, "roleRef": to, "subjects": subject}),
    )
    .await;
    let mut config = kube::Config::infer().await.unwrap();
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{SYSTEM}:palisade-control"));
    let client = Client::try_from(config).unwrap();
    // Roles are in force a moment after they are made.
    let leases: Api<Lease> = Api::namespaced(client.clone(), SYSTEM);
    while leases.get_opt("palisade-control").await.is_err() {
        sleep(Duration::from_millis(20)).await;
    }
    client
}

/// Takes its rights back; those of the namespace go with it.
pub(super) async fn revoke(admin: &Client) {
    let params = DeleteParams::default();
    let roles: Api<ClusterRole> = Api::all(admin.clone());
    roles
        .delete("palisade-control-test", &params)
        .await
        .unwrap();
    let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
    bindings
        .delete("palisade-control-test", &params)
        .await
        .unwrap();
}
