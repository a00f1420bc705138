//! Proves the redirect: a connection to a reserved address comes back to this proxy, or it is not ready.
//!
//! The sidecar has no capability to list the kernel's tables, so it tries them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use palisade_api::sidecar::{CANARY_PORT, CANARY_V4, CANARY_V6};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::dial::Dial;
use crate::listen::Arrival;
use crate::readiness::{Condition, Readiness};

/// What only this proxy knows, so that no other listener can pass for it.
#[derive(Clone)]
pub struct Canary {
    word: [u8; 16],
}

impl std::fmt::Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Canary")
    }
}

impl Canary {
    /// A new word.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness.
    pub fn new() -> io::Result<Self> {
        let mut word = [0; 16];
        match aws_lc_rs::rand::fill(&mut word) {
            Ok(()) => Ok(Self { word }),
            Err(aws_lc_rs::error::Unspecified) => Err(io::Error::other("no randomness")),
        }
    }

    /// Answers a connection that was going to the reserved address.
    pub async fn answer(&self, stream: Arrival) {
        let answered = async { stream.into_watched()?.write_all(&self.word).await };
        if let Err(error) = answered.await {
            tracing::debug!(%error, "a canary's connection ended early");
        }
    }

    /// Probes both families without end, often until both hold, and then every few seconds.
    pub async fn probe(self, dial: Dial, readiness: watch::Sender<Readiness>) {
        let mut failures = 0;
        loop {
            let v4 = self.family(dial, CANARY_V4.into()).await;
            let v6 = self.family(dial, CANARY_V6.into()).await;
            failures = if v4 == Condition::Met && v6 == Condition::Met {
                0
            } else {
                failures + 1
            };
            if readiness.borrow().is_redirected() && (1..DOUBT).contains(&failures) {
                // A busy machine is no hole in the redirect: what held is asked again before it is given up.
                tokio::time::sleep(EAGER).await;
                continue;
            }
            let met = v4 == Condition::Met && v6 == Condition::Met;
            readiness.send_if_modified(|readiness| {
                let changed = readiness.redirect_v4 != v4 || readiness.redirect_v6 != v6;
                readiness.redirect_v4 = v4;
                readiness.redirect_v6 = v6;
                changed
            });
            tokio::time::sleep(if met { STEADY } else { EAGER }).await;
        }
    }

    async fn family(&self, dial: Dial, ip: IpAddr) -> Condition {
        let dial = Dial {
            timeout: PATIENCE,
            ..dial
        };
        let mut stream = match dial.connect(SocketAddr::new(ip, CANARY_PORT)).await {
            Ok(stream) => stream,
            // The pod has no such family: nothing can leave it that way.
            Err(error) if is_unreachable(&error) && !has_family(ip) => return Condition::Met,
            Err(error) => return not_redirected(&error),
        };
        let mut word = [0; 16];
        match timeout(PATIENCE, stream.read_exact(&mut word)).await {
            Ok(Ok(_)) if word == self.word => Condition::Met,
            Ok(Ok(_)) => Condition::not_yet("the redirect leads to another program"),
            Ok(Err(error)) => not_redirected(&error),
            Err(_elapsed) => not_redirected(&io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Whether the pod has an address of this family that others can reach; if that cannot be told, it has.
fn has_family(like: IpAddr) -> bool {
    let Ok(mut interfaces) = nix::ifaddrs::getifaddrs() else {
        return true;
    };
    interfaces.any(|interface| {
        interface.address.is_some_and(|address| match like {
            IpAddr::V4(_) => address
                .as_sockaddr_in()
                .is_some_and(|v4| !v4.ip().is_loopback()),
            IpAddr::V6(_) => address
                .as_sockaddr_in6()
                .is_some_and(|v6| !v6.ip().is_loopback() && !v6.ip().is_unicast_link_local()),
        })
    })
}

fn is_unreachable(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ENETUNREACH | Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
    )
}

fn not_redirected(error: &io::Error) -> Condition {
    if is_unreachable(error) {
        return Condition::not_yet(format!(
            "the reserved address cannot be routed ({error}); give the pod a default route of this family"
        ));
    }
    Condition::not_yet(format!(
        "a connection to the reserved address did not come back ({error}); \
         apply the redirect: palisade proxy redirect --apply"
    ))
}

/// So many failures in a row mean that the redirect is gone.
const DOUBT: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(2);
const EAGER: Duration = Duration::from_millis(100);
const STEADY: Duration = Duration::from_secs(5);
