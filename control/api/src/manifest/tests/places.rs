//! Where what was read stands.

use super::*;

/// What stands at a place of a text.
fn text_at(text: &str, at: Position) -> String {
    let line = usize::try_from(at.line).unwrap();
    let column = usize::try_from(at.column).unwrap();
    let width = usize::try_from(at.width).unwrap();
    let line = text.lines().nth(line - 1).unwrap();
    line.chars().skip(column - 1).take(width).collect()
}

const ALL: &str = "\
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {name: \"baseline\"}
spec:
  target:
    namespaces: [shop, batch]
    serviceAccount: 'orders'
    labels: {app: orders, \"tier\": back}
  rules:
  - from:
    - serviceAccount: shop/web
    - {\"identity\" : spiffe://cluster.local/ns/batch/sa/a}
    - unauthenticated: {cidr: 10.0.0.0/8}
    - \"namespace\": &n shop
    - namespace: *n
    name: first
    effect: allow
    ports: [8080, \"9000-9010\"]
    expires: 2026-12-01T00:00:00Z
    reason: why
  - {name: second, effect: deny, from: [{namespace: batch}]}
";

#[test]
fn each_part_of_a_policy_is_where_it_stands() {
    let text = format!("---\n# first\n{WORKLOAD}---\n{ALL}");
    let documents = read("f", &text).unwrap();
    let [workload, policy] = &documents[..] else {
        panic!("{documents:?}");
    };
    let at = |place| text_at(&text, place);
    assert_eq!((&*workload.file, workload.line), ("f", 3));
    assert_eq!(at(workload.name), "orders-0");
    assert_eq!(at(workload.namespace), "shop");
    assert!(workload.rules.is_empty() && !workload.target.at.is_known());
    assert_eq!(policy.line, 11);
    assert_eq!(at(policy.name), "\"baseline\"");
    assert!(!policy.namespace.is_known());
    let target = &policy.target;
    assert_eq!((target.at.line, target.at.width), (16, 0));
    assert_eq!(at(target.service_account), "'orders'");
    let labels: Vec<_> = target.labels.iter().map(|(k, v)| (&**k, at(*v))).collect();
    assert_eq!(labels, [("app", "orders".into()), ("tier", "back".into())]);
    let namespaces: Vec<_> = target.namespaces.iter().copied().map(at).collect();
    assert_eq!(namespaces, ["shop", "batch"]);
    let [first, second] = &policy.rules[..] else {
        panic!("{policy:?}");
    };
    let from: Vec<_> = first.from.iter().copied().map(at).collect();
    let id = "spiffe://cluster.local/ns/batch/sa/a";
    assert_eq!(from, ["shop/web", id, "10.0.0.0/8", "shop", "*n"]);
    let ports: Vec<_> = first.ports.iter().copied().map(at).collect();
    assert_eq!(ports, ["8080", "\"9000-9010\""]);
    assert_eq!(at(first.expires), "2026-12-01T00:00:00Z");
    assert_eq!(
        (at(first.name), at(second.name)),
        ("first".into(), "second".into())
    );
    assert!(second.ports.is_empty() && !second.expires.is_known());
}

#[test]
fn parse_reads_what_read_does() {
    let text = [
        POLICY,
        CLUSTER,
        WORKLOAD,
        SERVICE,
        NAMESPACE,
        REVOCATIONS,
        BUNDLE,
    ]
    .join("---\n");
    let documents = read("f", &text).unwrap();
    let manifests: Vec<_> = documents.into_iter().map(|one| one.manifest).collect();
    assert_eq!(parse("f", &text).unwrap(), manifests);
}
