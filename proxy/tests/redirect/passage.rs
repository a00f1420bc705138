//! What goes to the proxy, and what goes around it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::UdpSocket;
use std::time::Duration;

use palisade_api::sidecar;
use palisade_proxy::redirect::{Bypass, Redirect};

use crate::lab::{APP_PORT, Lab, PEER, POD, WEB_PORT, endpoint, redirect};

/// A pod with a proxy and an application, a neighbour with a server, and the redirect.
fn meshed(redirect: &Redirect) -> Lab {
    let lab = Lab::new();
    lab.pod.serve_as_proxy();
    lab.pod.serve(APP_PORT, "app");
    lab.peer.serve(WEB_PORT, "web");
    lab.pod.enter(|| redirect.apply().unwrap());
    lab
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn both_directions_are_redirected_with_their_original_destination() {
    let lab = meshed(&redirect(Bypass::Mark));
    for address in PEER {
        let answer = lab.pod.ask(address, WEB_PORT).unwrap();
        assert_eq!(answer, format!("15001 {}", endpoint(address, WEB_PORT)));
    }
    for address in POD {
        let answer = lab.peer.ask(address, APP_PORT).unwrap();
        assert_eq!(answer, format!("15006 {}", endpoint(address, APP_PORT)));
        // The admin port and the outbound listener are the proxy's to refuse.
        for port in [sidecar::ADMIN_PORT, sidecar::OUTBOUND_PORT] {
            let answer = lab.peer.ask(address, port).unwrap();
            assert_eq!(answer, format!("15006 {}", endpoint(address, port)));
        }
        let direct = lab.peer.ask(address, sidecar::INBOUND_PORT);
        assert_eq!(direct.unwrap_err().kind(), ErrorKind::TimedOut);
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn the_marked_socket_passes_and_the_canary_takes_it_all_the_same() {
    let lab = meshed(&redirect(Bypass::Mark));
    for address in PEER {
        let answer = lab
            .pod
            .ask_marked(address, WEB_PORT, sidecar::PROXY_MARK)
            .unwrap();
        assert_eq!(answer, "web");
        let other = lab.pod.ask_marked(address, WEB_PORT, 1).unwrap();
        assert!(other.starts_with("15001 "), "{other}");
    }
    for canary in [
        sidecar::CANARY_V4.to_string(),
        sidecar::CANARY_V6.to_string(),
    ] {
        for mark in [0, sidecar::PROXY_MARK] {
            let answer = lab.pod.ask_marked(&canary, 9, mark).unwrap();
            assert_eq!(answer, format!("15001 {}", endpoint(&canary, 9)));
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn loopback_is_left_alone() {
    let lab = meshed(&redirect(Bypass::Mark));
    for address in ["127.0.0.1", "::1", POD[0], POD[1]] {
        assert_eq!(lab.pod.ask(address, APP_PORT).unwrap(), "app");
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn what_is_excluded_goes_around_the_proxy() {
    let lab = meshed(&Redirect {
        exclude_inbound_ports: vec![APP_PORT],
        exclude_outbound_ports: vec![WEB_PORT],
        exclude_outbound: vec!["10.77.0.0/24".parse().unwrap()],
        ..redirect(Bypass::Mark)
    });
    lab.peer.serve(81, "other");
    lab.pod.serve(sidecar::TELEMETRY_PORT, "telemetry");
    lab.pod.serve(sidecar::READINESS_PORT, "readiness");
    for (pod, peer) in POD.into_iter().zip(PEER) {
        assert_eq!(lab.pod.ask(peer, WEB_PORT).unwrap(), "web");
        assert_eq!(lab.peer.ask(pod, APP_PORT).unwrap(), "app");
        assert_eq!(
            lab.peer.ask(pod, sidecar::TELEMETRY_PORT).unwrap(),
            "telemetry"
        );
        assert_eq!(
            lab.peer.ask(pod, sidecar::READINESS_PORT).unwrap(),
            "readiness"
        );
    }
    assert_eq!(lab.pod.ask(PEER[0], 81).unwrap(), "other");
    let answer = lab.pod.ask(PEER[1], 81).unwrap();
    assert_eq!(answer, format!("15001 {}", endpoint(PEER[1], 81)));
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn live_connections_outlive_another_apply() {
    let lab = Lab::new();
    let rules = redirect(Bypass::Mark);
    lab.pod.enter(|| rules.apply().unwrap());
    for (pod, peer) in POD.into_iter().zip(PEER) {
        let inbound = lab.pod.listen(pod, sidecar::INBOUND_PORT);
        let loopback = if pod == POD[0] { "127.0.0.1" } else { "::1" };
        let outbound = lab.pod.listen(loopback, sidecar::OUTBOUND_PORT);
        let web = lab.peer.listen(peer, WEB_PORT);
        let mut clients = [
            lab.peer.connect(pod, APP_PORT, 0).unwrap(),
            lab.pod.connect(peer, WEB_PORT, 0).unwrap(),
            lab.pod
                .connect(peer, WEB_PORT, sidecar::PROXY_MARK)
                .unwrap(),
        ];
        let mut servers = [&inbound, &outbound, &web].map(|server| server.accept().unwrap().0);
        lab.pod.enter(|| rules.apply().unwrap());
        for (client, server) in clients.iter_mut().zip(&mut servers) {
            let mut buffer = [0; 5];
            client.write_all(b"there").unwrap();
            server.read_exact(&mut buffer).unwrap();
            server.write_all(b"back!").unwrap();
            client.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"back!");
        }
    }
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn without_a_proxy_everything_is_refused() {
    let lab = Lab::new();
    lab.pod.serve(APP_PORT, "app");
    lab.peer.serve(WEB_PORT, "web");
    lab.pod.enter(|| redirect(Bypass::Mark).apply().unwrap());
    for (pod, peer) in POD.into_iter().zip(PEER) {
        let outbound = lab.pod.ask(peer, WEB_PORT).unwrap_err();
        assert_eq!(outbound.kind(), ErrorKind::ConnectionRefused);
        let inbound = lab.peer.ask(pod, APP_PORT).unwrap_err();
        assert_eq!(inbound.kind(), ErrorKind::ConnectionRefused);
    }
    let canary = lab.pod.ask(&sidecar::CANARY_V4.to_string(), 9).unwrap_err();
    assert_eq!(canary.kind(), ErrorKind::ConnectionRefused);
}

#[test]
#[ignore = "needs root: makes network namespaces"]
fn datagrams_that_answer_nothing_are_dropped_where_that_is_asked_for() {
    let lab = Lab::new();
    let strict = Redirect {
        exclude_inbound_ports: vec![54],
        drop_datagrams: true,
        ..redirect(Bypass::Mark)
    };
    let bind = |port: u16| {
        let socket = UdpSocket::bind(("::", port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        socket
    };
    let pod: Vec<_> = [53, 54].map(|port| lab.pod.enter(|| bind(port))).into();
    let peer = lab.peer.enter(|| bind(5300));
    let mut buffer = [0; 8];
    let mut arrives = |from: &UdpSocket, to: &str, at: &UdpSocket| {
        from.send_to(b"hello", to).unwrap();
        at.recv_from(&mut buffer).is_ok()
    };
    // The pod asks before it is asked: the first flow of each family is then its own.
    for (strictly, rules) in [(false, redirect(Bypass::Mark)), (true, strict)] {
        lab.pod.enter(|| rules.apply().unwrap());
        for (pod_address, peer_address) in [
            ("[::ffff:10.77.0.2]", "[::ffff:10.77.0.1]"),
            ("[fd77::2]", "[fd77::1]"),
        ] {
            let fresh = lab.peer.enter(|| bind(0));
            assert_eq!(
                arrives(&fresh, &format!("{pod_address}:53"), &pod[0]),
                !strictly
            );
            assert!(arrives(&fresh, &format!("{pod_address}:54"), &pod[1]));
            let question = lab.pod.enter(|| bind(0));
            let port = question.local_addr().unwrap().port();
            assert!(arrives(&question, &format!("{peer_address}:5300"), &peer));
            assert!(arrives(&peer, &format!("{pod_address}:{port}"), &question));
        }
    }
    assert_eq!(lab.counted("palisade input", "l4proto udp "), 2);
}
