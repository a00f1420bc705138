//! SVIDs that end soon: traffic goes on over their renewals, and nothing outlives them.

use std::collections::BTreeSet;
use std::thread;

use serde_json::Value;
use time::Duration;

use crate::harness::{Mesh, allow, at, signal, stdout, wait_until};

const SPEC: &str = r#"
  svidTtl: 10s
  workloads:
  - {name: orders, namespace: shop, command: [palisade, demo, http], ports: [8080]}
  - {name: db, namespace: shop, command: [palisade, demo, db], ports: [5432]}
  - {name: web, namespace: shop, command: [palisade, demo, wait]}
  - {name: batch, namespace: shop, command: [palisade, demo, wait]}
  - {name: outsider, namespace: shop, command: [palisade, demo, wait], meshed: false}
"#;
const ORDERS: &str = "http://orders:8080/";
const DB: &str = "db://db:5432";

/// A record may wait half a second for the name of its source.
const RECORD_PATIENCE: Duration = Duration::milliseconds(600);

fn rules() -> String {
    ["web", "batch"]
        .map(|caller| allow("orders", caller) + &allow("db", caller))
        .concat()
}

fn failed(line: &str) -> bool {
    line.contains("failed")
}

#[test]
fn over_a_minute_of_svids_that_live_ten_seconds_no_new_connection_fails_and_none_outlives_them() {
    let mesh = Mesh::with_spec(SPEC, &rules());
    mesh.answers("web", &[ORDERS, DB]);
    let long = mesh.calling("web", &[DB, "--keep", "--every", "100ms"]);
    thread::scope(|scope| {
        for caller in ["web", "web", "batch"] {
            // Each call is on a connection of its own, and the program fails where one of them fails.
            let arguments = [ORDERS, DB, "--count", "1000", "--every", "60ms"];
            scope.spawn({
                let mesh = &mesh;
                move || stdout(&mesh.call(caller, &arguments))
            });
        }
    });

    let lines = long.lines();
    let ends = long.failures();
    assert!(ends >= 4, "a connection of a minute ended {ends} times");
    let reopened_at_once = lines
        .windows(2)
        .all(|pair| !(failed(&pair[0]) && failed(&pair[1])));
    assert!(reopened_at_once, "{lines:?}");

    let records = mesh.records();
    for direction in ["inbound", "outbound"] {
        let expired = |r: &&Value| {
            r["close.by"] == "expiry" && r["direction"] == direction && r["event"] == "close"
        };
        assert!(
            records.iter().filter(expired).count() >= ends,
            "{direction}"
        );
    }
    let latest = assert_none_outlived(&records);
    eprintln!("the last record of a connection: {latest} after its peer's SVID ended");
    let serials: BTreeSet<_> = records
        .iter()
        .filter(|r| r["direction"] == "inbound" && r["src.workload"] == "web-0")
        .filter_map(|r| r["tls.peer_serial"].as_str())
        .collect();
    // Renewed at half-life, for a minute.
    assert!((8..30).contains(&serials.len()), "{serials:?}");
}

/// Asserts it, and says how late the last word of a connection came.
fn assert_none_outlived(records: &[Value]) -> Duration {
    let mut latest = Duration::MIN;
    for record in records
        .iter()
        .filter(|r| r.get("tls.peer_not_after").is_some())
    {
        let beyond = at(record, "time") - at(record, "tls.peer_not_after");
        assert!(beyond < RECORD_PATIENCE, "{record}");
        latest = latest.max(beyond);
    }
    latest
}

#[test]
fn without_control_for_longer_than_an_svid_lives_all_is_refused_until_it_is_back() {
    let mesh = Mesh::with_spec(SPEC, &rules());
    mesh.answers("web", &[ORDERS, DB]);
    let long = mesh.calling("web", &[DB, "--keep", "--every", "50ms"]);
    long.says_more(3);
    stdout(&mesh.call_once("batch", ORDERS));
    let control = mesh.control_pid();
    // Stopped, not killed: its supervisor would start another at once.
    signal(control, "STOP");

    let (outbound, inbound) = mesh.both_sides("close", |r| r["close.by"] == "expiry");
    assert_eq!(inbound["close.by"], "expiry");
    assert_none_outlived(&[outbound, inbound]);

    // Each pod finds its own SVID's end: the calls below are refused by
    // readiness only where their two pods have found it.
    for pod in ["web-0", "batch-0", "orders-0", "db-0"] {
        let status = mesh.wait_for_state(pod, "not_ready");
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("svid: the SVID has expired"), "{reason}");
    }
    assert!(!mesh.call_once("batch", ORDERS).status.success());
    let record = mesh.record("an outbound refusal", |r| {
        is_refusal(r) && r["direction"] == "outbound" && r["workload"] == "shop/batch-0"
    });
    assert_refused(&record);
    assert!(!mesh.call_once("outsider", ORDERS).status.success());
    let record = mesh.record("an inbound refusal", |r| {
        is_refusal(r) && r["direction"] == "inbound" && r["workload"] == "shop/orders-0"
    });
    assert_refused(&record);

    signal(control, "CONT");
    for pod in ["web-0", "batch-0", "orders-0", "db-0"] {
        mesh.wait_for_state(pod, "ready");
    }
    wait_until("calls to succeed again", || {
        let answer = mesh.call("batch", &[ORDERS, DB, "--count", "1"]);
        answer.status.success().then_some(())
    });
    let before = long.failures();
    long.says_more(5);
    assert_eq!(long.failures(), before);
}

/// Before there is a connection to authorize, or by the authorization.
fn is_refusal(record: &Value) -> bool {
    matches!(record["event"].as_str(), Some("denied" | "tls_failed"))
}

/// By what is known of the SVID, or by the readiness that follows from it.
fn assert_refused(record: &Value) {
    let error = record["error"].as_str();
    assert!(matches!(error, Some("no_svid" | "not_ready")), "{record}");
}
