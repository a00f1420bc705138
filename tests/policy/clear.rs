//! Callers without an identity: what a sidecar holds them to, counts of them, and says of them when it is asked.

use serde_json::{Value, json};

use super::ORDERS;
use super::tools::{policy, shown};
use crate::harness::{Mesh, allow, json_lines, palisade, signal, stdout, text, wait_until};

const WORKLOADS: &str = r#"
- {name: orders, namespace: shop, replicas: 2, command: [palisade, demo, http, --listen, "[::]:8080"], ports: [8080]}
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- {name: outsider, namespace: shop, command: [palisade, demo, wait], meshed: false}
- {name: late, namespace: shop, command: [palisade, demo, wait], meshed: false}
"#;

/// Whoever comes in clear is let in, and one of them would be denied by name.
const RULES: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: web, effect: allow, from: [{serviceAccount: shop/web}]}
  - {name: in-clear, effect: allow, from: [{unauthenticated: {cidr: 0.0.0.0/0}}, {unauthenticated: {cidr: "::/0"}}]}
  - {name: not-outsider, effect: deny, from: [{serviceAccount: shop/outsider}], mode: shadow}
"#;

const NOT_OUTSIDER: &str = "shop/orders/not-outsider";

/// What is answered of each of the caller's addresses, and the exit code.
fn explained(mesh: &Mesh, from: &str, whom: [&str; 2]) -> (Vec<Value>, i32) {
    let asked = ["explain", "--from", from, "--port", "8080"];
    let output = policy(mesh, &[&asked[..], &whom].concat());
    assert!(output.stderr.is_empty(), "{output:?}");
    (json_lines(&output.stdout), output.status.code().unwrap())
}

const WRITTEN: [&str; 2] = ["--to", "shop/orders"];
const ENFORCED: [&str; 2] = ["--proxy", "shop/orders-0"];

#[test]
fn a_caller_in_clear_is_held_to_its_name_and_what_shadow_says_of_that_is_told() {
    let mesh = Mesh::up(WORKLOADS, RULES);
    mesh.answers("web", &[ORDERS]);
    for whom in [WRITTEN, ENFORCED] {
        let (answers, code) = explained(&mesh, "shop/outsider", whom);
        assert_eq!((answers.len(), code), (2, 0), "{answers:?}");
        for answer in answers {
            assert_eq!(answer["rule"]["name"], "shop/orders/in-clear", "{answer}");
            assert_eq!(answer["shadow"]["would"], "deny", "{answer}");
            assert_eq!(answer["shadow"]["name"], NOT_OUTSIDER, "{answer}");
        }
        let (others, _) = explained(&mesh, "shop/late", whom);
        assert!(others.iter().all(|answer| answer["shadow"].is_null()));
    }
    stdout(&mesh.call_once("outsider", ORDERS));
    let record = mesh.record("the call", |r| {
        r["src.workload"] == "outsider-0" && r["event"] == "close"
    });
    assert_eq!(record["policy.decision"], "allow", "{record}");
    assert_eq!(record["policy.shadow"], format!("deny {NOT_OUTSIDER}"));
    counted(&mesh);

    mesh.write_rules(&RULES.replace(", mode: shadow", ""));
    wait_until("the denial to be in force", || {
        (explained(&mesh, "shop/outsider", ENFORCED).1 == 1).then_some(())
    });
    for whom in [WRITTEN, ENFORCED] {
        let (answers, code) = explained(&mesh, "shop/outsider", whom);
        let rules = answers.iter().map(|answer| &answer["rule"]["name"]);
        assert!(
            rules.clone().all(|rule| rule == NOT_OUTSIDER),
            "{answers:?}"
        );
        assert_eq!((rules.len(), code), (2, 1));
    }
    assert!(!mesh.call_once("outsider", ORDERS).status.success());
}

