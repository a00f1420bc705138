//! Much data, many connections, and long ones.

use super::{allow, assert_carried, client, client_and_server, ends, listening, run, server};
use crate::harness::{Mesh, stdout, text};

const BULK: &str = include_str!("programs/bulk.py");
const MANY: &str = include_str!("programs/many.py");
const IDLE: &str = include_str!("programs/idle.py");
const WORD_BYTES: u64 = 16;

#[test]
#[ignore = "needs python3"]
fn a_gibibyte_each_way_arrives_as_it_was_sent() {
    let mesh = client_and_server();
    let seconds = stdout(&run(&mesh, "client", BULK, &["1024"]));
    println!(
        "1 GiB there and back, in seconds: {}",
        seconds.replace('\n', " ")
    );
    let answer = format!("{} {}\n", 1 << 30, "0".repeat(64)).len() as u64;
    assert_carried(&ends(&mesh, "client-0", "server-0", 7002), 1 << 30, answer);
    let question = "1024 2\n".len() as u64;
    assert_carried(
        &ends(&mesh, "client-0", "server-0", 7003),
        question,
        1 << 30,
    );
}

#[test]
#[ignore = "needs python3"]
fn of_20_000_short_connections_none_is_lost() {
    let mesh = client_and_server();
    let began = tokio::time::Instant::now();
    let output = run(&mesh, "client", MANY, &["short", "20000", "50"]);
    println!("20,000 short connections took {:.1?}", began.elapsed());
    assert_eq!(stdout(&output), "20000\n", "{}", text(&output.stderr));
    assert_all_recorded(&mesh, 20_000, WORD_BYTES);
}

#[test]
#[ignore = "needs python3"]
fn a_thousand_connections_at_once_are_all_alive() {
    let mesh = client_and_server();
    let output = run(&mesh, "client", MANY, &["at_once", "1000"]);
    assert_eq!(stdout(&output), "1000\n");
    assert_all_recorded(&mesh, 1000, 3 * WORD_BYTES);
}

#[test]
#[ignore = "needs python3, takes 100 seconds"]
fn a_connection_that_is_idle_for_longer_than_any_timeout_lives() {
    let workloads = format!(
        "{}{}{}",
        client(""),
        server("server", ""),
        server("other", "")
    );
    let rules = allow("server", "client") + &allow("other", "client");
    let mesh = Mesh::up(&workloads, &rules);
    listening(&mesh, "server", 7008);
    listening(&mesh, "other", 7008);
    stdout(&run(&mesh, "client", IDLE, &["100"]));
    for (port, sent) in [(7001, 5), (7001, 11), (7006, 7)] {
        let records = mesh.both_sides("close", |r| {
            super::is_between(r, "client-0", "server-0", port) && r["bytes_sent"] == sent
        });
        assert_carried(&records, sent, sent);
        assert!(records.1["duration_ms"].as_u64() > Some(99_000));
    }
    // A connection without streams was given up meanwhile, and nobody noticed.
    super::wait_for_records(&mesh, 4, |r| {
        r["event"] == "close" && super::is_between(r, "client-0", "other-0", 7008)
    });
}

/// That every connection has a record on either side with the same `conn.id`, and bytes that were sent.
fn assert_all_recorded(mesh: &Mesh, count: usize, bytes: u64) {
    let is_of = |r: &serde_json::Value| {
        r["event"] == "close" && super::is_between(r, "client-0", "server-0", 7001)
    };
    super::wait_for_records(mesh, 2 * count, is_of);
    let mut ids = [Vec::new(), Vec::new()];
    for record in mesh.records().into_iter().filter(is_of) {
        assert_eq!(record["bytes_sent"], bytes, "{record}");
        assert_eq!(record["bytes_recv"], bytes, "{record}");
        assert!(record.get("error").is_none(), "{record}");
        let side = usize::from(record["direction"] == "inbound");
        ids[side].push(record["conn.id"].to_string());
    }
    for side in &mut ids {
        side.sort();
        side.dedup();
        assert_eq!(side.len(), count, "each connection has an id of its own");
    }
    assert_eq!(ids[0], ids[1], "both sides write the same ids");
}
