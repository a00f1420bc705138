//! Proxies that are killed, told to end, and asked how they are.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::{DB, ORDERS, SHOP, rules};
use crate::harness::{Mesh, at, signal, stdout, text, wait_until};

/// The proxy's own pages, as its pod sees them.
fn page(mesh: &Mesh, workload: &str, port: u16, page: &str) -> String {
    let answer = mesh.call_once(workload, &format!("http://127.0.0.1:{port}/{page}"));
    text(&answer.stdout)
}

#[test]
fn metrics_have_the_names_that_were_promised_and_count_what_happened() {
    let mesh = Mesh::with_spec(SHOP, &rules());
    mesh.answers("web", &[ORDERS, DB]);
    stdout(&mesh.call("web", &[ORDERS, DB, "--count", "3"]));
    assert!(!mesh.call_once("batch", ORDERS).status.success());
    mesh.both_sides("denied", |r| r["src.workload"] == "batch-0");
    let web = page(&mesh, "web", 15020, "metrics");
    let orders = page(&mesh, "orders", 15020, "metrics");
    assert!(web.contains("200 OK"), "{web}");
    for name in [
        "connections_opened_total",
        "connections_closed_total{by=",
        "connections_open",
        "bytes_total{",
        "streams_total{reused=",
        "handshakes_total{",
        "handshake_seconds_bucket{",
        "policy_revision",
        "svid_expiration_timestamp_seconds",
        "pool_connections{state=",
        "records_dropped_total",
    ] {
        assert!(
            web.contains(&format!("\npalisade_{name}")),
            "no {name} in\n{web}"
        );
    }
    for name in ["decisions_total{", "connections_terminated_total{reason="] {
        assert!(
            orders.contains(&format!("\npalisade_{name}")),
            "no {name} in\n{orders}"
        );
    }
    // Datagrams are counted where there were some.
    assert!(web.contains("# TYPE palisade_bypass_packets"), "{web}");
    for (page, start, labels, least) in [
        (&web, "connections_opened_total", "", 6.0),
        (&web, "connections_closed_total", "by=\"", 6.0),
        (&web, "streams_total", "reused=\"", 6.0),
        (&web, "bytes_total", "direction=\"outbound\"", 6.0),
        (&web, "handshakes_total", "X25519MLKEM768", 2.0),
        (&web, "policy_revision", "", 1.0),
        (&web, "svid_expiration_timestamp_seconds", "", 1.7e9),
        (
            &orders,
            "decisions_total",
            "shop/orders-from-web/web-calls-orders",
            3.0,
        ),
        (&orders, "decisions_total", "decision=\"deny\"", 1.0),
        (&orders, "connections_terminated_total", "no_rule", 1.0),
        (&orders, "bytes_total", "direction=\"inbound\"", 6.0),
    ] {
        let counted = sum(page, start, labels);
        assert!(counted >= least, "{start} {labels}: {counted} in\n{page}");
    }
}

/// The sum of a metric's lines that have these labels.
fn sum(page: &str, metric: &str, labels: &str) -> f64 {
    let metric = format!("palisade_{metric}");
    page.lines()
        .filter(|line| line.starts_with(&metric) && line.contains(labels))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum()
}

#[test]
fn a_proxy_told_to_end_drains_and_ends_the_rest_at_its_bound() {
    let bound = 3;
    let variables = [("PALISADE_DRAIN_TIMEOUT", "3s")];
    let mesh = Mesh::with_environment(SHOP, &rules(), &variables);
    mesh.answers("web", &[DB]);
    let stays = mesh.calling("web", &[DB, "--keep", "--every", "50ms"]);
    stays.says_more(3);
    // Lives for about a second and a half, then ends by itself.
    let finishes = mesh.calling("web", &[DB, "--keep", "--every", "50ms", "--count", "30"]);
    finishes.says_more(3);
    let proxy = mesh.pid_of("db-0", "proxy");
    let told = time::OffsetDateTime::now_utc();
    signal(proxy, "TERM");

    let new = mesh.call("web", &[DB, "--count", "1"]);
    assert!(!new.status.success(), "{}", text(&new.stdout));
    let refused = mesh.record("the refusal of a new one", |r| {
        r["event"] == "denied" && r["direction"] == "inbound"
    });
    assert_eq!(refused["error"], "draining");
    let ready = page(&mesh, "db", 15021, "ready");
    assert!(
        ready.contains("503") && ready.contains("running: the proxy is stopping"),
        "{ready}"
    );
    let (_, finished) = mesh.both_sides("close", |r| {
        r["close.by"] == "client" && r["duration_ms"].as_u64() > Some(1000)
    });
    assert_eq!(finished["dst.workload"], "db-0");
    assert_eq!(finishes.failures(), 0);
    let (outbound, inbound) = mesh.both_sides("close", |r| r["close.by"] == "drain");
    assert_eq!(inbound["close.by"], "drain");
    for record in [&outbound, &inbound] {
        let after = (at(record, "time") - told).as_seconds_f64();
        let bound = f64::from(bound);
        assert!((bound..bound + 1.0).contains(&after), "{after} s");
    }
    // Its supervisor starts another, and all comes back.
    wait_until("another proxy", || {
        (mesh.pid_of("db-0", "proxy") != proxy).then_some(())
    });
    mesh.wait_for_state("db-0", "ready");
    wait_until("calls to succeed again", || {
        let answer = mesh.call("web", &[DB, "--count", "1"]);
        answer.status.success().then_some(())
    });
}