/// The one call, and none of the questions; and that it could not be made were the rule enforced.
fn counted(mesh: &Mesh) {
    let (edge, used) = wait_until("the call to be counted", || {
        let counters: Value = serde_json::from_slice(&policy(mesh, &["counters"]).stdout).ok()?;
        let of = |key: &'static str| {
            let workloads = counters["workloads"].as_array().unwrap().iter();
            workloads.flat_map(move |one| one[key].as_array().unwrap())
        };
        let mut edges = of("edges").filter(|edge| edge.get("address").is_some());
        let edge = edges.next()?.clone();
        assert_eq!(edges.next(), None, "{counters}");
        let used = of("rules").find(|rule| rule["rule"] == NOT_OUTSIDER);
        Some((edge, used?.clone()))
    });
    assert_eq!(edge["count"], 1, "{edge}");
    assert_eq!(
        edge["shadow"],
        json!({"effect": "deny", "rule": NOT_OUTSIDER})
    );
    assert_eq!(
        (&used["count"], &used["shadow_count"]),
        (&json!(0), &json!(1))
    );

    let told = policy(mesh, &["readiness", "shop/orders"]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    let mut breaks = report["breaks"].as_array().unwrap().iter();
    let one = breaks.find(|one| one["rule"] == NOT_OUTSIDER).unwrap();
    assert_eq!(one["by"], "mode", "{one}");
    assert!(one["from"].as_str().unwrap().contains("shop/outsider"));
}

#[test]
fn of_a_caller_whose_name_is_denied_nobody_says_that_a_rule_in_shadow_would_allow_it() {
    let rules = RULES.replace(", mode: shadow", "");
    let in_clear = rules
        .lines()
        .find(|line| line.contains("in-clear"))
        .unwrap();
    let in_shadow = in_clear.replace("from:", "mode: shadow, from:");
    let mesh = Mesh::up(WORKLOADS, &rules.replace(in_clear, &in_shadow));
    mesh.answers("web", &[ORDERS]);
    for whom in [WRITTEN, ENFORCED] {
        for (from, would) in [
            ("shop/outsider", Value::Null),
            ("shop/late", "allow".into()),
        ] {
            let (answers, code) = explained(&mesh, from, whom);
            assert_eq!((answers.len(), code), (2, 1), "{answers:?}");
            for answer in answers {
                assert_eq!(answer["shadow"]["would"], would, "{answer}");
            }
        }
    }
    assert!(!mesh.call_once("outsider", ORDERS).status.success());
    let record = mesh.record("the denial", |r| {
        r["src.workload"] == "outsider-0" && r["event"] == "denied"
    });
    assert!(
        record.get("policy.shadow").is_none_or(Value::is_null),
        "{record}"
    );
}

#[test]
fn where_control_is_silent_a_sidecar_says_what_it_does() {
    let mesh = Mesh::up(WORKLOADS, RULES);
    mesh.answers("web", &[ORDERS]);
    let control = mesh.control_pid();
    signal(control, "STOP");
    let called = mesh.call_once("late", ORDERS);
    let answered = explained(&mesh, "192.0.2.7", ENFORCED);
    signal(control, "CONT");
    assert!(!called.status.success());
    let record = mesh.record("the refusal", |r| {
        r["event"] == "denied" && r["direction"] == "inbound" && r.get("src.identity").is_none()
    });
    let (answers, code) = answered;
    assert_eq!(code, 1, "{answers:?}");
    assert_eq!(answers[0]["decision"], "deny");
    assert_eq!(answers[0]["reason"], record["error"], "{record}");
    assert_eq!(answers[0]["reason"], "unknown_address");
    assert!(answers[0]["revision"].as_u64().unwrap() > 0);
}

