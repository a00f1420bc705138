//! `palisade logs`.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;

use serde_json::Value;

use super::{idle, palisade_under};
use crate::example::{SHOP, Shop, json_lines};
use crate::harness::{BOUND, Mesh, stdout, wait_for};

#[test]
fn records_of_both_nodes_come_in_the_order_of_their_time() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh);
    let pods = json_lines(&stdout(&mesh.palisade(&["ps", "-n", SHOP, "-o", "json"])));
    let node_of: BTreeMap<&str, &str> = pods
        .iter()
        .map(|pod| (text(pod, "workload"), text(pod, "node")))
        .collect();
    let records = wait_for("records of both nodes", BOUND, || {
        let records = shop.records(&["--since", "2m"]);
        let nodes: BTreeSet<_> = records
            .iter()
            .filter_map(|record| node_of.get(text(record, "workload")))
            .collect();
        (nodes.len() == 2).then_some(records)
    });
    let times: Vec<&str> = records.iter().map(|record| text(record, "time")).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn logs_show_what_is_asked_for_and_nothing_else() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh);
    shop.both_sides("denied", "intruder", "shop/db:5432");
    shop.both_sides("close", "web", "shop/orders:8080");

    // A workload's own, by the name of its Deployment.
    all(&shop.records(&["web"]), |record| {
        text(record, "workload").starts_with("shop/web-")
    });
    all(&shop.records(&["shop/web"]), |record| {
        text(record, "workload").starts_with("shop/web-")
    });
    // While the shop opens, others are refused too: by what is not there yet.
    let denied = shop.records(&["--denied"]);
    all(&denied, |record| record["event"] == "denied");
    for record in &denied {
        let by_rules = record["policy.reason"] == "no_rule";
        let intruder = text(record, "src.workload").starts_with("intruder-");
        assert!(!by_rules || intruder, "{record}");
    }
    assert!(denied.iter().any(|one| one["policy.reason"] == "no_rule"));
    all(
        &shop.records(&["--from", "intruder", "--to", "shop/db"]),
        |record| text(record, "src.workload").starts_with("intruder-") && is_to(record, "db"),
    );
    all(&shop.records(&["--to", "orders"]), |record| {
        is_to(record, "orders")
    });
    // Both sides as one: what only the calling side knows, and what only the called one knows.
    let pairs = shop.records(&["--pair", "web"]);
    let pair = pairs
        .iter()
        .find(|record| record["direction"] == "both" && record["event"] == "close");
    let pair = pair.unwrap_or_else(|| panic!("{pairs:?}"));
    assert_eq!(pair["policy.rule"], "shop/orders/web-places-orders");
    assert!(
        text(pair, "dst.service").starts_with("shop/orders"),
        "{pair}"
    );

    let none = mesh.palisade(&["logs", "-n", SHOP, "nobody"]);
    let said = String::from_utf8_lossy(&none.stderr);
    assert!(!none.status.success() && said.contains("nobody"), "{said}");
}

#[test]
fn following_shows_what_comes_and_new_pods_until_it_is_interrupted() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh);
    let before: BTreeSet<String> = webs(&shop.records(&["web", "--since", "1m"]));
    let logs = ["logs", "-n", SHOP, "-o", "json", "-f", "web"];
    let logs = [&logs[..], &["--since", "1s"]].concat();
    let interrupted = ["timeout", "--signal=INT", "--preserve-status", "15"];
    let followed = thread::scope(|scope| {
        let followed = scope.spawn(|| palisade_under(&mesh, &interrupted, &logs));
        stdout(&shop.kubectl(&["rollout", "restart", "deployment/web"]));
        followed.join().unwrap()
    });
    let records = json_lines(&stdout(&followed));
    let now = webs(&records);
    let new: BTreeSet<_> = now.difference(&before).collect();
    assert!(!new.is_empty(), "{before:?}, then {now:?}");
    let times: BTreeSet<&str> = records.iter().map(|record| text(record, "time")).collect();
    println!("{} records followed, of {now:?}", records.len());
    assert!(times.len() > 2, "{times:?}");
}

#[test]
fn logs_read_fifty_pods_at_most_and_with_all_every_one() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("many");
    idle(&namespace, "oldest", "{}");
    // It writes a record: a caller that has no identity is refused.
    let pods = ["pods", "-l", "app=oldest"];
    let addr = namespace.words(&pods, "{.items[0].status.podIP}").remove(0);
    let call = [
        "exec",
        "curl",
        "-s",
        "--max-time",
        "5",
        &format!("{addr}:8080"),
    ];
    assert!(!mesh.cluster().run(&call).status.success());
    let newer: Vec<String> = (0..50).map(unscheduled).collect();
    namespace.apply(&newer.join("---\n"));
    let logs = ["logs", "-n", namespace.name(), "-o", "json"];
    let few = mesh.palisade(&logs);
    let said = String::from_utf8_lossy(&few.stderr);
    assert!(said.contains("1 more pods are not read"), "{said}");
    assert_eq!(json_lines(&stdout(&few)), Vec::<Value>::new());
    let every = mesh.palisade(&[&logs[..], &["--all"]].concat());
    let said = String::from_utf8_lossy(&every.stderr);
    assert!(!said.contains("more pods"), "{said}");
    all(&json_lines(&stdout(&every)), |record| {
        text(record, "workload").contains("/oldest-")
    });
}

/// A pod that no node takes.
fn unscheduled(number: u32) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: newer-{number}}}
spec:
  nodeSelector: {{nobody: has-this}}
  automountServiceAccountToken: false
  containers: [{{name: app, image: none}}]
"
    )
}

/// The pods that wrote the records.
fn webs(records: &[Value]) -> BTreeSet<String> {
    let workloads = records.iter().map(|record| text(record, "workload"));
    workloads.map(str::to_owned).collect()
}

fn is_to(record: &Value, name: &str) -> bool {
    text(record, "dst.service").starts_with(&format!("shop/{name}"))
        || text(record, "dst.workload").starts_with(&format!("{name}-"))
}

fn all(records: &[Value], is_meant: impl Fn(&Value) -> bool) {
    assert!(!records.is_empty());
    for record in records {
        assert!(is_meant(record), "{record}");
    }
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}
