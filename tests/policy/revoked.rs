//! What `palisade policy` says of whom the mesh revokes: no rule lets them in, and none is to blame.

use std::path::Path;

use serde_json::Value;

use super::tools::{answer, policy, shown};
use crate::harness::{Mesh, json_lines, stdout, text, wait_until};

const ORDERS: &str = "http://orders:8080/";
const API: &str = "http://api.open:8080/";

const SPEC: &str = r#"
  namespaces:
  - {name: open, annotations: {palisade.dev/authorization: shadow}}
  workloads:
  - {name: web, namespace: shop, command: [palisade, demo, wait]}
  - {name: cron, namespace: shop, command: [palisade, demo, wait]}
  - {name: orders, namespace: shop, command: [palisade, demo, http, --listen, "[::]:8080"], ports: [8080]}
  - {name: api, namespace: open, command: [palisade, demo, http, --listen, "[::]:8080"], ports: [8080]}
"#;

const RULES: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: callers, effect: allow, from: [{serviceAccount: shop/web}, {serviceAccount: shop/cron}], ports: [8080]}
"#;

fn id(account: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
}

fn revoke(directory: &Path, account: &str) {
    let text = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: Revocations\nspec: {{identities: [{}]}}\n",
        id(account)
    );
    std::fs::write(directory.join("revoked.yaml"), text).unwrap();
}

/// A mesh in which web, which had called, is revoked and was refused.
fn revoked() -> Mesh {
    let mesh = Mesh::with_spec(SPEC, RULES);
    mesh.answers("web", &[ORDERS, API]);
    mesh.answers("cron", &[ORDERS]);
    let counted = wait_until("all to be counted", || {
        let (report, _) = answer(&mesh, &["readiness"]);
        (report["edges"] == 3).then_some(report)
    });
    assert_eq!(counted["breaks"][0]["from"], "shop/web", "{counted}");
    revoke(&mesh.folder().join("rules"), "web");
    let refused = |record: &Value| {
        let event = [&record["event"], &record["error"], &record["direction"]];
        let ends = [&record["src.workload"], &record["dst.workload"]];
        event == ["tls_failed", "revoked", "inbound"] && ends == ["web-0", "orders-0"]
    };
    wait_until("web to be refused", || {
        assert_eq!(mesh.call_once("cron", ORDERS).status.code(), Some(0));
        let _refused = mesh.call_once("web", ORDERS);
        mesh.records().iter().any(refused).then_some(())
    });
    mesh
}

/// By the record of either side: the called one's names no caller, the calling one's no reason.
fn explained(mesh: &Mesh) {
    for (direction, error) in [("inbound", "revoked"), ("outbound", "refused_by_peer")] {
        let refused = |record: &Value| {
            let event = [&record["event"], &record["error"], &record["direction"]];
            let ends = [&record["src.workload"], &record["dst.workload"]];
            event == ["tls_failed", error, direction] && ends == ["web-0", "orders-0"]
        };
        let conn = wait_until("either side's record", || {
            let records = mesh.records();
            let record = records.iter().find(|one| refused(one))?;
            Some(record["conn.id"].as_str().unwrap().to_owned())
        });
        let (said, code) = answer(mesh, &["explain", "--conn", &conn]);
        assert_eq!((code, &said["reason"]), (1, &"revoked".into()), "{said}");
        assert_eq!(said["revoked"]["identity"], id("web"), "{said}");
        assert_eq!(said["from"], id("web"), "{said}");
        let is_presumed = said["presumed"] == true;
        assert_eq!(is_presumed, direction == "inbound", "{said}");
        assert_eq!(said["recorded"]["direction"], direction, "{said}");
    }
}

