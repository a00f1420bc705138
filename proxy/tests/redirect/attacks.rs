//! What a neighbour sends to get around the proxy, and flows that were there before it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use palisade_proxy::redirect::Bypass;
use socket2::{Domain, Protocol, Socket, Type};

use crate::lab::{APP_PORT, Lab, PEER, POD, WEB_PORT, redirect};

#[test]
#[ignore = "needs root: makes network namespaces"]
fn frames_for_other_addresses_reach_nothing() {
    let lab = Lab::new();
    lab.pod.serve_as_proxy();
    lab.pod.set("ipv4/conf/all/forwarding", "1");
    lab.pod.set("ipv6/conf/all/forwarding", "1");
    lab.pod.set("ipv4/conf/all/route_localnet", "1");
    lab.peer.set("ipv4/conf/all/route_localnet", "1");
    let link = lab.pod.run("cat /sys/class/net/cable/address");
    let neighbour = |address: &str| {
        lab.peer.run(&format!(
            "ip neigh replace {address} lladdr {} dev cable",
            link.trim()
        ));
    };
    lab.peer
        .run("ip route del local 127.0.0.0/8 dev lo table local");
    lab.peer
        .run("ip route add 127.9.9.9 dev cable src 10.77.0.1");
    let targets = [
        ("10.77.0.3", "fib"),
        ("fd77::3", "fib"),
        ("127.9.9.9", "127.0.0.0/8"),
    ];

    lab.pod.enter(|| redirect(Bypass::Mark).apply().unwrap());
    for (target, rule) in targets {
        neighbour(target);
        let before = lab.counted("palisade guard", rule);
        let outcome = lab.peer.ask(target, APP_PORT).unwrap_err();
        assert_eq!(outcome.kind(), ErrorKind::TimedOut, "{target}");
        assert!(lab.counted("palisade guard", rule) > before, "{target}");
    }

    // Without the guard such a frame does reach the proxy, so the test above can fail.
    lab.pod.run("nft flush chain inet palisade guard");
    for (target, _) in targets {
        let outcome = lab.peer.ask(target, APP_PORT).unwrap();
        assert!(outcome.starts_with("15006 "), "{target}: {outcome}");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn segments_out_of_state_do_not_reach_the_application() {
    let lab = Lab::new();
    lab.pod.serve_as_proxy();
    lab.pod.serve(APP_PORT, "app");
    lab.pod.run("nft add table inet witness");
    lab.pod
        .run("nft add chain inet witness arrived { type filter hook input priority 300 ; }");
    lab.pod
        .run("nft add rule inet witness arrived iif != lo tcp dport 8080 counter");
    let socket = lab
        .peer
        .enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).unwrap());
    let to: SocketAddr = (POD[0].parse::<Ipv4Addr>().unwrap(), 0).into();
    let attack = |first_port: u16| {
        for (port, flags) in (first_port..).zip(FLAGS) {
            socket.send_to(&segment(port, flags), &to.into()).unwrap();
        }
    };
    attack(1000);
    let unprotected = lab.counted("witness arrived", "8080");
    assert_eq!(unprotected, FLAGS.len() as u64);

    for loose in ["1", "0"] {
        lab.pod.enter(|| redirect(Bypass::Mark).apply().unwrap());
        lab.pod.set("netfilter/nf_conntrack_tcp_loose", loose);
        attack(if loose == "1" { 2000 } else { 3000 });
        assert_eq!(lab.counted("witness arrived", "8080"), unprotected);
    }
    assert!(lab.counted("palisade input", "counter") > 0);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn flows_older_than_the_table_are_cut() {
    for is_tracked in [false, true] {
        for loose in ["1", "0"] {
            for (pod, peer) in POD.into_iter().zip(PEER) {
                older_flows_are_cut(is_tracked, loose, pod, peer);
            }
        }
    }
}

/// Connection tracking may have known the flows, if other rules used it; without it they are picked up in the middle, or not (`loose`).
fn older_flows_are_cut(is_tracked: bool, loose: &str, pod: &str, peer: &str) {
    let lab = Lab::new();
    if is_tracked {
        lab.pod.run("nft add table inet other");
        lab.pod
            .run("nft add chain inet other input { type filter hook input priority 0 ; }");
        lab.pod
            .run("nft add rule inet other input ct state new counter");
    }
    lab.pod.set("netfilter/nf_conntrack_tcp_loose", loose);
    let app = lab.pod.listen(pod, APP_PORT);
    let web = lab.peer.listen(peer, WEB_PORT);
    let mut client = lab.peer.connect(pod, APP_PORT, 0).unwrap();
    let mut served = app.accept().unwrap().0;
    let mut caller = lab.pod.connect(peer, WEB_PORT, 0).unwrap();
    let mut called = web.accept().unwrap().0;
    for (from, to) in [(&mut client, &mut served), (&mut caller, &mut called)] {
        from.write_all(b"before").unwrap();
        to.set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        assert_eq!(to.read(&mut [0; 16]).unwrap(), 6);
    }
    lab.pod.enter(|| redirect(Bypass::Mark).apply().unwrap());

    let case = format!("tracked: {is_tracked}, loose: {loose}, {pod}");
    client.write_all(b"after").unwrap();
    assert!(nothing_arrives(&mut served), "inbound, {case}");
    caller.write_all(b"after").unwrap();
    assert!(nothing_arrives(&mut called), "outbound, {case}");
    let reset = caller.read(&mut [0; 16]).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset, "outbound, {case}");
    // The application's side of the inbound flow ends as soon as it answers.
    drop(served.write_all(b"answer"));
    let reset = served.read(&mut [0; 16]).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset, "inbound, {case}");
    client
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(nothing_arrives(&mut client), "answer, {case}");
}

fn nothing_arrives(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0; 16]), Ok(1..))
}

/// A TCP segment from the neighbour to the application's port, with some data.
fn segment(port: u16, flags: u8) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(port.to_be_bytes());
    segment.extend(APP_PORT.to_be_bytes());
    segment.extend([0, 0, 1, 0, 0, 0, 1, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(b"data");
    let length = u16::try_from(segment.len()).unwrap();
    let ends = [PEER[0], POD[0]].map(|address| address.parse::<Ipv4Addr>().unwrap().octets());
    let pseudo_header = [&ends.concat()[..], &[0, 6], &length.to_be_bytes()].concat();
    let words = [&pseudo_header[..], &segment].concat();
    let sum: u32 = words
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
    segment
}

/// ACK with data, bare ACK, FIN and ACK, RST, FIN, SYN and FIN, none, all, SYN and ACK.
const FLAGS: [u8; 9] = [0x18, 0x10, 0x11, 0x04, 0x01, 0x03, 0x00, 0x3f, 0x12];
