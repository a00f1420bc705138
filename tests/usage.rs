//! What is counted of connections, and how that outlives who counts it.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Mesh, signal, stdout, wait_until};

const ORDERS: &str = "http://orders:8080/";

const CALLERS: &str = r#"
- {name: orders, namespace: shop, command: [palisade, demo, http, --listen, "[::]:8080"], ports: [8080]}
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- {name: stranger, namespace: shop, command: [palisade, demo, wait]}
- {name: watched, namespace: shop, command: [palisade, demo, wait]}
- {name: outsider, namespace: shop, command: [palisade, demo, wait], meshed: false}
"#;

const RULES: &str = r#"
apiVersion: palisade.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders, namespace: shop}
spec:
  target: {labels: {app: orders}}
  rules:
  - {name: for-a-while, effect: allow, from: [{serviceAccount: shop/web}], expires: 2099-01-01T00:00:00Z, reason: "INC-1\e[31m"}
  - {name: callers, effect: allow, from: [{serviceAccount: shop/watched}]}
  - {name: to-be-denied, effect: deny, from: [{serviceAccount: shop/watched}], mode: shadow}
  - {name: never-used, effect: allow, from: [{serviceAccount: shop/nobody}], ports: [9000-9010]}
"#;

#[test]
fn who_reached_whom_is_counted_and_outlives_proxy_and_control() {
    let mesh = Mesh::up(CALLERS, RULES);
    mesh.answers("web", &[ORDERS]);
    // By one address: whoever is reset while it connects by name tries the next one.
    let orders = mesh.pod("orders-0")["addresses"][0].clone();
    let orders = format!("http://{}:8080/", orders.as_str().unwrap());
    for (caller, succeeds) in [
        ("watched", true),
        ("stranger", false),
        ("stranger", false),
        ("outsider", false),
    ] {
        let called = mesh.call_once(caller, &orders);
        assert_eq!(called.status.success(), succeeds, "{caller}");
    }
    let seen = wait_until("the calls to be counted", || {
        let seen = Seen::of(&mesh);
        (seen.by("outsider").is_some() && seen.by("stranger").is_some()).then_some(seen)
    });
    assert_edges(&seen);
    assert_rules(&seen);

    // The proxy that counted all this is gone, and the next one begins anew.
    let before = seen.by("web").unwrap()["count"].as_u64().unwrap();
    let proxy = mesh.pid_of("orders-0", "proxy");
    signal(proxy, "KILL");
    wait_until("another proxy", || {
        (mesh.pid_of("orders-0", "proxy") != proxy).then_some(())
    });
    let mut calls = 0;
    wait_until("the next proxy to let web in", || {
        let called = mesh.call_once("web", ORDERS);
        calls += u64::from(called.status.success());
        (calls > 0).then_some(())
    });
    sums_up_to(&mesh, before + calls);
    // One that is asked to end says at once what it would have said some seconds later.
    stdout(&mesh.call_once("web", ORDERS));
    calls += 1;
    signal(mesh.pid_of("orders-0", "proxy"), "TERM");
    sums_up_to(&mesh, before + calls);

    let control = mesh.control_pid();
    signal(control, "TERM");
    let kept = wait_until("another control to answer", || {
        (mesh.control_pid() != control)
            .then(|| Seen::asked(&mesh))
            .flatten()
    });
    assert_eq!(kept.by("web").unwrap()["count"], before + calls);
    assert_eq!(kept.by("stranger").unwrap()["count"], 2);
}

/// Waits until so many calls of web are known of.
fn sums_up_to(mesh: &Mesh, calls: u64) {
    wait_until(&format!("{calls} calls to be counted"), || {
        let count = Seen::of(mesh).by("web").unwrap()["count"].as_u64();
        (count == Some(calls)).then_some(())
    });
}

