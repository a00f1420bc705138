//! Credit, against peers with a good SVID that mind none, or give none.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use super::content::{check, content};
use super::peak::Peak;
use super::stage::{CLOSED, FIRST, OPEN_PORT, Stage, granted, is_alive, say, says_something};
use super::{KIB, MIB};
use crate::adversary::frame::{
    CREDIT, DATA, FIN, GOAWAY, OPEN, OPENED, PING, PONG, PROTOCOL_ERROR, REFUSED, frame,
    good_hello, hear, hear_until, hello,
};
use crate::adversary::tls::{self, Client, MESH};
use crate::adversary::{impostor, is_reset_after};
use crate::harness::wait_until;

#[test]
#[ignore = "needs root"]
fn one_byte_beyond_credit_ends_the_connection_and_what_is_beyond_costs_no_memory() {
    let stage = Stage::set();
    let mut bystander = Bystander::of(&stage);

    // A stream that is refused gets no more credit than it began with, so the end of it is known to the byte.
    let mut peer = stage.peer(CLOSED);
    say(&mut peer, &[good_hello(), frame(OPEN, 1, &[])]);
    assert_eq!(hear_until(&mut peer, REFUSED).stream, 1);
    say(&mut peer, &[frame(DATA, 1, &[7; FIRST])]);
    is_alive(&mut peer);
    say(&mut peer, &[frame(DATA, 1, &[7])]);
    stage.is_punished(peer);
    bystander.is_unaffected();

    // Streams of which the reader stops, and peers that send as much as they can.
    let proxy = Peak::of(stage.scene.mesh.pid_of("orders-0", "proxy"));
    let (mut sent, mut floods) = (0, 0);
    // How much one comes to say before it is cut off depends on the machine; less than this would show nothing.
    while sent < 2 * MOST_GROWN {
        floods += 1;
        assert!(floods < MOST_FLOODS, "{sent} bytes by {floods}");
        let mut peer = stage.peer(OPEN_PORT);
        say(&mut peer, &[good_hello(), frame(OPEN, 1, &[])]);
        let unread = stage.application.accept();
        let flood = Flood::of(&mut peer);
        assert_eq!(flood.told, Some(PROTOCOL_ERROR));
        assert!(flood.sent > flood.granted, "{flood:?}");
        let delivered = delivered_before_reset(unread);
        assert!(delivered <= flood.granted, "{delivered} of {flood:?}");
        stage.is_recorded(&peer);
        sent += flood.sent;
        bystander.is_unaffected();
    }
    let grown = proxy.grown();
    println!(
        "{} KiB beyond credit: the proxy grew by {} KiB",
        sent / KIB,
        grown / KIB
    );
    assert!(grown < MOST_GROWN, "{grown} bytes");
}

#[test]
#[ignore = "needs root"]
fn credit_beyond_the_greatest_number_or_for_no_stream_ends_the_connection() {
    let stage = Stage::set();
    let mut bystander = Bystander::of(&stage);
    let credit = |stream, bytes: u32| frame(CREDIT, stream, &bytes.to_be_bytes());
    let opened = |hello| {
        let mut peer = stage.peer(OPEN_PORT);
        say(&mut peer, &[hello, frame(OPEN, 1, &[])]);
        (stage.application.accept(), peer)
    };

    // What was said in HELLO counts; the greatest number itself is good.
    let first = u32::try_from(FIRST).unwrap();
    for (said, added) in [(first, u32::MAX - first), (u32::MAX - 1, 1)] {
        let (application, mut peer) = opened(hello(1024, said));
        say(&mut peer, &[credit(1, added)]);
        is_alive(&mut peer);
        say(&mut peer, &[credit(1, 1)]);
        stage.is_punished(peer);
        is_reset_after(&application, b"");
    }

    let (application, mut peer) = opened(good_hello());
    say(&mut peer, &[credit(2, 1)]);
    stage.is_punished(peer);
    is_reset_after(&application, b"");

    // For a stream that is over it is late, and no more than that.
    let mut peer = stage.peer(CLOSED);
    say(
        &mut peer,
        &[good_hello(), frame(OPEN, 1, &[]), frame(FIN, 1, &[])],
    );
    assert_eq!(hear_until(&mut peer, REFUSED).stream, 1);
    say(&mut peer, &[credit(1, u32::MAX), credit(1, u32::MAX)]);
    is_alive(&mut peer);
    bystander.is_unaffected();
}

