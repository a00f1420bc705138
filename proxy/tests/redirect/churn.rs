//! The proxy's own connections, thousands of them, lose nothing at their end: the last packets of a connection have no owner any more.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use palisade_api::sidecar;
use palisade_proxy::redirect::Bypass;

use crate::lab::{Lab, PART, PEER, WEB_PORT, connect, endpoint, redirect};

#[test]
#[ignore = "needs root: makes network namespaces"]
fn marked_connections_end_cleanly_whoever_closes_first() {
    let (lab, received) = meshed(Bypass::Mark);
    for address in PEER {
        let address = endpoint(address, WEB_PORT);
        lab.pod
            .enter(|| churn(address.parse().unwrap(), sidecar::PROXY_MARK));
    }
    assert_nothing_lost(&lab, &received);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn connections_of_the_proxys_user_end_cleanly_whoever_closes_first() {
    let (lab, received) = meshed(Bypass::Uid);
    for address in PEER {
        let target = endpoint(address, WEB_PORT);
        lab.pod
            .run_part_as_proxy("churn::the_part_of_the_proxys_user", &target);
    }
    assert_nothing_lost(&lab, &received);
}

/// Run by the test above, as the proxy's user.
#[test]
#[ignore = "only a part of another test; does nothing by itself"]
fn the_part_of_the_proxys_user() {
    if let Ok(target) = env::var(PART) {
        churn(target.parse().unwrap(), 0);
    }
}

/// Half of the connections the client closes while its data is still queued, half the server.
fn churn(address: SocketAddr, mark: u32) {
    let payload = vec![b'x'; PAYLOAD];
    for number in 0..CONNECTIONS {
        let mut stream = connect(address, mark).unwrap();
        if number % 2 == 0 {
            stream.write_all(b"c").unwrap();
            stream.write_all(&payload).unwrap();
            continue;
        }
        stream.write_all(b"s").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), PAYLOAD);
    }
}

fn meshed(bypass: Bypass) -> (Lab, Arc<AtomicUsize>) {
    let lab = Lab::new();
    let received = Arc::new(AtomicUsize::new(0));
    for address in ["0.0.0.0", "::"] {
        let listener = lab.peer.listen(address, WEB_PORT);
        let received = Arc::clone(&received);
        std::thread::spawn(move || serve(&listener, &received));
    }
    lab.pod.enter(|| redirect(bypass).apply().unwrap());
    (lab, received)
}

fn serve(listener: &TcpListener, received: &AtomicUsize) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut first = [0];
        stream.read_exact(&mut first).unwrap();
        if first == *b"s" {
            stream.write_all(&vec![b'x'; PAYLOAD]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            drain(&mut stream);
            continue;
        }
        received.fetch_add(drain(&mut stream), Ordering::SeqCst);
    }
}

fn drain(stream: &mut TcpStream) -> usize {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap()
}

fn assert_nothing_lost(lab: &Lab, received: &AtomicUsize) {
    // The server takes connections in turn, and the last one of each family waited for its answer.
    let expected = PEER.len() * (CONNECTIONS / 2) * PAYLOAD;
    assert_eq!(received.load(Ordering::SeqCst), expected);
    assert_eq!(lab.counted("palisade output", "reject"), 0);
    assert_eq!(lab.counted("palisade input", "counter"), 0);
    let unacknowledged = lab
        .peer
        .run("ss -Htan state last-ack state fin-wait-1 state closing");
    assert_eq!(unacknowledged, "");
}

const CONNECTIONS: usize = 2000;
const PAYLOAD: usize = 50_000;
