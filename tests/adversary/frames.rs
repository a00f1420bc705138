//! A peer with a good SVID that breaks the mesh protocol.

use std::io::{Read, Write};

use super::certificate::{Authority, id};
use super::frame::{
    CANCELLED, CREDIT, DATA, FIN, GOAWAY, OPEN, OPENED, PING, PROTOCOL_ERROR, REFUSED, RESERVED,
    RESET, frame, good_hello, header, hear, hear_until, hello,
};
use super::tls::{Client, MESH};
use super::{Scene, impostor, is_reset_after, nothing_comes, tls};
use crate::harness::wait_until;

#[test]
#[ignore = "needs root"]
fn frames_that_break_the_protocol_end_the_connection_and_are_recorded() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let authority = Authority::stolen_from(&scene.mesh);
    // All at once, for each is given a second to see why it is ended.
    let offenders = lawless().into_iter().map(|(what, bytes)| {
        let mut tls = peer(&scene, &authority, 8080);
        tls.write_all(&bytes).unwrap();
        (what, tls)
    });
    for (what, tls) in offenders.collect::<Vec<_>>() {
        assert_punished(&scene, what, tls);
    }
    scene.only_a_good_call_arrives(&application);
}

/// Frames that break the protocol before anything could be delivered.
fn lawless() -> Vec<(&'static str, Vec<u8>)> {
    let open = |stream| frame(OPEN, stream, &[]);
    let after_hello = |bytes: Vec<u8>| [good_hello(), bytes].concat();
    let most = u32::MAX.to_be_bytes();
    let too_long = 16 * 1024 + 1;
    vec![
        ("no HELLO first", frame(PING, 0, &[])),
        ("OPEN before HELLO", open(1)),
        ("HELLO twice", after_hello(good_hello())),
        ("HELLO with too few streams", hello(31, 16 * 1024)),
        ("HELLO with too little credit", hello(1024, 16 * 1024 - 1)),
        ("HELLO too long", header(1, 0, 65, 0, &[0; 65])),
        (
            "DATA too long",
            after_hello(header(DATA, 0, too_long, 1, &[])),
        ),
        ("OPEN too long", after_hello(frame(OPEN, 1, &[0; 1025]))),
        (
            "an attribute cut short",
            after_hello(frame(OPEN, 1, &[1, 6, 0])),
        ),
        ("an unknown kind", after_hello(frame(200, 1, &[]))),
        ("the reserved kind", after_hello(frame(RESERVED, 1, &[]))),
        ("kind 0", after_hello(frame(0, 0, &[]))),
        ("flags", after_hello(header(PING, 1, 0, 0, &[]))),
        ("PING with a stream", after_hello(frame(PING, 1, &[]))),
        ("OPEN without a stream", after_hello(open(0))),
        ("OPEN out of order", after_hello(open(2))),
        ("DATA for no stream", after_hello(frame(DATA, 1, b"x"))),
        ("FIN for no stream", after_hello(frame(FIN, 7, &[]))),
        ("CREDIT for no stream", after_hello(frame(CREDIT, 1, &most))),
        ("CREDIT of nothing", after_hello(frame(CREDIT, 1, &[0; 4]))),
        ("OPENED by a client", after_hello(frame(OPENED, 1, &[]))),
        ("REFUSED by a client", after_hello(frame(REFUSED, 1, &[1]))),
        (
            "an unknown code",
            after_hello(frame(GOAWAY, 0, &[0, 0, 0, 0, 77])),
        ),
    ]
}

