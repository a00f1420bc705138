//! A stream that ends otherwise than well while its reader stopped: the application hears of it at once.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tokio::time::Instant;

use super::stage::{FIRST, OPEN_PORT, Stage, granted, say, says_something};
use crate::adversary::certificate::id;
use crate::adversary::frame::{
    CANCELLED, CREDIT, DATA, FIN, GOAWAY, OPEN, RESET, frame, good_hello, hear, hear_until,
};
use crate::adversary::tls::Client;
use crate::harness::wait_until;

#[test]
#[ignore = "needs root"]
fn a_stalled_reader_hears_at_once_of_a_reset_a_cut_and_a_revocation() {
    let stage = Stage::set();

    let (mut peer, application) = stalled(&stage);
    say(&mut peer, &[frame(RESET, 1, &[CANCELLED])]);
    hears_of_the_end(&application);
    assert_eq!(recorded(&stage, &peer)["error"], "cancelled");

    let (peer, application) = stalled(&stage);
    peer.sock.shutdown(Shutdown::Write).unwrap();
    hears_of_the_end(&application);
    assert_eq!(recorded(&stage, &peer)["error"], "session_cut");

    let (mut peer, application) = stalled(&stage);
    let revoked = format!(
        "apiVersion: palisade.dev/v1alpha1\nkind: Revocations\nmetadata: {{name: stolen}}\nspec: {{identities: [{}]}}\n",
        id("web")
    );
    let folder = stage.scene.mesh.folder();
    std::fs::write(folder.join("rules/revoked.yaml"), revoked).unwrap();
    hear_until(&mut peer, GOAWAY);
    hears_of_the_end(&application);
    assert_eq!(recorded(&stage, &peer)["error"], "revoked");
}

#[test]
#[ignore = "needs root"]
fn an_application_that_is_still_to_answer_hears_at_once_that_its_caller_is_gone() {
    let stage = Stage::set();
    let mut peer = stage.peer(OPEN_PORT);
    let said = [
        frame(OPEN, 1, &[]),
        frame(DATA, 1, b"all"),
        frame(FIN, 1, &[]),
    ];
    say(&mut peer, &[&[good_hello()], &said[..]].concat());
    let mut application = stage.application.accept();
    let mut heard = Vec::new();
    application.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"all");
    assert!(application.take_error().unwrap().is_none());
    peer.sock.shutdown(Shutdown::Write).unwrap();
    hears_of_the_end(&application);
    assert_eq!(recorded(&stage, &peer)["error"], "session_cut");
}

/// A stream whose application reads nothing, with all in between full.
fn stalled(stage: &Stage) -> (Client, TcpStream) {
    let mut peer = stage.peer(OPEN_PORT);
    say(&mut peer, &[good_hello(), frame(OPEN, 1, &[])]);
    let application = stage.application.accept();
    let (mut credit, mut quiet_since) = (FIRST, Instant::now());
    wait_until("a proxy that grants no more", || {
        while credit > 0 {
            let bytes = credit.min(FIRST);
            say(&mut peer, &[frame(DATA, 1, &vec![7; bytes])]);
            credit -= bytes;
        }
        while says_something(&mut peer) {
            let heard = hear(&mut peer).expect("the proxy goes on");
            if heard.kind == CREDIT {
                credit += usize::try_from(granted(&heard)).unwrap();
                quiet_since = Instant::now();
            }
        }
        (quiet_since.elapsed() > Duration::from_secs(1)).then_some(())
    });
    assert!(application.take_error().unwrap().is_none());
    (peer, application)
}

/// Though it goes on reading nothing.
#[track_caller]
fn hears_of_the_end(application: &TcpStream) {
    let error = wait_until("the end to be heard of", || {
        application.take_error().unwrap()
    });
    // A reset; behind a FIN the kernel calls it the latter.
    let is_reset = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe].contains(&error.kind());
    assert!(is_reset, "{error}");
}

fn recorded(stage: &Stage, peer: &Client) -> serde_json::Value {
    let client = peer.sock.local_addr().unwrap().to_string();
    let is_close = |r: &serde_json::Value| r["direction"] == "inbound" && r["event"] == "close";
    let what = "the end of a stalled stream";
    let mesh = &stage.scene.mesh;
    mesh.record(what, |r| is_close(r) && r["src.addr"] == client)
}