fn assert_edges(seen: &Seen) {
    for (caller, decided, rule) in [
        ("web", "allowed_by_rule", Some("shop/orders/for-a-while")),
        ("watched", "allowed_by_rule", Some("shop/orders/callers")),
        ("stranger", "denied_by_no_rule", None),
        ("outsider", "denied_by_no_rule", None),
    ] {
        let edge = seen.by(caller).unwrap();
        assert_eq!(edge["decided"], decided, "{edge}");
        assert_eq!(edge.get("rule").and_then(Value::as_str), rule, "{edge}");
        assert_eq!(edge["port"], 8080);
        assert!(edge["first"].as_i64() <= edge["last"].as_i64(), "{edge}");
    }
    assert_eq!(seen.by("stranger").unwrap()["count"], 2);
    let outsider = seen.by("outsider").unwrap();
    assert!(outsider.get("identity").is_none());
    let address = outsider["address"].as_str().unwrap();
    assert_eq!(
        seen.orders["callers"][address],
        serde_json::json!({"namespace": "shop", "name": "outsider-0", "service_account": "outsider"})
    );
    assert_eq!(
        seen.by("watched").unwrap()["shadow"],
        serde_json::json!({"effect": "deny", "rule": "shop/orders/to-be-denied"})
    );
}

fn assert_rules(seen: &Seen) {
    let rules = seen.orders["rules"].as_array().unwrap();
    let used = |name: &str| rules.iter().find(|rule| rule["rule"] == name);
    assert_eq!(used("shop/orders/callers").unwrap()["count"], 1);
    let shadow = used("shop/orders/to-be-denied").unwrap();
    assert_eq!(
        (&shadow["count"], &shadow["shadow_count"]),
        (&0.into(), &1.into())
    );
    assert_eq!(used("shop/orders/never-used"), None);
    let in_force = seen.whole["rules_in_force"].as_array().unwrap();
    let unused = in_force
        .iter()
        .find(|rule| rule["name"] == "shop/orders/never-used")
        .unwrap();
    assert_eq!(unused["ports"], serde_json::json!([[9000, 9010]]));
    assert_eq!(unused["from"][0]["serviceAccount"], "shop/nobody");
    assert_eq!(seen.orders["labels"]["app"], "orders");
    assert_eq!(seen.orders["service_account"], "orders");
}

/// What the command prints.
struct Seen {
    whole: Value,
    orders: Value,
    outsider: Vec<Value>,
}

impl Seen {
    fn of(mesh: &Mesh) -> Self {
        wait_until("the counts of orders", || Self::asked(mesh))
    }

    /// None while control does not answer, or knows nothing yet.
    fn asked(mesh: &Mesh) -> Option<Self> {
        let printed = mesh.palisade().args(["policy", "counters"]).output();
        let printed = printed.unwrap();
        if !printed.status.success() {
            return None;
        }
        let whole: Value = serde_json::from_str(&stdout(&printed)).unwrap();
        let mut workloads = whole["workloads"].as_array().unwrap().iter();
        let orders = workloads.find(|one| one["name"] == "orders-0")?.clone();
        let outsider = mesh.pod("outsider-0")["addresses"].as_array()?.clone();
        Some(Self {
            whole,
            orders,
            outsider,
        })
    }

    /// The one edge of a caller: by its address where it has no identity.
    fn by(&self, caller: &str) -> Option<&Value> {
        let identity = format!("spiffe://cluster.local/ns/shop/sa/{caller}");
        let is_it = |edge: &&Value| match edge.get("identity") {
            Some(found) => *found == identity.as_str(),
            None => caller == "outsider" && self.outsider.contains(&edge["address"]),
        };
        let edges: Vec<_> = self.orders["edges"]
            .as_array()
            .unwrap()
            .iter()
            .filter(is_it)
            .collect();
        assert!(edges.len() < 2, "{edges:?}");
        edges.first().copied()
    }
}

/// Whoever was not heard of may have been called.
#[test]
fn a_sidecar_that_nobody_calls_is_heard_of() {
    let mesh = Mesh::up(CALLERS, RULES);
    wait_until("a sidecar of which there is nothing to tell", || {
        let printed = mesh.palisade().args(["policy", "counters"]).output();
        let whole: Value = serde_json::from_slice(&printed.unwrap().stdout).ok()?;
        let mut workloads = whole["workloads"].as_array()?.iter();
        let stranger = workloads.find(|one| one["name"] == "stranger-0")?;
        assert_eq!(stranger["edges"], serde_json::json!([]));
        Some(())
    });
}

