//! The API server forgets what control had read, while control hears nothing of it: the answer to its watches is 410.

use crate::harness::{BOUND, Cluster, Mesh, stdout, wait_for};
use crate::load::Load;
use crate::outage::{NAMES, Stopped, words};

#[test]
fn control_learns_what_changed_although_its_place_in_the_history_is_forgotten() {
    let mesh = Mesh::alone();
    let load = Load::start(&mesh, "compacted");
    let pods = "{range .items[*]}{.metadata.uid}/{.status.containerStatuses[0].restartCount} {end}";
    let before = words(&mesh, "control", pods);
    let forgotten = forgotten(&mesh);
    load.unbroken("a history that is forgotten", || {
        let deaf = Deaf::new(&mesh);
        // The end of the server is the end of the watches that are open.
        restart(mesh.cluster());
        wait_for("a rule that is taken", BOUND, || {
            load.try_admit(mesh.cluster()).then_some(())
        });
        compact(mesh.cluster());
        // It has what it remembers in memory, too.
        restart(mesh.cluster());
        assert!(!load.outsider_gets_in(), "nobody has told control");
        drop(deaf);
        let took = load.until_outsider(true);
        println!("the rule is enforced {took:.1?} after control hears again");
        load.refuse();
        load.until_outsider(false);
    });
    for (before, after) in forgotten.into_iter().zip(self::forgotten(&mesh)) {
        assert!(after > before, "a watch of each replica was answered 410");
    }
    mesh.ready();
    assert_eq!(
        words(&mesh, "control", pods),
        before,
        "the same, and not restarted"
    );
}

/// By replica: how often it said that its place in the rules' history was forgotten.
fn forgotten(mesh: &Mesh) -> Vec<usize> {
    let count = |pod: String| {
        let log = stdout(&mesh.system(&["logs", &pod]));
        let rules = log
            .lines()
            .filter(|line| line.contains(r#""AuthorizationPolicy""#));
        rules
            .filter(|line| line.contains("too old resource version"))
            .count()
    };
    words(mesh, "control", NAMES)
        .into_iter()
        .map(count)
        .collect()
}

/// Forgets every revision but the last.
fn compact(cluster: &Cluster) {
    let asked = |path: &str, body: &str| {
        let url = format!("http://127.0.0.1:2379/v3/kv/{path}");
        let answer = cluster.run(&["exec", "curl", "-sS", "--fail", &url, "-d", body]);
        serde_json::from_str::<serde_json::Value>(&stdout(&answer)).unwrap()
    };
    // The key is "none".
    let now = asked("range", r#"{"key": "bm9uZQ=="}"#);
    let revision = now["header"]["revision"].as_str().unwrap();
    asked(
        "compaction",
        &format!(r#"{{"revision": "{revision}", "physical": true}}"#),
    );
}

fn restart(cluster: &'static Cluster) {
    drop(Stopped::stop(cluster, "kube-apiserver"));
    wait_for("the API server", BOUND, || {
        let ready = cluster.kubectl(&["get", "--raw", "/readyz"]);
        ready.status.success().then_some(())
    });
}

/// Control's pods do not reach the API server, until this is dropped.
struct Deaf(&'static Cluster);

impl Deaf {
    fn new(mesh: &Mesh) -> Self {
        let addrs = words(mesh, "control", "{.items[*].status.podIP}").join(", ");
        let deaf = Self(mesh.cluster());
        for node in NODES {
            let rules = format!(
                "table ip deaf {{ chain forward {{ type filter hook forward priority 0; \
                 ip saddr {{ {addrs} }} tcp dport 6443 reject with tcp reset; }}; }}"
            );
            stdout(&deaf.0.run(&["on", node, "nft", &rules]));
        }
        deaf
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        for node in NODES {
            self.0.run(&["on", node, "nft", "delete table ip deaf"]);
        }
    }
}

const NODES: [&str; 2] = ["node1", "node2"];
