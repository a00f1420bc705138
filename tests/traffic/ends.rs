//! How connections begin and end, as the application at the other end sees it.

use super::{assert_carried, client_and_server, ends, is_between, run};
use crate::harness::stdout;

const HALF_CLOSE: &str = include_str!("programs/half_close.py");
const RESETS: &str = include_str!("programs/resets.py");

#[test]
#[ignore = "needs python3"]
fn a_client_that_shuts_down_its_side_still_reads_the_answer() {
    let mesh = client_and_server();
    let said = stdout(&run(&mesh, "client", HALF_CLOSE, &[]));
    let mut lengths = said
        .split_whitespace()
        .map(|n| n.parse::<u64>().expect("a number"));
    let (sent, received) = (lengths.next().unwrap(), lengths.next().unwrap());
    let records = ends(&mesh, "client-0", "server-0", 7002);
    assert_carried(&records, sent, received);
    assert_eq!(records.1["close.by"], "client");
}

#[test]
#[ignore = "needs python3, nc"]
fn nc_sends_shuts_down_and_reads_the_answer() {
    let mesh = client_and_server();
    let answer = mesh.exec("client", &["sh", "-c", "echo hello | nc -N server 7002"]);
    assert!(stdout(&answer).starts_with("6 "), "{answer:?}");
    let records = ends(&mesh, "client-0", "server-0", 7002);
    assert_carried(&records, 6, stdout(&answer).len() as u64);
}

#[test]
#[ignore = "needs python3"]
fn a_server_may_speak_first() {
    let mesh = client_and_server();
    let program = "import smtplib\ns = smtplib.SMTP('server', 7004, timeout=30)\nprint(s.noop()[0], s.quit()[0])";
    assert_eq!(stdout(&run(&mesh, "client", program, &[])), "250 221\n");
    let sent = "noop\r\nquit\r\n".len() as u64;
    let received = "220 mail.shop ESMTP\r\n250 ok\r\n221 bye\r\n".len() as u64;
    assert_carried(&ends(&mesh, "client-0", "server-0", 7004), sent, received);
}

#[test]
#[ignore = "needs python3"]
fn a_closed_port_is_a_reset_before_any_byte() {
    let mesh = client_and_server();
    let seen = stdout(&run(&mesh, "client", RESETS, &["closed"]));
    assert_eq!(seen, "ConnectionResetError\n");
    let (outbound, inbound) =
        mesh.both_sides("close", |r| is_between(r, "client-0", "server-0", 7999));
    assert_eq!(inbound["error"], "connect");
    assert_eq!(inbound["policy.decision"], "allow");
    assert_eq!(outbound["error"], "peer_connect");
    for record in [outbound, inbound] {
        assert_eq!(record["bytes_recv"], 0);
    }
}

#[test]
#[ignore = "needs python3"]
fn a_reset_by_either_application_is_a_reset_for_the_other() {
    let mesh = client_and_server();
    for (who, port) in [("server", 7005), ("client", 7006)] {
        let seen = stdout(&run(&mesh, "client", RESETS, &[who]));
        assert_eq!(
            seen.trim(),
            "ConnectionResetError",
            "after a reset by the {who}"
        );
        let (outbound, inbound) = ends(&mesh, "client-0", "server-0", port);
        for record in [outbound, inbound] {
            assert_eq!(record["error"], format!("reset_by_{who}"), "{record}");
            assert_eq!(record["close.by"], who, "{record}");
        }
    }
}
