//! `palisade ps` and `palisade exec`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{idle, lost, palisade_under};
use crate::example::{SHOP, Shop, json_lines};
use crate::harness::{BOUND, Mesh, Namespace, stdout, text, wait_or_say};

#[test]
fn ps_tells_who_each_pod_is_where_it_is_and_how_it_is() {
    let mesh = Mesh::shared();
    Shop::open(&mesh);
    let said = stdout(&mesh.palisade(&["ps", "-n", SHOP, "-o", "json"]));
    for (workload, replicas) in [
        ("web", 1),
        ("orders", 2),
        ("db", 1),
        ("batch", 1),
        ("intruder", 1),
    ] {
        let identity = format!("spiffe://cluster.local/ns/shop/sa/{workload}");
        let pods = json_lines(&said);
        let pods = pods.iter().filter(|pod| pod["spiffe_id"] == *identity);
        // One that another test restarts is there twice for a while.
        let ready: Vec<_> = pods.filter(|pod| pod["state"] == "ready").collect();
        assert!(ready.len() >= replicas, "{workload}: {said}");
        for pod in ready {
            let name = pod["workload"].as_str().unwrap();
            assert!(name.starts_with(&format!("shop/{workload}-")), "{name}");
            assert!(pod["node"].as_str().unwrap().starts_with("node"), "{pod}");
            assert_eq!(pod["addresses"].as_array().unwrap().len(), 2, "{pod}");
            assert_eq!(pod["meshed"], true);
        }
    }
    let table = stdout(&mesh.palisade(&["ps", "-n", SHOP, "-o", "text"]));
    let heading: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    let columns = "WORKLOAD SPIFFE ID ADDRESSES NODE RESTARTS STATE";
    assert_eq!(heading.join(" "), columns);
}

#[test]
fn ps_asks_a_sidecar_that_is_not_ready_why() {
    let mesh = Mesh::shared();
    let namespace = mesh.cluster().namespace("lost");
    lost(&namespace);
    // Before its first attempt it has no cause to name.
    let reason = wait_or_say("the sidecar's reason", BOUND, || {
        let said = stdout(&mesh.palisade(&["ps", "-n", namespace.name(), "-o", "json"]));
        let pods = json_lines(&said);
        let pod = pods.first().ok_or_else(|| "no pod".to_owned())?;
        let reason = pod["reason"].as_str().unwrap_or_default();
        let is_told = pod["state"] == "not_ready" && reason.contains("the trust anchor ");
        is_told.then(|| reason.to_owned()).ok_or(said)
    });
    println!("not ready: {reason}");
    assert!(
        reason.starts_with("svid: no SVID was issued yet: "),
        "{reason}"
    );
    // What it logs stands among records, and is for no terminal.
    let log = stdout(&namespace.kubectl(&["logs", "lost", "-c", "palisade-proxy"]));
    assert!(log.contains("no SVID was issued; trying again"), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
}

#[test]
fn exec_runs_in_the_workloads_own_container_and_ends_as_its_command_does() {
    let mesh = Mesh::shared();
    let namespace = mesh.namespace("exec");
    idle(&namespace, "box", "{}");
    let exec = |command: &[&str]| {
        let exec = ["exec", "-n", namespace.name(), "box", "--"];
        mesh.palisade(&[&exec, command].concat())
    };
    let failed = exec(&["sh", "-c", "echo said; echo complained >&2; exit 7"]);
    assert_eq!(failed.status.code(), Some(7));
    assert_eq!(text(&failed.stdout), "said\n");
    assert_eq!(text(&failed.stderr), "complained\n");
    let unknown = exec(&["no-such-program"]);
    assert!(!unknown.status.success());
    assert!(!unknown.stderr.is_empty());
    stdin_and_terminal(&mesh, &namespace);
}

fn stdin_and_terminal(mesh: &Mesh, namespace: &Namespace) {
    let palisade = env!("CARGO_BIN_EXE_palisade");
    let in_box = [palisade, "exec", "-n", namespace.name(), "box", "--"];
    let cat = [&["exec"], &in_box[..], &["sh", "-c", "cat; echo end"]].concat();
    let given = "what is typed\n".repeat(10_000);
    let said = stdout(&mesh.cluster().fed(&cat, &given));
    assert!(said == format!("{given}end\n"), "{} bytes", said.len());
    let line = format!("{} sh -c 'tty; exit 3'", in_box.join(" "));
    let typed = ["exec", "script", "-qec", &line, "/dev/null"];
    let terminal = mesh.cluster().run(&typed);
    assert_eq!(terminal.status.code(), Some(3), "{terminal:?}");
    assert!(text(&terminal.stdout).contains("/dev/pts/"), "{terminal:?}");
}

#[test]
fn exec_calls_as_its_workload_and_is_judged_as_it() {
    let mesh = Mesh::shared();
    Shop::open(&mesh);
    let call = |workload: &str| {
        let traffic = ["/palisade", "demo", "traffic", "--count", "1"];
        let exec = ["exec", "-n", SHOP, workload, "--"];
        let command = [&exec[..], &traffic, &["http://orders:8080/"]].concat();
        palisade_under(&mesh, &[], &command).status.code()
    };
    assert_eq!(call("web"), Some(0));
    assert_eq!(call("intruder"), Some(1));
    // Another container by name; the sidecar has our two programs, and no shell.
    for (program, name) in [
        ("/palisade-proxy", "palisade-proxy "),
        ("/palisade", "palisade "),
    ] {
        let version = ["exec", "-n", SHOP, "-c", "palisade-proxy", "db", "--"];
        let version = [&version[..], &[program, "--version"]].concat();
        let said = stdout(&mesh.palisade(&version));
        assert!(said.starts_with(name), "{said}");
    }
}

#[test]
fn ps_of_all_namespaces_has_no_pod_twice() {
    let mesh = Mesh::shared();
    Shop::open(&mesh);
    let pods: Vec<Value> = json_lines(&stdout(&mesh.palisade(&["ps", "-A", "-o", "json"])));
    let names: BTreeSet<String> = pods.iter().map(|pod| pod["workload"].to_string()).collect();
    assert_eq!(names.len(), pods.len());
    assert!(
        names.iter().any(|name| name.starts_with("\"shop/web-")),
        "{names:?}"
    );
}
