//! A hostile peer with a good SVID before a real proxy.

use std::io::Write;

use crate::adversary::Scene;
use crate::adversary::certificate::{Authority, id};
use crate::adversary::frame::{GOAWAY, Heard, PING, PONG, PROTOCOL_ERROR, frame, hear, hear_until};
use crate::adversary::spot::Application;
use crate::adversary::tls::{self, Client, MESH};

/// A hostile peer, what it attacks, and who else is there.
pub(super) struct Stage {
    pub(super) scene: Scene,
    pub(super) authority: Authority,
    pub(super) application: Application,
}

impl Stage {
    pub(super) fn set() -> Self {
        let scene = Scene::usual();
        scene.orders.kernel_keeps_little();
        Self {
            authority: Authority::stolen_from(&scene.mesh),
            application: scene.orders.application(OPEN_PORT),
            scene,
        }
    }

    /// A TLS connection from outlaw's address, with web's SVID.
    pub(super) fn peer(&self, port: u16) -> Client {
        let tcp = self.scene.outlaw.connect(self.scene.orders.at(port));
        tls::client(tcp, Some(self.authority.svid("web")), MESH).unwrap()
    }

    /// The peer is told why the connection ends, and it is recorded.
    pub(super) fn is_punished(&self, mut peer: Client) {
        let mut told = None;
        while let Ok(heard) = hear(&mut peer) {
            if heard.kind == GOAWAY {
                told = heard.payload.last().copied();
            }
        }
        assert_eq!(told, Some(PROTOCOL_ERROR));
        self.is_recorded(&peer);
    }

    pub(super) fn is_recorded(&self, peer: &Client) {
        let client = peer.sock.local_addr().unwrap().to_string();
        let record = self.scene.mesh.record("the violation", |r| {
            r["src.addr"] == client && r["error"] == "mesh_protocol"
        });
        assert_eq!(record["direction"], "inbound");
        assert_eq!(record["event"], "close");
        assert_eq!(record["close.by"], "error");
        assert_eq!(record["src.identity"], id("web"));
    }
}

/// What a CREDIT grants, in bytes.
pub(super) fn granted(heard: &Heard) -> u64 {
    let bytes = heard.payload.as_slice().try_into();
    u32::from_be_bytes(bytes.expect("four bytes")).into()
}

/// Whether there is something to hear now.
pub(super) fn says_something(peer: &mut Client) -> bool {
    let state = peer.conn.process_new_packets();
    let is_heard = state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0);
    peer.sock.set_nonblocking(true).unwrap();
    let waits = peer.sock.peek(&mut [0]).is_ok();
    peer.sock.set_nonblocking(false).unwrap();
    is_heard || waits
}

/// The peer goes on: it answers.
pub(super) fn is_alive(peer: &mut Client) {
    say(peer, &[frame(PING, 0, &[])]);
    hear_until(peer, PONG);
}

pub(super) fn say(peer: &mut impl Write, frames: &[Vec<u8>]) {
    peer.write_all(&frames.concat()).unwrap();
    peer.flush().unwrap();
}

pub(super) const OPEN_PORT: u16 = 8080;
/// Nothing listens there.
pub(super) const CLOSED: u16 = 8081;
/// The credit that each stream begins with, and the most that a frame carries.
pub(super) const FIRST: usize = 16 * 1024;