/// However long ago it began.
#[test]
fn a_connection_that_is_open_is_in_use_now() {
    let mesh = Mesh::up(CALLERS, RULES);
    mesh.answers("web", &[ORDERS]);
    let kept = mesh.calling("watched", &[ORDERS, "--keep", "--every", "1s"]);
    kept.says_more(2);
    let of = || Seen::of(&mesh).by("watched").cloned();
    let began = wait_until("the connection to be counted", of);
    let later = wait_until("it to be told again", || {
        of().filter(|edge| edge["last"].as_i64() > began["last"].as_i64())
    });
    assert_eq!(
        (&later["count"], &later["first"]),
        (&began["count"], &began["first"])
    );
    let age = later["last"].as_i64().unwrap() - later["first"].as_i64().unwrap();
    let told = mesh
        .palisade()
        .args(["policy", "readiness", "shop/orders", "-o", "json"])
        .args(["--since", &format!("{}s", age - 1)])
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&told.stdout).unwrap();
    let mut breaks = report["breaks"].as_array().unwrap().iter();
    assert!(breaks.any(|one| one["from"] == "shop/watched"), "{report}");
    assert_eq!(kept.failures(), 0);
}

/// What it began with may be gone.
#[test]
fn a_connection_that_stays_open_is_counted_and_recorded_by_the_rule_that_lets_it_in_now() {
    let mesh = Mesh::up(CALLERS, RULES);
    mesh.answers("web", &[ORDERS]);
    let kept = mesh.calling("watched", &[ORDERS, "--keep", "--every", "1s"]);
    kept.says_more(2);
    mesh.write_rules(&RULES.replace("name: callers", "name: readers"));
    let count_of = |name: &str| {
        let seen = Seen::of(&mesh);
        let mut rules = seen.orders["rules"].as_array().unwrap().iter();
        let rule = rules.find(|rule| rule["rule"] == name);
        rule.map(|rule| rule["count"].clone())
    };
    let count = wait_until("the other rule to be counted", || {
        count_of("shop/orders/readers")
    });
    assert_eq!(count, 1);
    assert_eq!(count_of("shop/orders/callers"), Some(1.into()));
    kept.says_more(2);
    assert_eq!(kept.failures(), 0);
    drop(kept);
    let close = mesh.record("its end", |r| {
        r["event"] == "close" && r["direction"] == "inbound" && r["src.workload"] == "watched-0"
    });
    assert_eq!(close["policy.rule"], "shop/orders/readers", "{close}");
}

#[test]
fn whom_a_rule_lets_in_for_a_while_is_marked_on_the_side_that_decides() {
    let mesh = Mesh::up(CALLERS, RULES);
    mesh.answers("web", &[ORDERS]);
    let (outbound, inbound) = mesh.both_sides("close", |r| r["src.workload"] == "web-0");
    assert_eq!(inbound["policy.rule"], "shop/orders/for-a-while");
    assert_eq!(inbound["policy.expires"], "2099-01-01T00:00:00.000Z");
    assert_eq!(inbound["policy.because"], "INC-1[31m");
    for key in ["policy.expires", "policy.because"] {
        assert!(outbound.get(key).is_none(), "{outbound}");
    }
    stdout(&mesh.call_once("watched", ORDERS));
    let (_, inbound) = mesh.both_sides("close", |r| r["src.workload"] == "watched-0");
    for key in ["policy.expires", "policy.because"] {
        assert!(inbound.get(key).is_none(), "{inbound}");
    }

    // It is let in no longer, and what is recorded of that says why it was.
    let calling = mesh.calling("web", &["--keep", "--every", "100ms", ORDERS]);
    mesh.record("an open connection", |r| {
        r["event"] == "open" && r["direction"] == "inbound" && r["policy.because"] == "INC-1[31m"
    });
    mesh.write_rules(&RULES.replace("2099", "2020"));
    let ended = mesh.record("its end", |r| {
        r["direction"] == "inbound" && r["close.by"] == "policy" && r["event"] == "close"
    });
    assert_eq!(ended["policy.because"], "INC-1[31m", "{ended}");
    drop(calling);
}

#[test]
fn control_shows_its_pages_to_its_own_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let mesh = Mesh::up(CALLERS, RULES);
    let socket = mesh.state().join("control.sock");
    let mode = Path::new(&socket).metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Nor does an application see it, which root may be.
    let seen = mesh.exec("web", &["ls", socket.to_str().unwrap()]);
    assert!(!seen.status.success());
}
