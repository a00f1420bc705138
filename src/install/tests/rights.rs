//! What each program and each person may do.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{named, objects, text};

/// One line a right: where, API group, resource, object's name if bound to one, verbs.
#[test]
fn rights_are_these_and_no_others() {
    let read = "get list watch";
    let expected: Vec<String> = [
        format!("ClusterRole palisade-control: /pods {read}"),
        format!("ClusterRole palisade-control: /services {read}"),
        format!("ClusterRole palisade-control: /namespaces {read}"),
        format!("ClusterRole palisade-control: /nodes {read}"),
        format!("ClusterRole palisade-control: /serviceaccounts {read}"),
        format!("ClusterRole palisade-control: discovery.k8s.io/endpointslices {read}"),
        format!("ClusterRole palisade-control: palisade.dev/authorizationpolicies {read}"),
        format!("ClusterRole palisade-control: palisade.dev/clusterauthorizationpolicies {read}"),
        "ClusterRole palisade-control: palisade.dev/authorizationpolicies delete".into(),
        "ClusterRole palisade-control: palisade.dev/authorizationpolicies/status get patch update".into(),
        "ClusterRole palisade-control: palisade.dev/clusterauthorizationpolicies/status get patch update".into(),
        format!("ClusterRole palisade-control: apiextensions.k8s.io/customresourcedefinitions {read}"),
        "ClusterRole palisade-control: authentication.k8s.io/tokenreviews create".into(),
        "ClusterRole palisade-control: authorization.k8s.io/subjectaccessreviews create".into(),
        "ClusterRole palisade-control: /namespaces patch".into(),
        "ClusterRole palisade-control: /configmaps create".into(),
        format!("ClusterRole palisade-control: /configmaps[palisade-trust] {read} update patch delete"),
        format!("ClusterRole palisade-control: admissionregistration.k8s.io/mutatingwebhookconfigurations[palisade-injector] {read} patch"),
        format!("ClusterRole palisade-control: admissionregistration.k8s.io/validatingwebhookconfigurations[palisade-injector] {read} patch"),
        "ClusterRole palisade-control: /events create patch".into(),
        "ClusterRole palisade-control: events.k8s.io/events create patch".into(),
        "ClusterRole palisade-control: /events list".into(),
        "ClusterRole palisade-control: apps/deployments get list".into(),
        "ClusterRole palisade-control: networking.k8s.io/networkpolicies list".into(),
        "ClusterRole palisade-control: admissionregistration.k8s.io/mutatingwebhookconfigurations list".into(),
        "ClusterRole palisade-control: admissionregistration.k8s.io/validatingwebhookconfigurations list".into(),
        "ClusterRole palisade-control: admissionregistration.k8s.io/validatingadmissionpolicies list".into(),
        "ClusterRole palisade-control: apiregistration.k8s.io/apiservices list".into(),
        "Role palisade-control: /secrets create".into(),
        format!("Role palisade-control: /secrets[palisade-ca palisade-webhook-tls] {read} update patch"),
        format!("Role palisade-control: /configmaps {read} create update patch delete"),
        "Role palisade-control: coordination.k8s.io/leases create".into(),
        format!("Role palisade-control: coordination.k8s.io/leases[palisade-control] {read} update patch"),
        format!("ClusterRole palisade-injector: /namespaces {read}"),
        format!("ClusterRole palisade-injector: /limitranges {read}"),
        format!("ClusterRole palisade-injector: /resourcequotas {read}"),
        "ClusterRole palisade-injector: admissionregistration.k8s.io/mutatingwebhookconfigurations list".into(),
        "ClusterRole palisade-injector: admissionregistration.k8s.io/validatingwebhookconfigurations list".into(),
        "ClusterRole palisade-injector: apiregistration.k8s.io/apiservices list".into(),
        "ClusterRole palisade-injector: apiextensions.k8s.io/customresourcedefinitions list".into(),
        "ClusterRole palisade-injector: /nodes list".into(),
        "ClusterRole palisade-injector: /serviceaccounts list".into(),
        "ClusterRole palisade-injector: /pods list".into(),
        "ClusterRole palisade-injector: authorization.k8s.io/subjectaccessreviews create".into(),
        "ClusterRole palisade-injector: /events create".into(),
        "ClusterRole palisade-injector: events.k8s.io/events create".into(),
        format!("Role palisade-injector: /secrets[palisade-webhook-tls] {read}"),
        format!("Role palisade-injector: /services[palisade-control] {read}"),
    ]
    .into();
    let expected = expected.into_iter().chain(of_people(read)).collect();
    assert_eq!(rights(&objects(&[])), expected);
}

