//! The proof that a pair carries what it is measured with, and carries it as it should.

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

/// Sends one request through a pair while all that passes between the pods is captured.
///
/// # Errors
///
/// The answer did not come, or it could be read between the pods though the peer encrypts, or could not though it
/// does not: then the capture sees nothing, and proves nothing.
pub(crate) fn prove(pair: &Pair, kind: Kind) -> Result<()> {
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

/// More than the largest frame, with segmentation left to the link.
const MOST_BYTES: usize = 128 << 10;
