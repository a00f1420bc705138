//! What `palisade policy` says of refusals that were put together, and of ports where nobody is.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tools::{answer, policy, shown};
use crate::harness::{Mesh, json_lines, stdout, text, wait_until};

const ORDERS: &str = "http://orders:8080/";

const SPEC: &str = r#"
  namespaces:
  - {name: open, annotations: {palisade.dev/authorization: shadow}}
  workloads:
  - {name: web, namespace: shop, replicas: 2, command: [palisade, demo, wait]}
  - {name: cron, namespace: shop, command: [palisade, demo, wait]}
  - {name: orders, namespace: shop, command: [palisade, demo, http, --listen, "[::]:8080"], ports: [8080]}
  - name: api
    namespace: open
    command: [palisade, demo, http, --listen, "[::]:8080"]
    ports: [8080, 8081, 8082]
"#;

const RULES: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: cron, effect: allow, from: [{serviceAccount: shop/cron}], ports: [8080, 9000-9010]}
  - {name: cron-again, effect: allow, from: [{serviceAccount: shop/cron}], ports: [8080]}
"#;

fn up() -> Mesh {
    let mesh = Mesh::with_spec(SPEC, RULES);
    mesh.answers("cron", &[ORDERS, "http://api.open:8080/"]);
    mesh
}

/// The called side puts together what both replicas of web tried, and each of these writes of its own.
#[test]
fn every_refusal_that_a_caller_knows_of_is_explained_by_its_id() {
    let mesh = up();
    for replica in ["web-0", "web-1", "web-1"] {
        let often = ["--every", "10ms", "--count", "20"];
        let calls = mesh.call(replica, &[&[ORDERS][..], &often].concat());
        assert!(!calls.status.success(), "{calls:?}");
    }
    let counted = |direction: &str, caller: &str| {
        mesh.record("refusals that were put together", |record| {
            record["direction"] == direction
                && record["src.workload"] == caller
                && record["count"].is_u64()
        })
    };
    counted("outbound", "web-1");
    counted("inbound", "web-1");
    let records = mesh.records();
    let ids = |direction: &str| -> BTreeSet<String> {
        let of_side = records
            .iter()
            .filter(|one| one["event"] == "denied" && one["direction"] == direction);
        let ids = of_side.map(|one| one["conn.id"].as_str().unwrap().to_owned());
        ids.collect()
    };
    let (told, decided) = (ids("outbound"), ids("inbound"));
    assert!(!told.is_subset(&decided), "{told:?} {decided:?}");
    let mut among = 0;
    for id in &told {
        let (said, code) = answer(&mesh, &["explain", "--conn", id]);
        assert_eq!((code, &said["decision"]), (1, &"deny".into()), "{said}");
        let recorded = &said["recorded"];
        if decided.contains(id) {
            assert_eq!(recorded["direction"], "inbound", "{said}");
            assert_eq!(recorded["reason"], "no_rule", "{said}");
        } else if let Some(of) = recorded["among"]["conn.id"].as_str() {
            assert!(decided.contains(of), "{said}");
            assert_eq!(recorded["direction"], "outbound", "{said}");
            assert_eq!(recorded["reason"], "no_rule", "{said}");
            among += 1;
        }
    }
    assert!(among > 0, "none of {told:?} was only counted");
    nobody_knows(&mesh);
}

/// Of an id that no record has, how to ask otherwise.
fn nobody_knows(mesh: &Mesh) {
    let nobody = policy(mesh, &["explain", "--conn", &"0".repeat(32)]);
    assert_eq!(nobody.status.code(), Some(2), "{nobody:?}");
    let said = text(&nobody.stderr);
    for part in [
        "Refusals that repeat within 10 s are one record",
        "palisade policy explain --from CALLER --to CALLED --port PORT",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn ports_where_nobody_is_are_no_edges_and_each_denial_is_one_line() {
    let mesh = up();
    for port in [8081, 8082] {
        let target = format!("http://api.open:{port}/");
        assert!(!mesh.call_once("web", &target).status.success());
    }
    for _ in 0..3 {
        assert!(!mesh.call_once("web", ORDERS).status.success());
    }
    mesh.answers("web", &["http://api.open:8080/"]);
    let readiness = wait_until("all to be counted", || {
        let (report, code) = answer(&mesh, &["readiness", "open/api"]);
        assert_eq!(code, i32::from(report["ready"] == false), "{report}");
        let silent = report["never_answered"].as_array().unwrap().len();
        let breaks = report["breaks"].as_array().unwrap().len();
        (silent + breaks >= 4).then_some(report)
    });
    let ports = |part: &str| -> BTreeSet<u64> {
        let edges = readiness[part].as_array().unwrap().iter();
        let of_web = edges.filter(|one| one["from"] == "shop/web");
        of_web.map(|one| one["port"].as_u64().unwrap()).collect()
    };
    assert_eq!(ports("breaks"), [8080].into(), "{readiness}");
    assert_eq!(ports("never_answered"), [8081, 8082].into(), "{readiness}");

    let suggested = stdout(&shown(&mesh, &["suggest"]));
    let left_out = "# left out, as nothing answered: shop/web at ports 8081-8082, ";
    assert!(suggested.contains(left_out), "{suggested}");
    assert!(suggested.contains("ports: [8080]"), "{suggested}");

    let usage = wait_until("the denials to be counted", || {
        let (usage, _) = answer(&mesh, &["usage"]);
        let denied = usage["denied"].as_array().unwrap();
        denied
            .iter()
            .any(|one| one["count"].as_u64() >= Some(3))
            .then_some(usage)
    });
    used(&mesh, &usage);
}

fn used(mesh: &Mesh, usage: &Value) {
    let denied = usage["denied"].as_array().unwrap();
    let [web] = denied.as_slice() else {
        panic!("{usage}");
    };
    assert_eq!(
        (&web["from"], &web["port"]),
        (&"shop/web".into(), &8080.into())
    );
    assert_eq!(web["reasons"][0]["reason"], "no_rule", "{usage}");
    let unused = usage["unused"].as_array().unwrap();
    let expected = serde_json::json!([{
        "from": "shop/cron", "to": "shop/orders", "ports": ["9000-9010"], "rules": ["shop/orders/cron"],
    }]);
    assert_eq!(usage["unused"], expected, "{unused:?}");
    let again = &usage["rules"][0];
    assert_eq!(again["rule"], "shop/orders/cron-again", "{usage}");
    assert_eq!(again["repeats"], "shop/orders/cron", "{usage}");
    let text = stdout(&shown(mesh, &["usage", "-o", "text"]));
    for line in [
        "every edge is also allowed by shop/orders/cron",
        "shop/cron → shop/orders  ports 9000-9010  shop/orders/cron",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let one = policy(mesh, &["usage", "--denied", "--most", "1"]);
    assert_eq!(json_lines(&one.stdout).len(), 1);
}
