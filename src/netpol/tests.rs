use std::path::Path;

use time::macros::datetime;

use super::convert::convert;
use super::render::render;
use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

fn rules(text: &str) -> Rules {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rules.yaml");
    std::fs::write(&file, text).unwrap();
    of_files(&[file]).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

fn rendered(text: &str, known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|name| (*name).to_owned()).collect();
    let policies = rules(text).policies;
    let documents = policies
        .iter()
        .flat_map(|policy| convert(policy, &known, NOW));
    render(&documents.collect::<Vec<_>>())
}

/// Compares with a file, which `UPDATE_GOLDEN=1` writes.
fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/netpol/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn a_namespaces_rules() {
    let text = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders, canary: 'true'}}
  rules:
  - name: web-places-orders
    effect: allow
    from: [{serviceAccount: shop/web}, {namespace: batch}]
    ports: [8080, 9000-9010]
  - name: balancer
    effect: allow
    from: [{unauthenticated: {cidr: 10.9.0.0/16}}, {unauthenticated: {cidr: 'fd09::/64'}}]
    expires: 2026-12-01T00:00:00Z
    reason: until the balancer is meshed
  - {name: no-tests, effect: deny, from: [{namespace: tests}]}
  - {name: perhaps, effect: allow, mode: shadow, from: [{namespace: new}]}
";
    assert_golden("namespace.yaml", &rendered(text, &[]));
}

#[test]
fn a_cluster_rule_is_one_for_each_namespace() {
    let text = "\
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {name: metrics}
spec:
  target: {serviceAccount: api}
  rules:
  - name: scrape
    effect: allow
    from: [{namespace: monitoring}, {identity: 'spiffe://other.example/ns/a/sa/b'}]
    ports: [9090]
";
    assert_golden("cluster.yaml", &rendered(text, &["shop", "back"]));
    assert_golden("cluster-unknown.yaml", &rendered(text, &[]));
}

#[test]
fn what_cannot_be_said_is_a_comment() {
    let text = "\
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: shop}
spec:
  rules:
  - {name: no-tests, effect: deny, from: [{namespace: tests}]}
  - {name: partner, effect: allow, from: [{trustDomain: other.example}]}
  - {name: old, effect: allow, from: [{namespace: old}], expires: 2026-01-01T00:00:00Z, reason: move}
";
    assert_golden("comments.yaml", &rendered(text, &[]));
}
