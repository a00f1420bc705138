//! The first thing that a newcomer does: a call that is allowed, and one that is not.

use crate::harness::{Mesh, allow, stdout};

const SHOP: &str = r#"
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- name: orders
  namespace: shop
  command: [palisade, demo, http, --listen, "[::]:8080"]
  ports: [8080]
- {name: intruder, namespace: shop, command: [palisade, demo, wait]}
"#;

#[test]
fn an_allowed_caller_gets_through_and_both_sides_record_it() {
    let mesh = Mesh::up(SHOP, &allow("orders", "web"));
    let answer = mesh.exec(
        "web",
        &[
            "palisade",
            "demo",
            "traffic",
            "http://orders:8080/",
            "--count",
            "1",
        ],
    );
    stdout(&answer);
    let (outbound, inbound) = mesh.both_sides("close", |r| r["src.workload"] == "web-0");
    assert_eq!(inbound["policy.decision"], "allow");
    assert_eq!(
        inbound["policy.rule"],
        "shop/orders-from-web/web-calls-orders"
    );
    assert_eq!(
        inbound["src.identity"],
        "spiffe://cluster.local/ns/shop/sa/web"
    );
    for bytes in ["bytes_sent", "bytes_recv"] {
        assert_eq!(outbound[bytes], inbound[bytes]);
        assert!(outbound[bytes].as_u64() > Some(0));
    }
}

#[test]
fn a_caller_with_no_rule_is_denied_and_both_sides_record_it() {
    let mesh = Mesh::up(SHOP, &allow("orders", "web"));
    let answer = mesh.exec(
        "intruder",
        &[
            "palisade",
            "demo",
            "traffic",
            "http://orders:8080/",
            "--count",
            "1",
        ],
    );
    assert!(!answer.status.success());
    let (outbound, inbound) = mesh.both_sides("denied", |r| r["src.workload"] == "intruder-0");
    assert_eq!(inbound["policy.decision"], "deny");
    assert_eq!(inbound["policy.reason"], "no_rule");
    assert_eq!(
        inbound["policy.near_miss"],
        "shop/orders-from-web/web-calls-orders: from"
    );
    assert_eq!(outbound["policy.decision"], "deny");
    assert!(
        outbound.get("policy.near_miss").is_none(),
        "near misses never leave the server"
    );
}

#[test]
fn a_long_connection_is_recorded_when_it_opens_and_as_it_goes_on() {
    let spec = r#"
  workloads:
  - {name: db, namespace: shop, command: [palisade, demo, db, --listen, "[::]:5432"], ports: [5432]}
  - name: batch
    namespace: shop
    command: [palisade, demo, traffic, "db://db:5432", --keep, --every, 100ms]
"#;
    let often = [("PALISADE_RECORD_PROGRESS", "1s")];
    let mesh = Mesh::with_environment(spec, &allow("db", "batch"), &often);
    let (outbound, inbound) = mesh.both_sides("progress", |r| r["src.workload"] == "batch-0");
    assert_eq!(inbound["policy.rule"], "shop/db-from-batch/batch-calls-db");
    for side in [&outbound, &inbound] {
        assert!(side["bytes_sent"].as_u64() > Some(0), "{side}");
        assert!(side.get("close.by").is_none(), "it lives: {side}");
        let opened = mesh.record("the same connection's open", |r| {
            r["event"] == "open"
                && r["conn.id"] == side["conn.id"]
                && r["direction"] == side["direction"]
        });
        assert_eq!(opened["src.workload"], "batch-0");
    }
}

#[test]
fn a_cluster_policy_denies_what_a_namespace_allows() {
    let freeze = r#"---
apiVersion: palisade.dev/v1alpha1
kind: ClusterAuthorizationPolicy
metadata: {name: freeze}
spec:
  target: {namespaces: [shop]}
  rules:
  - name: no-web
    effect: deny
    from: [{serviceAccount: shop/web}]
"#;
    let mesh = Mesh::up(SHOP, &(allow("orders", "web") + freeze));
    let call = [
        "palisade",
        "demo",
        "traffic",
        "http://orders:8080/",
        "--count",
        "1",
    ];
    assert!(!mesh.exec("web", &call).status.success());
    let (outbound, inbound) = mesh.both_sides("denied", |r| r["src.workload"] == "web-0");
    for side in [outbound, inbound] {
        assert_eq!(side["policy.rule"], "cluster/freeze/no-web", "{side}");
    }
}
