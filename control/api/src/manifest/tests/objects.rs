//! The same mistakes in objects: the same messages and remedies, and the path of the field.

use serde_json::{Value as Json, json};

use super::node::{Node, Value};
use super::*;

#[test]
fn an_object_is_refused_with_the_words_for_a_file() {
    let tables = [
        (POLICY, rules::IN_A_RULE),
        (POLICY, sources::IN_A_SOURCE),
        (POLICY, documents::AROUND),
        (CLUSTER, kinds::OF_CLUSTER),
    ];
    let mut compared = 0;
    for (text, mistakes) in tables {
        for (good, bad, _) in mistakes {
            let text = text.replace(good, bad);
            let Some(object) = object(&text) else {
                continue; // not one document of YAML, which no object can be
            };
            if good.contains("kind: ") || bad.contains("owner: ") {
                continue; // what kinds and fields there are depends on who holds the document
            }
            // JSON is YAML: a file with the object's own order of fields.
            let mut of_file: Vec<_> = parse("f", &object.to_string())
                .unwrap_err()
                .into_iter()
                .map(|found| (found.message.replace(IN_FILE, IN_OBJECT), found.remedy))
                .collect();
            let mut of_object: Vec<_> = check_object(&object.to_string())
                .expect_err(bad)
                .into_iter()
                .map(|found| (found.message, found.remedy))
                .collect();
            of_file.sort();
            of_object.sort();
            assert_eq!(of_object, of_file, "{bad:?}");
            compared += 1;
        }
    }
    assert!(compared > 70, "{compared}");
}

#[test]
fn a_mistake_is_placed_by_the_path_of_its_field() {
    for (good, bad, expected) in PATHS {
        assert_eq!(POLICY.matches(good).count(), 1, "{good:?}");
        let object = object(&POLICY.replace(good, bad)).unwrap();
        let found = check_object(&object.to_string()).expect_err(bad);
        let paths: Vec<_> = found.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, *expected, "{bad:?}");
    }
}

/// What is good, what is written instead, and the fields that are then refused.
type Misplaced = (&'static str, &'static str, &'static [&'static str]);

const PATHS: &[Misplaced] = &[
    (
        "ports: [8080]",
        "ports: [8080, 0]",
        &["spec.rules[0].ports[1]"],
    ),
    ("effect: allow", "effect: Allow", &["spec.rules[0].effect"]),
    ("    effect: allow\n", "", &["spec.rules[0]"]),
    (
        "- serviceAccount: shop/web",
        "- serviceAccount: shop/web\n    - serviceAcount: shop/api",
        &["spec.rules[0].from[1].serviceAcount"],
    ),
    (
        "- serviceAccount: shop/web",
        "- unauthenticated: {cidr: 10.0.0.1/8}",
        &["spec.rules[0].from[0].unauthenticated.cidr"],
    ),
    (
        "{app: orders}",
        "{app.kubernetes.io/name: a b}",
        &["spec.target.labels[app.kubernetes.io/name]"],
    ),
    ("app: orders}", "app: a b}", &["spec.target.labels[app]"]),
    (
        "{app: orders}",
        "{a/b/c: orders}",
        &["spec.target.labels[\"a/b/c\"]"],
    ),
    ("name: orders, ", "", &["metadata"]),
    ("name: orders,", "name: Orders,", &["metadata.name"]),
    (
        "reason: orders",
        "\"\\e[2J\": x",
        &["spec.rules[0][\"\\u{1b}[2J\"]"],
    ),
    ("apiVersion: palisade.dev/v1alpha1\n", "", &[""]),
    (
        "reason: orders",
        "prots: [80, 0]\n    mode: shadows",
        &["spec.rules[0].mode", "spec.rules[0].prots"],
    ),
];