#[test]
#[ignore = "needs root"]
fn no_more_is_sent_than_a_hostile_client_grants() {
    let stage = Stage::set();
    let mut peer = stage.peer(OPEN_PORT);
    say(&mut peer, &[good_hello(), frame(OPEN, 1, &[])]);
    let application = stage.application.accept();
    let writer = writes_all(application);
    Meter::of(&mut peer, 1, FIRST as u64).draws();
    writer.join().expect("all was taken");
}

#[test]
#[ignore = "needs root"]
fn no_more_is_sent_than_a_hostile_server_grants() {
    let stage = Stage::set();
    let server = impostor::in_place_of_outlaw(&stage.scene);
    // Before HELLO there is the least that every peer must allow; a HELLO may allow more.
    for first in [FIRST as u64, FIRST as u64 + 5000] {
        let call = stage.scene.web.connect(stage.scene.outlaw.at(OPEN_PORT));
        let writer = writes_all(call);
        let own = stage.authority.svid("outlaw");
        let mut peer = tls::server(server.accept(), own, MESH).unwrap();
        let stream = hear_until(&mut peer, OPEN).stream;
        let said = hello(1024, u32::try_from(first).unwrap());
        say(&mut peer, &[said, frame(OPENED, stream, &[])]);
        Meter::of(&mut peer, stream, first).draws();
        // Another one must not come over this connection.
        say(&mut peer, &[frame(GOAWAY, 0, &[0, 0, 0, 0, 5])]);
        writer.join().expect("all was taken");
    }
}

#[test]
#[ignore = "needs root"]
fn peers_that_grant_all_and_read_nothing_have_little_kept_for_them() {
    // On one connection, and on one each.
    for (connections, streams) in [(1, UNREAD), (UNREAD / 2, 1)] {
        let stage = Stage::set();
        let mut bystander = Bystander::of(&stage);
        let proxy = Peak::of(stage.scene.mesh.pid_of("orders-0", "proxy"));
        let mut unread = Vec::new();
        for _ in 0..connections {
            let mut peer = stage.peer(OPEN_PORT);
            say(&mut peer, &[hello(1024, u32::MAX)]);
            let begins = |stream| {
                say(&mut peer, &[frame(OPEN, stream, &[])]);
                let application = stage.application.accept();
                application.set_nonblocking(true).unwrap();
                application
            };
            let applications: Vec<_> = (1..=streams).map(begins).collect();
            unread.push((peer, applications));
        }

        // They say what they can, until the proxy has taken nothing for a second.
        let applications = || unread.iter().flat_map(|(_, applications)| applications);
        let (mut said, mut quiet_since) = (0, Instant::now());
        wait_until("a proxy that takes no more", || {
            let taken: u64 = applications().map(says_all_it_can).sum();
            said += taken;
            if taken > 0 {
                quiet_since = Instant::now();
            }
            (quiet_since.elapsed() > Duration::from_secs(1)).then_some(())
        });
        let grown = proxy.grown();
        println!(
            "{connections} connections with {streams} streams each, {} KiB said: the proxy grew by {} KiB",
            said / KIB,
            grown / KIB
        );
        assert!(grown < MOST_KEPT, "{grown} bytes");
        bystander.is_unaffected();
    }
}