#[test]
#[ignore = "needs root"]
fn what_is_beyond_credit_and_limits_ends_the_connection_and_resets_the_application() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let authority = Authority::stolen_from(&scene.mesh);

    application.buffers_little();
    // An application that reads nothing, and a peer that minds no credit.
    let mut tls = peer(&scene, &authority, 8080);
    tls.write_all(&[good_hello(), frame(OPEN, 1, &[])].concat())
        .unwrap();
    let mut unread = application.accept();
    let piece = frame(DATA, 1, &[7; 16 * 1024]);
    let mut sent = 0;
    wait_until("the peer to be stopped", || {
        sent += piece.len();
        tls.write_all(&piece).err()
    });
    let record = scene.inbound("close", tls.sock.local_addr().unwrap());
    let mut delivered = Vec::new();
    let end = unread.read_to_end(&mut delivered);
    let error = end.expect_err("the application sees no clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(record["error"], "mesh_protocol");
    assert!(delivered.len() < sent);

    for (what, frames) in [
        (
            "data after the end",
            [frame(FIN, 1, &[]), frame(DATA, 1, b"more")].concat(),
        ),
        (
            "credit without end",
            frame(CREDIT, 1, &u32::MAX.to_be_bytes()),
        ),
        ("a stream twice", frame(OPEN, 1, &[])),
    ] {
        let mut tls = peer(&scene, &authority, 8080);
        tls.write_all(&[good_hello(), frame(OPEN, 1, &[])].concat())
            .unwrap();
        let reached = application.accept();
        tls.write_all(&frames).unwrap();
        let record = assert_punished(&scene, what, tls);
        assert_eq!(record["src.identity"], id("web"));
        if frames.starts_with(&[FIN]) {
            // That end was true; what came after it is not delivered.
            nothing_comes(&reached);
        } else {
            is_reset_after(&reached, b"");
        }
    }
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn too_many_streams_and_too_many_resets_end_the_connection() {
    let scene = Scene::usual();
    // Nothing listens at 8081, so each stream that is tried is refused.
    let authority = Authority::stolen_from(&scene.mesh);
    let mut tls = peer(&scene, &authority, 8081);
    let many = (1..=1025).flat_map(|stream| frame(OPEN, stream, &[]));
    let many: Vec<u8> = good_hello().into_iter().chain(many).collect();
    tls.write_all(&many).unwrap();
    assert_punished(&scene, "too many streams", tls);

    let mut tls = peer(&scene, &authority, 8081);
    tls.write_all(&good_hello()).unwrap();
    let client = tls.sock.local_addr().unwrap();
    let mut streams = 0..MOST_RESETS;
    let stopped = streams.any(|stream| {
        let rapid = [
            frame(OPEN, stream + 1, &[]),
            frame(RESET, stream + 1, &[CANCELLED]),
        ];
        tls.write_all(&rapid.concat()).is_err()
    });
    assert!(stopped, "the peer is not stopped");
    let record = scene.mesh.record("the end of the session", |r| {
        r["src.addr"] == client.to_string() && r["error"] == "mesh_protocol"
    });
    assert_eq!(record["direction"], "inbound");
    let application = scene.orders.application(8080);
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn a_server_that_breaks_the_protocol_delivers_nothing() {
    let scene = Scene::usual();
    let authority = Authority::stolen_from(&scene.mesh);
    let server = impostor::in_place_of_outlaw(&scene);
    let opened = frame(OPENED, 1, &[]);
    let with_hello = |frames: &[&[u8]]| [good_hello(), frames.concat()].concat();
    for (what, bytes) in [
        ("no HELLO first", opened.clone()),
        ("DATA before OPENED", with_hello(&[&frame(DATA, 1, b"x")])),
        ("FIN before OPENED", with_hello(&[&frame(FIN, 1, &[])])),
        (
            "OPENED for no stream",
            with_hello(&[&frame(OPENED, 2, &[])]),
        ),
        ("OPEN by a server", with_hello(&[&frame(OPEN, 2, &[])])),
        ("OPENED twice", with_hello(&[&opened, &opened])),
        (
            "OPENED and REFUSED",
            with_hello(&[&opened, &frame(REFUSED, 1, &[1])]),
        ),
        (
            "an unknown kind",
            with_hello(&[&opened, &frame(200, 1, &[])]),
        ),
    ] {
        let mut call = scene.web.connect(scene.outlaw.at(8080));
        call.write_all(b"hello?").unwrap();
        let client = call.local_addr().unwrap().to_string();
        let own = authority.svid("outlaw");
        let mut tls = tls::server(server.accept(), own, MESH).unwrap();
        assert_eq!(hear_until(&mut tls, OPEN).stream, 1, "{what}");
        tls.write_all(&bytes).unwrap();
        assert_eq!(
            hear_until(&mut tls, GOAWAY).payload.last(),
            Some(&PROTOCOL_ERROR)
        );
        is_reset_after(&call, b"");
        let record = scene.mesh.record(what, |r| {
            r["direction"] == "outbound" && r["event"] == "close" && r["src.addr"] == client
        });
        assert_eq!(record["error"], "mesh_protocol", "{what}");
        assert_eq!(record["bytes_recv"], 0, "{what}");
    }
}

/// A TLS connection from outlaw's address, with web's SVID.
fn peer(scene: &Scene, authority: &Authority, port: u16) -> Client {
    let tcp = scene.outlaw.connect(scene.orders.at(port));
    tls::client(tcp, Some(authority.svid("web")), MESH).unwrap()
}

/// The peer is told GOAWAY, the connection ends, and both is recorded.
fn assert_punished(scene: &Scene, what: &str, mut tls: Client) -> serde_json::Value {
    let mut told = None;
    while let Ok(heard) = hear(&mut tls) {
        if heard.kind == GOAWAY {
            told = heard.payload.last().copied();
        }
    }
    assert_eq!(told, Some(PROTOCOL_ERROR), "{what}");
    let client = tls.sock.local_addr().unwrap();
    let record = scene.mesh.record(what, |r| {
        r["src.addr"] == client.to_string() && r["error"] == "mesh_protocol"
    });
    assert_eq!(record["direction"], "inbound", "{what}");
    assert_eq!(record["event"], "close", "{what}");
    assert_eq!(record["close.by"], "error", "{what}");
    record
}

const MOST_RESETS: u32 = 500_000;
