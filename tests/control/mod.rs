//! Parts that are killed, started late, or started on a store that is not good.

mod proxy;
mod store;

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::harness::{CONTROL, Lab, Mesh, PODS, Running, allow, signal, stdout, text, wait_until};

const SHOP: &str = r#"
  workloads:
  - {name: orders, namespace: shop, command: [palisade, demo, http], ports: [8080]}
  - {name: db, namespace: shop, command: [palisade, demo, db], ports: [5432]}
  - {name: web, namespace: shop, command: [palisade, demo, wait]}
  - {name: batch, namespace: shop, command: [palisade, demo, wait]}
  - {name: outsider, namespace: shop, command: [palisade, demo, wait], meshed: false}
"#;
const ORDERS: &str = "http://orders:8080/";
const DB: &str = "db://db:5432";

fn rules() -> String {
    allow("orders", "web") + &allow("db", "web")
}

#[test]
fn control_killed_and_restarted_loses_nothing() {
    let mesh = Mesh::with_spec(SHOP, &rules());
    mesh.answers("web", &[ORDERS, DB]);
    let begun = last_record(&mesh);
    let long = mesh.calling("web", &[DB, "--keep", "--every", "20ms"]);
    let short = mesh.calling("web", &[ORDERS, "--every", "20ms"]);
    for _ in 0..2 {
        for traffic in [&long, &short] {
            traffic.says_more(5);
        }
        let control = mesh.control_pid();
        signal(control, "KILL");
        wait_until("another control", || {
            (mesh.control_pid() != control).then_some(())
        });
        for traffic in [&long, &short] {
            traffic.says_more(20);
        }
    }
    // The new one is heard: it pushes an edit to proxies that have lived all along.
    mesh.write_rules(&(rules() + &allow("orders", "batch")));
    wait_until("an edit to be enforced", || {
        let answer = mesh.call_once("batch", ORDERS);
        answer.status.success().then_some(())
    });
    for traffic in [&long, &short] {
        traffic.says_more(5);
        assert_eq!(traffic.failures(), 0);
    }
    let cut = |r: &&Value| {
        r["event"] == "close" && r["dst.workload"] == "db-0" && r["time"].as_str() > Some(&begun)
    };
    assert_eq!(mesh.records().iter().filter(cut).count(), 0);
    for side in ["inbound", "outbound"] {
        mesh.record("a connection that lives on", |r| {
            r["event"] == "open" && r["dst.workload"] == "db-0" && r["direction"] == side
        });
    }
}

/// When the last record was written, once both sides have recorded the first call of db.
fn last_record(mesh: &Mesh) -> String {
    mesh.both_sides("close", |r| r["dst.workload"] == "db-0");
    let records = mesh.records();
    let times = records.iter().filter_map(|r| r["time"].as_str());
    times.max().unwrap_or_default().to_owned()
}

