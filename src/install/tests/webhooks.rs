//! Whom the API server asks, about what, and what happens without an answer.

use serde_json::{Value, json};

use palisade_api::cluster;

use super::{named, objects};

#[test]
fn all_fail_closed_and_soon() {
    let objects = objects(&[]);
    let expected = [
        ("pods.palisade.dev", cluster::PODS_PATH, "NoneOnDryRun"),
        (
            "namespaces.palisade.dev",
            cluster::NAMESPACES_PATH,
            "NoneOnDryRun",
        ),
        ("rules.palisade.dev", cluster::RULES_PATH, "None"),
        ("ephemeral.palisade.dev", cluster::EPHEMERAL_PATH, "None"),
    ];
    let webhooks = webhooks(&objects);
    assert_eq!(webhooks.len(), expected.len());
    for (webhook, (name, path, effects)) in webhooks.into_iter().zip(expected) {
        assert_eq!(webhook["name"], name);
        let service = json!({"name": cluster::INJECTOR, "namespace": cluster::SYSTEM_NAMESPACE,
            "path": path, "port": 443});
        assert_eq!(webhook["clientConfig"], json!({"service": service}));
        for (field, value) in [
            ("failurePolicy", json!("Fail")),
            ("matchPolicy", json!("Equivalent")),
            ("timeoutSeconds", json!(5)),
            ("sideEffects", json!(effects)),
            ("admissionReviewVersions", json!(["v1"])),
        ] {
            assert_eq!(webhook[field], value, "{name} {field}");
        }
    }
}

#[test]
fn pods_are_asked_about_in_meshed_namespaces_only() {
    let objects = objects(&[]);
    let selected = json!({
        "matchLabels": {cluster::MEMBER_LABEL: cluster::ENABLED},
        "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn",
            "values": ["kube-system", "kube-public", "kube-node-lease", cluster::SYSTEM_NAMESPACE]}],
    });
    for webhook in webhooks(&objects) {
        let of_pods = ["pods.palisade.dev", "ephemeral.palisade.dev"].map(|name| json!(name));
        let expected = of_pods.contains(&webhook["name"]).then_some(&selected);
        assert_eq!(webhook.get("namespaceSelector"), expected, "{webhook}");
    }
}

fn webhooks(objects: &[Value]) -> Vec<&Value> {
    let configurations = [
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ];
    let of = |kind| named(objects, kind, cluster::INJECTOR)["webhooks"].as_array();
    configurations
        .into_iter()
        .filter_map(of)
        .flatten()
        .collect()
}
