//! A connection of the mesh that is cut in the middle of data: never a clean end, on either side.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::SockRef;

use super::certificate::Authority;
use super::frame::{DATA, OPEN, OPENED, frame, good_hello, hear_until, opening};
use super::tls::{Client, MESH, Server};
use super::{Scene, impostor, is_reset_after, tls};

const HALF: &[u8] = b"the first half";

/// How a TCP connection is cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// The TCP stream ends.
    Fin,
    /// It is reset.
    Rst,
    /// TLS ends in order, but the frames do not.
    CloseNotify,
}

const CUTS: [Cut; 3] = [Cut::Fin, Cut::Rst, Cut::CloseNotify];

#[test]
#[ignore = "needs root"]
fn a_server_sees_a_reset_when_its_clients_connection_is_cut() {
    let scene = Scene::usual();
    let application = scene.orders.application(8080);
    let authority = Authority::stolen_from(&scene.mesh);
    for how in CUTS {
        let tcp = scene.outlaw.connect(scene.orders.at(8080));
        let client = tcp.local_addr().unwrap();
        let mut tls: Client = tls::client(tcp, Some(authority.svid("web")), MESH).unwrap();
        tls.write_all(&opening(HALF)).unwrap();
        let mut served = application.accept();
        read_half(&mut served);
        if matches!(how, Cut::CloseNotify) {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        let _held = cut(how, tls.sock);
        is_reset_after(&served, b"");
        assert_cut(&scene.inbound("close", client), how);
    }
    scene.only_a_good_call_arrives(&application);
}

#[test]
#[ignore = "needs root"]
fn a_client_sees_a_reset_when_its_servers_connection_is_cut() {
    let scene = Scene::usual();
    let authority = Authority::stolen_from(&scene.mesh);
    let server = impostor::in_place_of_outlaw(&scene);
    for how in CUTS {
        let mut call = scene.web.connect(scene.outlaw.at(8080));
        call.write_all(b"give me all").unwrap();
        let mut tls: Server = tls::server(server.accept(), authority.svid("outlaw"), MESH).unwrap();
        let open = hear_until(&mut tls, OPEN);
        let answer = [
            good_hello(),
            frame(OPENED, open.stream, &[]),
            frame(DATA, open.stream, HALF),
        ];
        tls.write_all(&answer.concat()).unwrap();
        read_half(&mut call);
        if matches!(how, Cut::CloseNotify) {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        let _held = cut(how, tls.sock);
        is_reset_after(&call, b"");
        let client = call.local_addr().unwrap().to_string();
        let record = scene.mesh.record("the cut", |r| {
            r["direction"] == "outbound" && r["event"] == "close" && r["src.addr"] == client
        });
        assert_cut(&record, how);
    }
}

fn read_half(from: &mut TcpStream) {
    let mut half = [0; HALF.len()];
    from.read_exact(&mut half).unwrap();
    assert_eq!(half, HALF);
}

/// Cuts a connection; what must stay open for it is given back.
fn cut(how: Cut, tcp: TcpStream) -> Option<TcpStream> {
    match how {
        Cut::Fin => tcp.shutdown(Shutdown::Write).unwrap(),
        Cut::Rst => {
            let linger = Some(Duration::ZERO);
            SockRef::from(&tcp).set_linger(linger).unwrap();
            return None;
        }
        Cut::CloseNotify => {}
    }
    Some(tcp)
}

fn assert_cut(record: &Value, how: Cut) {
    assert_eq!(record["error"], "session_cut", "{how:?}");
    assert_eq!(record["close.by"], "error", "{how:?}");
}