#[test]
fn rules_that_are_swapped_like_a_config_map_are_taken() {
    let mesh = Mesh::with_spec(SHOP, &rules());
    let directory = mesh.folder().join("rules");
    let version = |name: &str, rules: &str| {
        fs::create_dir(directory.join(name)).unwrap();
        fs::write(directory.join(name).join("rules.yaml"), rules).unwrap();
        symlink(name, directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    };
    version("..1", &rules());
    symlink("..data/rules.yaml", directory.join(".link")).unwrap();
    fs::rename(directory.join(".link"), directory.join("rules.yaml")).unwrap();
    mesh.answers("web", &[ORDERS]);
    assert!(!mesh.call_once("batch", ORDERS).status.success());

    version("..2", &allow("orders", "batch"));
    fs::remove_dir_all(directory.join("..1")).unwrap();
    wait_until("the second version", || {
        mesh.call_once("batch", ORDERS)
            .status
            .success()
            .then_some(())
    });
    assert!(!mesh.call_once("web", ORDERS).status.success());
    let (_, inbound) = mesh.both_sides("close", |r| r["src.workload"] == "batch-0");
    assert_eq!(
        inbound["policy.rule"],
        "shop/orders-from-batch/batch-calls-orders"
    );

    version("..3", &rules());
    wait_until("the third version", || {
        mesh.call_once("web", ORDERS).status.success().then_some(())
    });
    assert!(!mesh.call_once("batch", ORDERS).status.success());
}

fn records(proxy: &Running) -> Vec<Value> {
    proxy
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[test]
#[ignore = "needs root and ip"]
fn proxies_wait_and_refuse_until_control_is_started_last_and_then_serve() {
    let lab = Lab::new();
    let store = lab.path("store");
    let init = [
        "control",
        "ca",
        "init",
        "--store",
        &store,
        "--trust-domain",
        "cluster.local",
    ];
    stdout(&lab.run("hub", &init));
    let _app = lab.start("server", &["demo", "http", "--listen", "[::]:8080"]);
    let client = lab.start_proxy("client");
    let server = lab.start_proxy("server");

    assert_all_wait_and_refuse(&lab, &client);
    let _control = start_control(&lab, &store);
    wait_until("the proxy to be ready", || {
        ready(&lab).contains("200 OK").then_some(())
    });
    wait_until("a call to succeed", || {
        lab.call(TARGET).status.success().then_some(())
    });
    // The client's proxy may have been ready first, and have been turned away by the server's before.
    let inbound = wait_until("the call on both sides", || {
        let outbound = records(&client);
        records(&server).into_iter().find(|r| {
            let same = |o: &Value| o["conn.id"] == r["conn.id"] && o["event"] == "close";
            r["event"] == "close" && outbound.iter().any(same)
        })
    });
    assert_eq!(
        inbound["policy.rule"],
        "shop/server-from-client/client-calls-server"
    );
    assert_eq!(
        inbound["src.identity"],
        "spiffe://cluster.local/ns/shop/sa/client"
    );
}

const TARGET: &str = "http://10.78.0.3:8080/";

fn ready(lab: &Lab) -> String {
    text(&lab.call("http://127.0.0.1:15021/ready").stdout)
}

fn assert_all_wait_and_refuse(lab: &Lab, client: &Running) {
    let waiting = wait_until("the proxy to say that it waits", || {
        Some(ready(lab)).filter(|answer| answer.contains("503 Service Unavailable"))
    });
    for condition in ["svid: no SVID was issued yet", "policy: ", "revocations: "] {
        assert!(waiting.contains(condition), "{waiting}");
    }
    for _ in 0..3 {
        assert!(!lab.call(TARGET).status.success());
    }
    let refused = wait_until("its record", || {
        let mut records = records(client).into_iter();
        records.find(|r| r["event"] == "denied")
    });
    assert_eq!(refused["direction"], "outbound");
    assert_eq!(refused["error"], "not_ready");
    assert_eq!(refused["bytes_sent"], 0);
}

fn start_control(lab: &Lab, store: &str) -> Running {
    fs::create_dir(lab.path("config")).unwrap();
    let mut documents = allow("server", "client");
    for (pod, v4, v6) in PODS {
        documents += &format!(
            "---\napiVersion: palisade.dev/v1alpha1\nkind: Workload\n\
             metadata: {{name: {pod}, namespace: shop, labels: {{app: {pod}}}}}\n\
             spec: {{serviceAccount: {pod}, addresses: [{v4}, \"{v6}\"]}}\n"
        );
    }
    fs::write(format!("{}/mesh.yaml", lab.path("config")), documents).unwrap();
    let config = lab.path("config");
    let run = [
        "control",
        "run",
        "--store",
        store,
        "--trust-domain",
        "cluster.local",
        "--config",
        &config,
        "--listen",
        CONTROL,
        "--mesh-cidr",
        "10.78.0.0/24,fd78::/64",
    ];
    let control = lab.start("hub", &run);
    control.says_more(1);
    control
}