const CANARY: &str = "canary-3f9a";

/// Everything on a pod's link, until it is read.
struct Capture {
    file: PathBuf,
    tcpdump: std::process::Child,
}

impl Capture {
    fn on(mesh: &Mesh, pod: &str) -> Self {
        let file = mesh.folder().join(format!("{pod}.pcap"));
        let pid = mesh.pid_of(pod, "pod").to_string();
        let tcpdump = Command::new("nsenter")
            .args([
                "-t",
                &pid,
                "-n",
                "tcpdump",
                "-i",
                "eth0",
                "-U",
                "--immediate-mode",
                "-w",
            ])
            .arg(&file)
            .args(["-Z", "root"])
            .stderr(Stdio::null())
            .spawn()
            .expect("nsenter runs");
        // Its header is written once it listens.
        wait_until("tcpdump to listen", || {
            fs::metadata(&file).is_ok_and(|m| m.len() > 0).then_some(())
        });
        Self { file, tcpdump }
    }

    /// Whether the canary crossed, and that anything did.
    fn has_canary(mut self) -> bool {
        signal(self.tcpdump.id(), "INT");
        self.tcpdump.wait().expect("tcpdump ends");
        let seen = fs::read(&self.file).unwrap();
        assert!(seen.len() > 1000, "the capture has {} bytes", seen.len());
        seen.windows(CANARY.len())
            .any(|part| part == CANARY.as_bytes())
    }
}

#[test]
#[ignore = "needs root, nsenter and tcpdump"]
fn a_proxy_that_is_killed_leaves_its_pod_refused_and_never_in_clear_until_it_is_back() {
    let plain =
        "  - {name: plain, namespace: shop, command: [palisade, demo, http], meshed: false}\n";
    // db is reached without identity too, so that nothing but the dead proxy stands in the way.
    let plaintext = "  - {name: plaintext, effect: allow, from: [{unauthenticated: {cidr: 10.111.0.0/16}}, {unauthenticated: {cidr: \"fd70::/64\"}}]}\n";
    let open = rules() + plaintext;
    let mesh = Mesh::with_spec(&format!("{SHOP}{plain}"), &open);
    let capture = Capture::on(&mesh, "web-0");
    let unmeshed = Capture::on(&mesh, "outsider-0");

    // By the pod's own address, which would answer whoever got there.
    let target = format!("http://orders-0:8080/{CANARY}");
    let web = mesh.calling("web", &[&target, "--every", "5ms"]);
    for _ in 0..3 {
        web.says_more(3);
        let before = web.failures();
        let killed = mesh.pid_of("web-0", "proxy");
        signal(killed, "KILL");
        wait_until("calls to be refused", || {
            (web.failures() > before).then_some(())
        });
        wait_until("another proxy", || {
            (mesh.pid_of("web-0", "proxy") != killed).then_some(())
        });
        wait_until("calls to succeed again", || {
            web.lines().pop()?.contains("200 OK").then_some(())
        });
    }
    drop(web);
    assert!(!capture.has_canary(), "it crossed in clear");

    // The same for what comes in.
    let db = mesh.calling("outsider", &["db://db-0:5432", "--every", "5ms"]);
    wait_until("plaintext to be let in by its rule", || {
        db.lines().pop()?.contains("keys").then_some(())
    });
    let before = db.failures();
    let killed = mesh.pid_of("db-0", "proxy");
    signal(killed, "KILL");
    wait_until("calls to be refused", || {
        (db.failures() > before).then_some(())
    });
    wait_until("another proxy", || {
        (mesh.pid_of("db-0", "proxy") != killed).then_some(())
    });
    wait_until("calls to succeed again", || {
        db.lines().pop()?.contains("keys").then_some(())
    });
    drop(db);

    // The capture does see what is in clear.
    stdout(&mesh.call_once("outsider", &format!("http://plain-0:8080/{CANARY}")));
    assert!(unmeshed.has_canary(), "the capture sees nothing");
}
