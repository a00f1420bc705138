//! What crosses between the pods, as somebody on the link sees it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{TALK, assert_carried, client, is_between, listening, run, server};
use crate::harness::{Mesh, allow, signal, stdout, wait_until};

/// Said by the client to an echo: on the link it crosses in both directions.
const CANARY: &str = "canary-2f6d1c-that-nobody-else-says";
/// Said by the server only.
const GREETING: &str = "220 mail.shop ESMTP";

#[test]
#[ignore = "needs root, python3, tcpdump"]
fn plaintext_never_crosses_between_meshed_pods() {
    let mesh = Mesh::up(&pods(true), &allow("server", "client"));
    let wire = talk_and_listen(&mesh);
    assert!(
        contains(&wire, "palisade/1"),
        "the mesh handshake was captured"
    );
    for said in [CANARY, GREETING] {
        assert!(!contains(&wire, said), "{said} crossed in clear");
    }
    for family in ["10.111.", "fd70::"] {
        let is_of = |r: &serde_json::Value, port| {
            let addr = r["dst.addr"].as_str().unwrap_or_default();
            is_between(r, "client-0", "server-0", port)
                && addr.trim_start_matches('[').starts_with(family)
        };
        let said = CANARY.len() as u64;
        assert_carried(&mesh.both_sides("close", |r| is_of(r, 7001)), said, said);
        mesh.both_sides("close", |r| is_of(r, 7004));
    }
}

#[test]
#[ignore = "needs root, python3, tcpdump"]
fn the_same_capture_sees_the_plaintext_of_pods_without_a_mesh() {
    let mesh = Mesh::up(&pods(false), &allow("server", "client"));
    let wire = talk_and_listen(&mesh);
    assert!(!contains(&wire, "palisade/1"));
    for said in [CANARY, GREETING] {
        // In either direction and family.
        assert!(contains(&wire, said), "{said} was not captured");
    }
    // Over either family, in either direction.
    assert!(count(&wire, CANARY) >= 4, "{}", count(&wire, CANARY));
    assert!(mesh.records().is_empty());
}

fn pods(meshed: bool) -> String {
    let meshed = format!("meshed: {meshed},");
    format!("{}{}", client(&meshed), server("server", &meshed))
}

/// Talks over both families, with words in both directions, and gives all that was seen on the link.
fn talk_and_listen(mesh: &Mesh) -> Vec<u8> {
    listening(mesh, "server", 7008);
    let capture = Capture::of(mesh, "server-0");
    for family in ["v4", "v6"] {
        let length = CANARY.len().to_string();
        let answer = run(
            mesh,
            "client",
            TALK,
            &["server", "7001", CANARY, &length, family],
        );
        assert_eq!(stdout(&answer).trim(), CANARY);
        let length = GREETING.len().to_string();
        let answer = run(
            mesh,
            "client",
            TALK,
            &["server", "7004", "", &length, family],
        );
        assert_eq!(stdout(&answer).trim(), GREETING);
    }
    capture.end(mesh)
}

/// A raw capture of all that a pod's link carries.
struct Capture {
    tcpdump: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Capture {
    fn of(mesh: &Mesh, name: &str) -> Self {
        let pods = mesh.ps();
        let pod = pods
            .iter()
            .find(|pod| pod["name"] == name)
            .expect("it runs");
        let mut tcpdump = Command::new("nsenter")
            .args(["-t", &pod["pids"]["pod"].to_string(), "-n"])
            .args([
                "tcpdump",
                "-i",
                "eth0",
                "-s",
                "0",
                "-U",
                "--immediate-mode",
                "-w",
                "-",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let mut says = BufReader::new(tcpdump.stderr.take().expect("stderr is piped")).lines();
        let begun = says.find(|line| {
            line.as_ref()
                .is_ok_and(|line| line.contains("listening on"))
        });
        assert!(begun.is_some(), "tcpdump did not begin");
        let mut stdout = tcpdump.stdout.take().expect("stdout is piped");
        let seen = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let seen = Arc::clone(&seen);
            move || {
                let mut chunk = [0; 65_536];
                while let Ok(length @ 1..) = stdout.read(&mut chunk) {
                    seen.lock().unwrap().extend_from_slice(&chunk[..length]);
                }
            }
        });
        Self { tcpdump, seen }
    }

    /// All that was seen, up to a datagram that is sent now: what is not TCP is not the mesh's.
    fn end(mut self, mesh: &Mesh) -> Vec<u8> {
        let marker = "import socket, sys\n\
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
            s.sendto(b'end-of-capture', (sys.argv[1], 9))";
        let pods = mesh.ps();
        let server = pods
            .iter()
            .find(|pod| pod["name"] == "server-0")
            .expect("it runs");
        let address = server["addresses"][0].as_str().expect("it has one");
        let seen = wait_until("the capture to see the last packet", || {
            stdout(&run(mesh, "client", marker, &[address]));
            let seen = self.seen.lock().unwrap();
            contains(&seen, "end-of-capture").then(|| seen.clone())
        });
        signal(self.tcpdump.id(), "INT");
        self.tcpdump.wait().expect("tcpdump ends");
        seen
    }
}

fn contains(wire: &[u8], text: &str) -> bool {
    count(wire, text) > 0
}

fn count(wire: &[u8], text: &str) -> usize {
    wire.windows(text.len())
        .filter(|window| *window == text.as_bytes())
        .count()
}
