//! The shop of `examples/kubernetes`, applied as it is but for its image.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tokio::time::Instant;

use crate::harness::{BOUND, Cluster, Mesh, stdout, wait_for};

#[test]
fn the_shop_shows_what_it_is_said_to_show() {
    let mesh = Mesh::shared();
    let shop = Shop::open(&mesh);
    let start = Instant::now();
    // Both sides know a connection by the same name; the called one says by which rule it was admitted.
    for (caller, called, rule) in [
        ("web", "shop/orders:8080", "shop/orders/web-places-orders"),
        ("orders", "shop/db:5432", "shop/db/orders-keeps-its-books"),
    ] {
        let (outbound, inbound) = shop.both_sides("close", caller, called);
        assert_eq!(inbound["policy.rule"], rule, "{inbound}");
        for side in [&outbound, &inbound] {
            assert!(side["bytes_recv"].as_u64() > Some(0), "{side}");
            assert_eq!(side["tls.version"], "1.3", "{side}");
            let caller = format!("spiffe://cluster.local/ns/shop/sa/{caller}");
            assert_eq!(side["src.identity"], caller, "{side}");
        }
    }
    // Nobody admits it: the called side says what came nearest, and the caller is not told.
    for (called, near) in [
        ("shop/orders:8080", "shop/orders/web-places-orders: from"),
        ("shop/db:5432", "shop/db/batch-counts: from"),
    ] {
        let (outbound, inbound) = shop.both_sides("denied", "intruder", called);
        assert_eq!(inbound["policy.reason"], "no_rule", "{inbound}");
        assert_eq!(inbound["policy.near_miss"], near, "{inbound}");
        assert_eq!(outbound["policy.reason"], "denied", "{outbound}");
        assert!(outbound.get("policy.near_miss").is_none(), "{outbound}");
        assert!(outbound.get("policy.rule").is_none(), "{outbound}");
    }
    // Its one connection is kept: opened once, ended never.
    let (opened, inbound) = shop.both_sides("open", "batch", "shop/db:5432");
    assert_eq!(inbound["policy.rule"], "shop/db/batch-counts", "{inbound}");
    let ended = shop
        .records(&["batch", "--all"])
        .into_iter()
        .find(|record| record["conn.id"] == opened["conn.id"] && record["event"] == "close");
    assert_eq!(ended, None);
    println!("the shop's story was told after {:?}", start.elapsed());
}

/// The shop, open from the first test that asks for it until one has the mesh alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shop<'a> {
    mesh: &'a Mesh,
}

impl<'a> Shop<'a> {
    pub(crate) fn open(mesh: &'a Mesh) -> Self {
        mesh.open_shop(|| open(mesh));
        Self { mesh }
    }

    pub(crate) fn kubectl(self, arguments: &[&str]) -> Output {
        kubectl(self.mesh.cluster(), arguments)
    }

    /// `palisade logs` of the shop, with these arguments more.
    pub(crate) fn records(self, arguments: &[&str]) -> Vec<Value> {
        let logs = ["logs", "-n", SHOP, "-o", "json"];
        json_lines(&stdout(&self.mesh.palisade(&[&logs, arguments].concat())))
    }

    /// What the calling and the called side recorded of one connection.
    pub(crate) fn both_sides(self, event: &str, caller: &str, service: &str) -> (Value, Value) {
        let what = format!("both sides' {event} of {caller} to {service}");
        wait_for(&what, BOUND, || {
            let records = self.records(&["--from", caller]);
            let mut outbound = BTreeMap::new();
            for record in records.iter().filter(|record| record["event"] == event) {
                if record["direction"] == "outbound" && called(record) == service {
                    outbound.insert(record["conn.id"].to_string(), record);
                }
            }
            records
                .iter()
                .filter(|record| record["event"] == event && record["direction"] == "inbound")
                .find_map(|inbound| {
                    let outbound = outbound.get(&inbound["conn.id"].to_string())?;
                    Some(((*outbound).clone(), inbound.clone()))
                })
        })
    }
}

/// The Service and the port that a calling side recorded.
fn called(record: &Value) -> String {
    let service = record["dst.service"].as_str().unwrap_or_default();
    if service.contains(':') {
        service.to_owned()
    } else {
        format!("{service}:{}", record["dst.port"])
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// What the example's own first lines say, with the tests' image.
fn open(mesh: &Mesh) {
    let cluster = mesh.cluster();
    // It may be there still: from an earlier run, or on its way out.
    let delete = ["delete", "namespace", SHOP, "--ignore-not-found"];
    stdout(&cluster.kubectl(&delete));
    for file in ["shop.yaml", "rules.yaml"] {
        let written = read(file);
        cluster.apply(&written.replace("palisade:0.1.0", cluster.palisade_image()));
    }
    for workload in ["db", "orders", "web", "batch", "intruder"] {
        let bound = format!("--timeout={}s", BOUND.as_secs());
        let deployment = format!("deployment/{workload}");
        stdout(&kubectl(
            cluster,
            &["rollout", "status", &deployment, &bound],
        ));
    }
}

/// A file of the example.
pub(crate) fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/kubernetes");
    fs::read_to_string(folder.join(file)).unwrap()
}

fn kubectl(cluster: &Cluster, arguments: &[&str]) -> Output {
    cluster.kubectl(&[&["--namespace", SHOP], arguments].concat())
}

pub(crate) const SHOP: &str = "shop";
