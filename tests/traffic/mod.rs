//! Applications talk as if there were no mesh: every way to begin, to use and to end a connection.

mod addresses;
mod ends;
mod volume;
mod wire;

use std::process::Output;

use serde_json::Value;

use crate::harness::{BOUND, Mesh, allow, text, wait_until};

/// Debian's own: the first in the `PATH` may be one that only its owner can run.
pub(crate) const PYTHON: &str = "/usr/bin/python3";

const SERVER: &str = include_str!("programs/server.py");
const TALK: &str = include_str!("programs/talk.py");
const PORTS: &str = "7001, 7002, 7003, 7004, 7005, 7006, 7007, 7008, 7999";

/// A workload that runs the server; `more` are other fields of it.
fn server(name: &str, more: &str) -> String {
    format!(
        "- {{name: {name}, namespace: shop, ports: [{PORTS}], {more} command: {}}}\n",
        python_command(SERVER)
    )
}

/// A workload in which programs are run.
pub(crate) fn client(more: &str) -> String {
    format!("- {{name: client, namespace: shop, {more} command: [sleep, infinity]}}\n")
}

/// A Python program as the command of a workload.
pub(crate) fn python_command(program: &str) -> String {
    serde_json::to_string(&[PYTHON, "-c", program]).expect("texts are JSON")
}

/// A client that may call a server, and a server that listens.
fn client_and_server() -> Mesh {
    let workloads = format!("{}{}", client(""), server("server", ""));
    let mesh = Mesh::up(&workloads, &allow("server", "client"));
    listening(&mesh, "server", 7008);
    mesh
}

/// Runs a Python program with arguments in a pod.
pub(crate) fn run(mesh: &Mesh, workload: &str, program: &str, arguments: &[&str]) -> Output {
    mesh.exec(workload, &[&[PYTHON, "-c", program], arguments].concat())
}

/// Waits until something in a pod listens on a port. Nothing is sent to it.
pub(crate) fn listening(mesh: &Mesh, workload: &str, port: u16) {
    let listens = format!(":{port:04X} ");
    wait_until("the server to listen", || {
        let sockets = mesh.exec(workload, &["cat", "/proc/net/tcp", "/proc/net/tcp6"]);
        text(&sockets.stdout)
            .lines()
            .any(|line| {
                let fields: Vec<_> = line.split_whitespace().collect();
                matches!(fields[..], [_, local, _, LISTENS, ..] if format!("{local} ").ends_with(&listens))
            })
            .then_some(())
    });
}

const LISTENS: &str = "0A";

/// Both sides' ends of connections from one workload to a port of another.
pub(crate) fn ends(mesh: &Mesh, from: &str, to: &str, port: u16) -> (Value, Value) {
    mesh.both_sides("close", |r| is_between(r, from, to, port))
}

/// Whether a record is of a connection between two workloads.
pub(crate) fn is_between(record: &Value, from: &str, to: &str, port: u16) -> bool {
    record["src.workload"] == from && record["dst.workload"] == to && record["dst.port"] == port
}

/// That both sides counted what was sent.
pub(crate) fn assert_carried((outbound, inbound): &(Value, Value), sent: u64, received: u64) {
    for record in [outbound, inbound] {
        assert_eq!(record["bytes_sent"], sent, "{record}");
        assert_eq!(record["bytes_recv"], received, "{record}");
        assert!(record.get("error").is_none(), "{record}");
    }
    assert_eq!(outbound["conn.id"], inbound["conn.id"]);
    assert_eq!(inbound["policy.decision"], "allow");
}

/// Waits until so many records fit.
fn wait_for_records(mesh: &Mesh, count: usize, fits: impl Fn(&Value) -> bool) {
    let mut seen = 0;
    let started = tokio::time::Instant::now();
    while seen < count && started.elapsed() < BOUND {
        std::thread::park_timeout(std::time::Duration::from_millis(50));
        seen = mesh.count(&fits);
    }
    assert_eq!(seen, count, "of the records");
}
