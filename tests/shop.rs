//! The first thing that a newcomer does: a call that is allowed, and one that is not.

use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{Mesh, allow, below, signal, stdout, wait_until};

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

/// A container's first process is not ended by a signal that it does not handle.
#[test]
#[ignore = "needs root"]
fn the_shops_programs_end_at_once_as_the_first_processes_of_containers() {
    let port = free_port();
    let (listen, target) = (
        format!("127.0.0.1:{port}"),
        format!("db://127.0.0.1:{port}"),
    );
    let http = ["http", "--listen", &listen];
    for (program, signal_name) in [
        (&http[..], "TERM"),
        (&http, "INT"),
        (&["db", "--listen", &listen], "TERM"),
        (&["traffic", &target], "TERM"),
        (&["wait"], "TERM"),
    ] {
        let mut unshare = Command::new("unshare")
            .args(["--pid", "--fork", "--kill-child"])
            .args([env!("CARGO_BIN_EXE_palisade"), "demo"])
            .args(program)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let first = wait_until("a program that handles signals", || {
            let first = *below(unshare.id()).get(1)?;
            handles_both(first).then_some(first)
        });
        // Somebody who is connected and silent holds it up no longer.
        let _silent = program
            .contains(&listen.as_str())
            .then(|| wait_until("a server that listens", || TcpStream::connect(&listen).ok()));
        let asked = Instant::now();
        signal(first, signal_name);
        let status = unshare.wait().unwrap();
        let took = asked.elapsed();
        println!("{program:?}: {status}, {took:?} after SIG{signal_name}");
        assert!(
            status.success() && took < AT_ONCE,
            "{program:?}: {status}, {took:?}"
        );
    }
}

fn handles_both(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & BOTH == BOTH)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// SIGINT and SIGTERM, as /proc has them.
const BOTH: u64 = (1 << 1) | (1 << 14);
/// What a kubelet waits for without complaint; its own patience is 30 s.
const AT_ONCE: Duration = Duration::from_secs(2);