#[test]
fn an_answer_names_whose_sidecar_gave_it_and_where_there_is_none() {
    let mesh = Mesh::up(WORKLOADS, RULES);
    let one = |whom| {
        let (mut answers, code) = explained(&mesh, "shop/web", whom);
        (answers.remove(0), code)
    };
    let (first, code) = one(["--proxy", "shop/orders"]);
    assert_eq!((&first["proxy"], code), (&json!("shop/orders-0"), 0));
    assert_eq!(first["replicas"], 2);
    let (other, _) = one(["--proxy", "shop/orders-1"]);
    assert_eq!(other["proxy"], "shop/orders-1");
    assert_eq!(other.get("replicas"), None);
    for answer in [&first, &other] {
        assert!(answer["revision"].as_u64().unwrap() > 0, "{answer}");
    }
    let (written, _) = one(WRITTEN);
    assert_eq!(
        (&written["enforced"], written.get("proxy")),
        (&json!(true), None)
    );

    // Rules about one without a sidecar are words.
    let (words, code) = one(["--to", "shop/outsider"]);
    assert_eq!(
        (&words["decision"], &words["enforced"]),
        (&json!("deny"), &json!(false))
    );
    assert_eq!(words["without_sidecar"], json!(["shop/outsider-0"]));
    assert_eq!(code, 2);
    let asked = [
        "explain", "--from", "shop/web", "--port", "8080", "-o", "text",
    ];
    let said = |whom: [&str; 2]| shown(&mesh, &[&asked[..], &whom].concat());
    let printed = text(&said(["--to", "shop/outsider"]).stdout);
    assert!(
        printed.contains("not enforced at shop/outsider-0"),
        "{printed}"
    );
    let printed = text(&said(["--proxy", "shop/orders"]).stdout);
    let named = "the sidecar of shop/orders-0 (one of 2 replicas), at revision";
    assert!(printed.contains(named), "{printed}");
    let nobody = said(["--proxy", "shop/outsider"]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    assert!(text(&nobody.stderr).contains("shop/outsider has no sidecar"));
}

/// How migrations are asked for: what if that namespace were strict and enforced, as one without annotations is?
#[test]
fn a_namespace_beside_edited_rules_is_as_it_says_whatever_records_show() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let record = json!({
        "time": "2026-11-22T02:23:12.566Z", "event": "close", "direction": "inbound", "policy.decision": "allow",
        "policy.mode": "permissive", "policy.reason": "permissive", "conn.id": "46aa02cd6a43ce8ef9e2be0f07f99fe2",
        "src.addr": "10.0.0.9:38256", "dst.addr": "10.0.0.1:8080", "dst.port": 8080, "dst.namespace": "shop",
        "dst.workload": "orders-0", "dst.identity": "spiffe://cluster.local/ns/shop/sa/orders",
        "workload": "shop/orders-0", "bytes_recv": 1, "bytes_sent": 1, "duration_ms": 1,
    });
    let records = write("records.jsonl", &format!("{record}\n"));
    let orders = "apiVersion: apps/v1
kind: Deployment
metadata: {name: orders, namespace: shop}
spec: {template: {metadata: {labels: {app: orders}}, spec: {serviceAccountName: orders}}}
";
    let who = write("who.yaml", orders);
    let web = allow("orders", "web");
    let namespace = "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: \
                     {palisade.dev/mtls: strict, palisade.dev/authorization: enforce}}\n";
    let warned = "is taken to have the annotations that its records show";
    for (rules, flips) in [(web.clone(), 0), (format!("{web}{namespace}"), 1)] {
        let rules = write("rules.yaml", &rules);
        let asked = ["policy", "simulate", &rules, "--records", &records];
        let mut simulate = palisade(folder.path());
        let output = simulate.args(asked).args(["--who", &who]).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(flips), "{said}");
        let lines = json_lines(&output.stdout);
        let denied = lines.iter().filter(|line| line["becomes"] == "deny");
        assert_eq!(i32::try_from(denied.count()).unwrap(), flips, "{lines:?}");
        assert_eq!(said.contains(warned), flips == 0, "{said}");
    }
}