fn says_all_it_can(mut application: &TcpStream) -> u64 {
    let (piece, mut said) = ([7; 64 * 1024], 0);
    loop {
        match application.write(&piece) {
            Ok(count) => said += count as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return said,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A good client of the same application, on a stream that lives through everything.
struct Bystander {
    call: TcpStream,
    served: TcpStream,
}

impl Bystander {
    fn of(stage: &Stage) -> Self {
        let mut call = stage.scene.web.connect(stage.scene.orders.at(OPEN_PORT));
        call.write_all(b"a").unwrap();
        let mut served = stage.application.accept();
        served.read_exact(&mut [0]).unwrap();
        Self { call, served }
    }

    /// More than one window goes through, each way.
    fn is_unaffected(&mut self) {
        goes_through(&mut self.call, &mut self.served);
        goes_through(&mut self.served, &mut self.call);
    }
}

fn goes_through(from: &mut TcpStream, to: &mut TcpStream) {
    let sent = content(1, 0);
    let mut came = vec![0; sent.len()];
    thread::scope(|scope| {
        scope.spawn(|| from.write_all(sent).unwrap());
        to.read_exact(&mut came).unwrap();
    });
    check(1, 0, &came).unwrap();
}

/// What came of sending as much as can be sent.
#[derive(Debug)]
struct Flood {
    sent: u64,
    granted: u64,
    told: Option<u8>,
}

impl Flood {
    fn of(peer: &mut Client) -> Self {
        let mut flood = Self {
            sent: 0,
            granted: FIRST as u64,
            told: None,
        };
        let piece = frame(DATA, 1, &[7; FIRST]);
        while flood.sent < MOST_SENT && flood.told.is_none() && peer.write_all(&piece).is_ok() {
            flood.sent += FIRST as u64;
            while flood.told.is_none() && says_something(peer) {
                flood.hears(peer);
            }
        }
        while flood.told.is_none() && flood.hears(peer) {}
        flood
    }

    fn hears(&mut self, peer: &mut Client) -> bool {
        let Ok(heard) = hear(&mut *peer) else {
            return false;
        };
        match heard.kind {
            GOAWAY => self.told = heard.payload.last().copied(),
            CREDIT => self.granted += granted(&heard),
            _ => {}
        }
        true
    }
}

fn delivered_before_reset(mut from: TcpStream) -> u64 {
    let mut delivered = Vec::new();
    let end = from.read_to_end(&mut delivered);
    let error = end.expect_err("a cut is never a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    delivered.len() as u64
}

/// What a proxy sends on a stream, held against what was granted.
struct Meter<'a, T> {
    peer: &'a mut T,
    stream: u32,
    came: u64,
    granted: u64,
}

impl<'a, T: Read + Write> Meter<'a, T> {
    fn of(peer: &'a mut T, stream: u32, granted: u64) -> Self {
        Self {
            peer,
            stream,
            came: 0,
            granted,
        }
    }

    /// Grants little by little, and then more than all: never does more come than was granted, and in the end all.
    fn draws(mut self) {
        self.draws_granted();
        for more in [1, 1, 7, 4096, 16_385, 100_000] {
            self.grant(more);
            self.draws_granted();
        }
        self.grant(WHOLE + LITTLE - self.granted);
        while self.came < WHOLE {
            self.hears();
        }
    }

    fn grant(&mut self, bytes: u64) {
        let credit = u32::try_from(bytes).unwrap().to_be_bytes();
        say(self.peer, &[frame(CREDIT, self.stream, &credit)]);
        self.granted += bytes;
    }

    /// What was granted comes, but for a little that may wait for more, and no more is on its way when the proxy answers.
    fn draws_granted(&mut self) {
        while self.came + LITTLE <= self.granted {
            self.hears();
        }
        say(self.peer, &[frame(PING, 0, &[])]);
        while self.hears() != PONG {}
    }

    fn hears(&mut self) -> u8 {
        let heard = hear(&mut *self.peer).expect("the proxy goes on");
        if heard.kind == DATA {
            assert_eq!(heard.stream, self.stream);
            check(1, self.came, &heard.payload).unwrap();
            self.came += heard.payload.len() as u64;
            assert!(self.came <= self.granted, "{} came", self.came);
        }
        heard.kind
    }
}

/// Writes as much as a hostile peer will draw, in a thread.
fn writes_all(mut to: TcpStream) -> thread::JoinHandle<TcpStream> {
    thread::spawn(move || {
        let mut at = 0;
        while at < WHOLE {
            let piece = content(1, at);
            let most = piece.len().min(usize::try_from(WHOLE - at).unwrap());
            to.write_all(&piece[..most]).unwrap();
            at += most as u64;
        }
        to
    })
}

const MOST_FLOODS: usize = 256;
/// More than all that lies between a peer and an application could hold.
const MOST_SENT: u64 = 16 * MIB;
/// Some windows, and code that was not used before.
const MOST_GROWN: u64 = 4 * MIB;
/// A sender may wait for so much credit before it uses any.
const LITTLE: u64 = 8 * 1024;
/// Drawn by each hostile peer in the end.
const WHOLE: u64 = 4 * MIB;
/// Streams of a peer that reads none of them.
const UNREAD: u32 = 800;
/// Less than the budget for what is received. Were pieces as large for all of them, it would be twice that.
const MOST_KEPT: u64 = 48 * MIB;
