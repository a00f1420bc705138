//! The custom resources: their schemas.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use palisade_api::cluster;

use super::{named, objects};

#[test]
fn rules_are_kept_whole_for_the_validator() {
    let objects = objects(&[]);
    for (plural, namespaces) in [
        (cluster::POLICIES, false),
        (cluster::CLUSTER_POLICIES, true),
    ] {
        let crd = named(
            &objects,
            "CustomResourceDefinition",
            &format!("{plural}.{}", cluster::GROUP),
        );
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
        let version = &crd["spec"]["versions"][0];
        assert_eq!(version["name"], cluster::VERSION);
        assert_eq!(version["subresources"]["status"], json!({}));
        let schema = &version["schema"]["openAPIV3Schema"]["properties"];
        let mut kept = Vec::new();
        check_kept(&schema["spec"], "spec", &mut kept);
        let expected = [
            "spec",
            "spec.rules[]",
            "spec.rules[].from[]",
            "spec.rules[].from[].unauthenticated",
            "spec.target",
        ];
        assert_eq!(kept, expected);
        let target = &schema["spec"]["properties"]["target"]["properties"];
        assert_eq!(target.get("namespaces").is_some(), namespaces);
        let status: BTreeSet<&String> = schema["status"]["properties"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        let fields = [
            "conditions",
            "enforcedGeneration",
            "enforcing",
            "notRunning",
            "observedGeneration",
            "pending",
            "proxies",
            "refusing",
        ];
        assert!(status.into_iter().eq(fields), "{plural}");
    }
}

/// Every object with fields of its own keeps those that it does not know, and every field says what it is.
fn check_kept(schema: &Value, path: &str, kept: &mut Vec<String>) {
    if let Some(items) = schema.get("items") {
        check_kept(items, &format!("{path}[]"), kept);
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    assert_eq!(
        schema["x-kubernetes-preserve-unknown-fields"], true,
        "{path}"
    );
    kept.push(path.to_owned());
    for (name, field) in properties {
        assert!(
            field.get("description").is_some(),
            "{path}.{name} has no description"
        );
        check_kept(field, &format!("{path}.{name}"), kept);
    }
    kept.sort();
}

#[test]
fn both_kinds_of_rules_differ_only_in_whom_they_protect() {
    let objects = objects(&[]);
    let schema = |plural: &str| {
        let crd = named(
            &objects,
            "CustomResourceDefinition",
            &format!("{plural}.{}", cluster::GROUP),
        );
        let mut version = crd["spec"]["versions"][0].clone();
        for at in [
            "/description",
            "/properties/kind",
            "/properties/spec/properties/target/description",
        ] {
            *version
                .pointer_mut(&format!("/schema/openAPIV3Schema{at}"))
                .unwrap() = Value::Null;
        }
        let target = "/schema/openAPIV3Schema/properties/spec/properties/target/properties";
        version
            .pointer_mut(target)
            .unwrap()
            .as_object_mut()
            .unwrap()
            .remove("namespaces");
        version
    };
    assert_eq!(schema(cluster::POLICIES), schema(cluster::CLUSTER_POLICIES));
}
