//! The proof that a pair carries what it is measured with, and carries it as it should.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, socket,
};

use crate::ask::{self, CANARY};
use crate::ground::HTTP;
use crate::peers::{Kind, Pair};
use crate::pods::{Role, SERVER};

/// Sends one request through a pair while all that passes between the pods is captured. To one of Palisade another,
/// which its rule does not allow.
///
/// # Errors
///
/// The answer did not come, or it could be read between the pods though the peer encrypts, or could not though it
/// does not: then the capture sees nothing, and proves nothing. Or no rule is in force, or no record is written.
pub(crate) async fn prove(pair: &mut Pair, kind: Kind) -> Result<()> {
    prove_path(pair, kind)?;
    if kind == Kind::Palisade {
        prove_rule(pair).await?;
    }
    Ok(())
}

fn prove_path(pair: &Pair, kind: Kind) -> Result<()> {
    let pods = &pair.ground.pods;
    let (capture, link) = pods.enter(Role::Server, || Ok((capture()?, if_nametoindex("eth0")?)))?;
    let answer = pods.enter(Role::Client, || {
        let mut stream = ask::connect(SERVER, HTTP).context("cannot connect through the pair")?;
        ask::get(&mut stream, "/canary").context("no answer through the pair")
    })?;
    let is_canary = answer.body.starts_with(CANARY.as_bytes()) && answer.body.len() == 1024;
    ensure!(
        answer.is_ok && is_canary,
        "a wrong answer came through the pair: {answer:?}"
    );

    let seen = Seen::drain(&capture, link)?;
    match (kind.is_encrypted(), seen.canaries) {
        (true, 0) if seen.frames > 0 => Ok(()),
        (true, 0) => bail!("nothing passed between the pods"),
        (true, _) => bail!("{seen:?}: what passes between the pods can be read"),
        (false, 0) => bail!("{seen:?}: the capture does not see what passes in clear"),
        (false, _) => Ok(()),
    }
}

/// Asks at a port that the rule does not name, and at which somebody waits: nobody comes, and the server's proxy has
/// that in its records, beside the request that was answered.
async fn prove_rule(pair: &mut Pair) -> Result<()> {
    let pods = &pair.ground.pods;
    let listener = pods.enter(Role::Server, || {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, NOT_ALLOWED))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    })?;
    let asked = pods.enter(Role::Client, || {
        let answer = ask::connect(SERVER, NOT_ALLOWED)
            .and_then(|mut stream| ask::get(&mut stream, "/canary"));
        Ok(answer.is_ok())
    })?;
    let came = listener.accept().map_err(|error| error.kind());
    ensure!(
        !asked && matches!(came, Err(io::ErrorKind::WouldBlock)),
        "port {NOT_ALLOWED} was reached, which no rule allows"
    );

    let records = pair.ground.path(&format!("{}.out", Role::Server.name()));
    let server = pair.proxies.last_mut().context("there is no proxy")?;
    let both = || {
        let records = fs::read_to_string(&records)?;
        let has = |event: &str, port: u16| {
            let port = format!(":{port}\"");
            let mut lines = records.lines();
            lines.any(|line| line.contains(event) && line.contains(&port))
        };
        Ok(has(CLOSED, HTTP) && has(DENIED, NOT_ALLOWED))
    };
    server.wait_until("recorded both requests", both).await
}

/// A raw socket that sees every frame of its pod, both ways.
fn capture() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let every = SockProtocol::EthAll;
    socket(AddressFamily::Packet, SockType::Raw, flags, every).context("cannot capture")
}

/// What passed between the pods.
#[derive(Debug, Default)]
struct Seen {
    frames: usize,
    canaries: usize,
}

impl Seen {
    /// Counts what was captured so far on this link: on loopback, between proxy and application, all is in clear.
    fn drain(capture: &OwnedFd, link: u32) -> Result<Self> {
        let (mut seen, mut frame) = (Self::default(), vec![0; MOST_BYTES]);
        loop {
            let (count, from) = match recvfrom::<LinkAddr>(capture.as_raw_fd(), &mut frame) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return Ok(seen),
                Err(error) => return Err(error).context("cannot capture"),
            };
            if from.is_some_and(|from| u32::try_from(from.ifindex()) == Ok(link)) {
                let bytes = frame.get(..count).unwrap_or_default();
                let mut words = bytes.windows(CANARY.len());
                seen.frames += 1;
                seen.canaries += usize::from(words.any(|word| word == CANARY.as_bytes()));
            }
        }
    }
}

/// Not in the rule.
const NOT_ALLOWED: u16 = 8081;
/// What the records say of a connection that was let through, and of one that was not.
const CLOSED: &str = r#""event":"close""#;
const DENIED: &str = r#""event":"denied""#;
/// More than the largest frame, with segmentation left to the link.
const MOST_BYTES: usize = 128 << 10;