fn of_people(read: &str) -> Vec<String> {
    vec![
        "ClusterRole palisade-policies-admin: palisade.dev/authorizationpolicies create update patch delete deletecollection".into(),
        format!("ClusterRole palisade-policies-view: palisade.dev/authorizationpolicies {read}"),
        "ClusterRole palisade-reader: palisade.dev/usages get".into(),
        "Role palisade-ask: /serviceaccounts/token[palisade-reader] create".into(),
        "Role palisade-ask: /pods get list".into(),
        "Role palisade-ask: /pods/portforward get create".into(),
        format!("ClusterRole palisade-cluster-policies-view: palisade.dev/clusterauthorizationpolicies {read}"),
        "ClusterRole palisade-viewer: palisade.dev/usages get".into(),
        "ClusterRole palisade-ask-view: /serviceaccounts/token[palisade-viewer] create".into(),
        "Role palisade-reach: /pods get list".into(),
        "Role palisade-reach: /pods/portforward get create".into(),
    ]
}

fn rights(objects: &[Value]) -> BTreeSet<String> {
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    let mut rights = BTreeSet::new();
    for role in objects
        .iter()
        .filter(|object| text(object, "/kind").ends_with("Role"))
    {
        let whose = format!("{} {}", text(role, "/kind"), text(role, "/metadata/name"));
        for rule in role["rules"].as_array().unwrap() {
            let names = strings(&rule["resourceNames"]).join(" ");
            let names = if names.is_empty() {
                names
            } else {
                format!("[{names}]")
            };
            let verbs = strings(&rule["verbs"]).join(" ");
            for group in strings(&rule["apiGroups"]) {
                for resource in strings(&rule["resources"]) {
                    rights.insert(format!("{whose}: {group}/{resource}{names} {verbs}"));
                }
            }
        }
    }
    rights
}

#[test]
fn rules_are_written_by_administrators_and_read_by_viewers() {
    let objects = objects(&[]);
    for (name, label) in [
        ("palisade-policies-admin", "admin"),
        ("palisade-policies-view", "view"),
        ("palisade-viewer", "view"),
        ("palisade-ask-view", "view"),
    ] {
        let labels = named(&objects, "ClusterRole", name)["metadata"]["labels"]
            .as_object()
            .unwrap();
        let aggregated: Vec<&String> = labels
            .keys()
            .filter(|key| key.starts_with("rbac."))
            .collect();
        assert_eq!(
            aggregated,
            [&format!("rbac.authorization.k8s.io/aggregate-to-{label}")]
        );
    }
}

/// Nobody may know of all, or reach control, by what the installation binds or aggregates.
#[test]
fn nobody_may_ask_at_first_but_the_reader() {
    let objects = objects(&[]);
    let bindings = objects
        .iter()
        .filter(|object| text(object, "/kind").ends_with("RoleBinding"));
    for binding in bindings {
        let role = text(binding, "/roleRef/name");
        let subjects = binding["subjects"].as_array().unwrap();
        assert!(
            subjects
                .iter()
                .all(|subject| subject["kind"] == "ServiceAccount" && subject["name"] == role),
            "{binding}"
        );
    }
    for name in ["palisade-reader", "palisade-cluster-policies-view"] {
        let labels = named(&objects, "ClusterRole", name)["metadata"]["labels"].to_string();
        assert!(!labels.contains("aggregate"), "{labels}");
    }
}