#[test]
fn who_is_revoked_breaks_nothing_is_no_rule_worth_and_is_let_in_by_none() {
    let mesh = revoked();
    let (report, code) = answer(&mesh, &["readiness"]);
    assert_eq!(
        (code, &report["ready"], &report["edges"]),
        (0, &true.into(), &1.into())
    );
    let told = report["revoked"].as_array().unwrap();
    let edges = told.iter().map(|one| {
        assert_eq!(one["revoked"]["identity"], id("web"), "{one}");
        (one["from"].as_str().unwrap(), one["to"].as_str().unwrap())
    });
    let edges: Vec<_> = edges.collect();
    assert_eq!(
        edges,
        [("shop/web", "open/api"), ("shop/web", "shop/orders")]
    );
    let report = stdout(&shown(&mesh, &["readiness", "-o", "text"]));
    let line = format!("shop/web → open/api port 8080: {} is revoked (", id("web"));
    assert!(report.contains(&line), "{report}");

    let suggested = stdout(&shown(&mesh, &["suggest"]));
    let line = format!("# left out, as {} is revoked (", id("web"));
    assert!(suggested.contains(&line), "{suggested}");
    assert!(!suggested.contains("from-web"), "{suggested}");

    let to = [
        "--to", "open/api", "--port", "8080", "--for", "30m", "--reason", "INC-1",
    ];
    let (said, code) = answer(&mesh, &[&["allow", "--from", "shop/web"], &to[..]].concat());
    assert_eq!((code, &said["decision"]), (1, &"deny".into()), "{said}");
    assert_eq!(said["revoked"]["identity"], id("web"), "{said}");
    assert_eq!(said["applied"], serde_json::json!([]), "{said}");
    let files = std::fs::read_dir(mesh.folder().join("rules")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(
        !names
            .into_iter()
            .any(|name| name.starts_with("break-glass"))
    );
    explained(&mesh);
    replayed(&mesh);
    called(&mesh);
}

/// Which way what web was allowed and was refused flips, by these rules.
fn flips(mesh: &Mesh, arguments: &[&str]) -> Vec<Value> {
    let output = policy(mesh, &[&["simulate"], arguments].concat());
    let lines = json_lines(&output.stdout);
    let flips = lines.into_iter().filter(|line| line["kind"] == "flip");
    let mut flips: Vec<Value> = flips.filter(|flip| flip["to"] == "shop/orders").collect();
    flips.retain(|flip| flip["from"] == "shop/web");
    assert!(!flips.is_empty(), "{output:?}");
    flips
}

fn replayed(mesh: &Mesh) {
    let edited = tempfile::tempdir().unwrap();
    let rules = edited.path().to_str().unwrap();
    std::fs::write(edited.path().join("rules.yaml"), RULES).unwrap();
    // The mesh revokes web, of which these rules say nothing.
    for flip in flips(mesh, &[rules]) {
        assert_eq!(
            (&flip["was"], &flip["becomes"]),
            (&"allow".into(), &"deny".into()),
            "{flip}"
        );
    }
    let output = shown(mesh, &["simulate", rules]);
    let said = text(&output.stderr);
    assert!(
        said.contains("whom the mesh revokes stays revoked ("),
        "{said}"
    );
    // Of files, nobody is revoked but by them.
    let records = mesh.folder().join("records.jsonl");
    let lines: String = mesh
        .records()
        .iter()
        .map(|one| format!("{one}\n"))
        .collect();
    std::fs::write(&records, lines).unwrap();
    let records = ["--records", records.to_str().unwrap(), "--who", "mesh.yaml"];
    let again = |flips: Vec<Value>| {
        let [flip] = flips.try_into().unwrap();
        let flip: Value = flip;
        assert_eq!(
            (&flip["was"], &flip["becomes"]),
            (&"deny".into(), &"allow".into()),
            "{flip}"
        );
        assert_eq!(flip["was_by"], "revoked", "{flip}");
        assert_eq!(flip["presumed"], true, "{flip}");
        assert_eq!(flip["rule"]["name"], "shop/orders/callers", "{flip}");
    };
    again(flips(mesh, &[&records[..], &[rules]].concat()));
    // The edited file revokes somebody else instead.
    revoke(edited.path(), "stranger");
    again(flips(mesh, &[rules]));
}

/// Of itself a sidecar is not told that it is revoked: its callers' sidecars are.
fn called(mesh: &Mesh) {
    revoke(&mesh.folder().join("rules"), "orders");
    let whom = ["--proxy", "shop/orders-0", "--port", "8080"];
    let asked = [&["explain", "--from", "shop/cron"], &whom[..]].concat();
    let (said, code) = answer(mesh, &asked);
    assert_eq!((code, &said["reason"]), (1, &"revoked".into()), "{said}");
    assert_eq!(said["revoked"]["identity"], id("orders"), "{said}");
    let text = text(&shown(mesh, &[&asked[..], &["-o", "text"]].concat()).stdout);
    assert!(
        text.contains("enforced by its callers' sidecars, which refuse shop/orders-0"),
        "{text}"
    );
    wait_until("its callers to refuse it", || {
        let called = mesh.call_once("cron", ORDERS);
        (!called.status.success()).then_some(())
    });
    // Who comes in clear is shown no certificate, and looks at none.
    let in_clear = [&["explain", "--from", "10.99.0.1"], &whom[..]].concat();
    let (said, _) = answer(mesh, &in_clear);
    assert_ne!(said["reason"], "revoked", "{said}");
}