#[test]
fn a_refusal_says_path_message_and_remedy() {
    let wrong = object(&POLICY.replace("[8080]", "[0]")).unwrap();
    let found = check_object(&wrong.to_string()).unwrap_err();
    let expected = "spec.rules[0].ports[0]: 0 is no port; write a number from 1 to 65535";
    assert_eq!(found[0].to_string(), expected);
    let twice = POLICY.to_owned() + "  - {name: web, effect: deny, from: [{namespace: batch}]}\n";
    let found = check_object(&object(&twice).unwrap().to_string()).unwrap_err();
    let expected = "spec.rules[1].name: the rule `web` has the name of the one at spec.rules[0].name; give each rule of a policy its own name";
    assert_eq!(found[0].to_string(), expected);
}

#[test]
fn what_the_api_server_adds_is_passed_over() {
    for text in [POLICY, CLUSTER] {
        let mut written = object(text).unwrap();
        let same = parse("f", text).unwrap().remove(0);
        assert_eq!(check_object(&written.to_string()).unwrap(), same);
        let note = json!({"note": "\u{7f}\u{85} \u{1F600}"});
        for (key, value) in [
            ("uid", json!("0f2b")),
            ("resourceVersion", json!("17")),
            ("generation", json!(3)),
            ("creationTimestamp", json!("2026-01-01T00:00:00Z")),
            ("deletionTimestamp", json!(null)),
            ("managedFields", json!([{"fieldsV1": {"f:spec": {}}}])),
            (
                "annotations",
                json!({
                    "kubectl.kubernetes.io/last-applied-configuration": "{\"kind\":\"x\"}\n",
                    "palisade.dev/x": "y",
                }),
            ),
            ("labels", json!({"a": ""})),
            ("finalizers", json!(["a/b"])),
            ("ownerReferences", json!([{}])),
            ("selfLink", json!("/")),
        ] {
            written["metadata"][key] = value;
        }
        written["status"] = json!({"proxies": 2, "anything": [1.5]});
        let file = parse("f", &written.to_string());
        assert_eq!(file, Ok(vec![same.clone()]), "as kubectl prints it");
        written["metadata"]["annotations"] = note;
        written["metadata"]["generateName"] = json!("orders-");
        assert_eq!(check_object(&written.to_string()).unwrap(), same);
    }
}

#[test]
fn an_object_has_a_kind_of_rules_or_none() {
    let remedy = "write `AuthorizationPolicy` or `ClusterAuthorizationPolicy`";
    for kind in ["Workload", "Namespace", "TrustBundle", "Pod"] {
        let text = POLICY.replace("kind: AuthorizationPolicy", &format!("kind: {kind}"));
        let found = check_object(&object(&text).unwrap().to_string()).unwrap_err();
        assert_eq!(
            shown(&found),
            format!("kind: there is no kind \"{kind}\"; {remedy}")
        );
    }
    let text = POLICY.replace("kind: AuthorizationPolicy\n", "");
    let found = check_object(&object(&text).unwrap().to_string()).unwrap_err();
    assert_eq!(shown(&found), format!("`kind` is missing; {remedy}"));
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in [
        "",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        "{\"metadata\": 7}",
        "a: b",
    ] {
        assert!(!check_object(text).unwrap_err().is_empty(), "{text:?}");
    }
    assert!(check_object(&"[".repeat(100_000)).is_err());
    assert!(check_object(&"{\"a\":".repeat(100_000)).is_err());
}

fn shown(found: &[ObjectDiagnostic]) -> String {
    let lines: Vec<_> = found.iter().map(ObjectDiagnostic::to_string).collect();
    lines.join("\n")
}

/// The one place that is part of a message.
const IN_FILE: &str = "in line 1";
const IN_OBJECT: &str = "at spec.rules[0].name";

/// A document as the API server would hold it; `None` where the text is no document.
pub(super) fn object(text: &str) -> Option<Json> {
    let (documents, mistakes) = node::documents("f", text);
    let document = documents.first().filter(|_| mistakes.is_empty());
    document.map(json_of)
}

fn json_of(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Int(value) => json!(value),
        Value::OtherNumber => json!(-1.5),
        Value::Text(text) => json!(text),
        Value::List(nodes) => nodes.iter().map(json_of).collect(),
        Value::Map(entries) => {
            let fields = entries.iter();
            fields
                .map(|entry| (entry.key.clone(), json_of(&entry.value)))
                .collect()
        }
    }
}
