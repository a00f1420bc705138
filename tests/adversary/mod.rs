//! Attackers on the pod network, in a pod, and in control's place: each is refused, and each is recorded.
//!
//! The test is the attacker: threads of it enter a pod's network namespace ([`spot`]), sign certificates with the
//! mesh's own stolen key ([`certificate`]), and write TLS and frames by hand ([`tls`], [`frame`]). It is the attacked
//! application too, so that what was delivered is known and not guessed.

pub(crate) mod certificate;
mod control;
mod cuts;
pub(crate) mod frame;
mod frames;
mod handshakes;
pub(crate) mod impostor;
mod plaintext;
mod ports;
mod race;
pub(crate) mod spot;
pub(crate) mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::harness::{Mesh, allow};
use spot::{Application, Spot};

/// `outlaw` and `bandit` have no sidecar: whoever is there is on the pod network with nothing in between.
const WORKLOADS: &str = "
- {name: web, namespace: shop, command: [palisade, demo, wait]}
- {name: orders, namespace: shop, command: [palisade, demo, wait], ports: [8080]}
- {name: outlaw, namespace: shop, meshed: false, command: [palisade, demo, wait]}
- {name: bandit, namespace: shop, meshed: false, command: [palisade, demo, wait]}
";

/// A mesh, and the places in it.
pub(crate) struct Scene {
    pub(crate) mesh: Mesh,
    pub(crate) web: Spot,
    pub(crate) orders: Spot,
    pub(crate) outlaw: Spot,
    bandit: Spot,
}

impl Scene {
    fn set(rules: &str) -> Self {
        let mesh = Mesh::up(WORKLOADS, rules);
        let [web, orders, outlaw, bandit] =
            ["web", "orders", "outlaw", "bandit"].map(|name| Spot::of(&mesh, name));
        Self {
            mesh,
            web,
            orders,
            outlaw,
            bandit,
        }
    }

    /// Web may call orders, and nobody else may.
    pub(crate) fn usual() -> Self {
        Self::set(&allow("orders", "web"))
    }

    /// The inbound record of a connection that came from `client`.
    fn inbound(&self, event: &str, client: SocketAddr) -> Value {
        self.mesh.record(&format!("{event} of {client}"), |r| {
            r["direction"] == "inbound"
                && r["event"] == event
                && r["src.addr"] == client.to_string()
        })
    }

    /// Shows that the application is reached by who may reach it, and was by nobody before.
    fn only_a_good_call_arrives(&self, application: &Application) {
        let mut call = self.web.connect(self.orders.at(application.port()));
        call.write_all(GOOD).unwrap();
        let mut arrived = application.accept();
        let mut said = [0; GOOD.len()];
        arrived.read_exact(&mut said).unwrap();
        assert_eq!(said, GOOD, "the first that arrives is the good call");
        arrived.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        call.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        application.nobody_waits();
    }
}

/// Calls, and asserts that nothing comes of it: the caller's address, where the reset was not there even before the
/// connection.
fn knock(from: Spot, at: SocketAddr) -> Option<SocketAddr> {
    match from.try_connect(at) {
        Ok(mut call) => {
            let _reset_already = call.write_all(EVIL);
            let client = call.local_addr().ok();
            nothing_comes(call);
            client
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
            None
        }
    }
}

/// Asserts that the peer ended the connection and gave not one byte.
fn nothing_comes(mut from: impl Read) {
    let mut got = Vec::new();
    let end = from.read_to_end(&mut got);
    assert_eq!(got, b"", "{end:?}");
    if let Err(error) = end {
        assert!(!is_timeout(&error), "the connection was left open");
    }
}

/// Asserts that `from` says `whole` and is then reset: never a clean end.
pub(crate) fn is_reset_after(mut from: &TcpStream, whole: &[u8]) {
    let mut got = Vec::new();
    let end = from.read_to_end(&mut got);
    assert_eq!(got, whole, "{end:?}");
    let error = end.expect_err("a cut is never a clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

fn is_timeout(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    matches!(error.kind(), TimedOut | WouldBlock)
}

const GOOD: &[u8] = b"a good call";
/// What an attacker wants delivered.
const EVIL: &[u8] = b"an evil call";
