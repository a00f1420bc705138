//! A connection to control, which proves itself before it is told anything.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::Uri;
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::place::ControlPlace;
use super::{Revocations, Snapshot, Svid, TrustBundles, causes};
use crate::dial;
use crate::random;
use crate::rpc::Channel;
use crate::tls::error::{HandshakeError, PeerError};
use crate::tls::{self, Anchors, PeerRole, PeerVerifier};

/// Where control is, and what it must be called.
#[derive(Debug, Clone)]
pub struct ControlAddr {
    /// Its gRPC listeners: replicas, or other ways to the same.
    pub places: Vec<ControlPlace>,
    /// Whose control it is.
    pub trust_domain: TrustDomain,
    /// The mark of the socket, where the redirect knows the proxy's connections by it.
    pub mark: Option<u32>,
}

/// What control must prove itself by.
#[derive(Debug, Clone)]
pub enum ControlTrust {
    /// The root whose SubjectPublicKeyInfo has this SHA-256, which a join token named.
    Root([u8; 32]),
    /// An authority of a trust anchor that was laid beside a service account's token, and not revoked.
    Anchor(Arc<TrustBundles>, Arc<Revocations>),
    /// An authority of the own trust domain's bundle, and not revoked.
    Bundles(Arc<TrustBundles>, Arc<Revocations>),
}

/// Connects to control by what is known: its authorities, and the own SVID where one is live.
///
/// The channel is one connection. It does not connect again: a new one takes the SVID of its time.
///
/// # Errors
///
/// Where control is not reached or not proven, and where no authority is known yet.
pub async fn connect(
    control: &ControlAddr,
    snapshot: &Snapshot,
    now: OffsetDateTime,
) -> Result<Channel, ControlError> {
    let bundles = snapshot.bundles.clone().ok_or(ControlError::NoBundle)?;
    // Before the first set came, from control itself, nothing is known to be revoked.
    let revocations = snapshot.revocations.clone().unwrap_or_default();
    let own = snapshot.live_svid(now).map(Arc::as_ref);
    dial(
        control,
        ControlTrust::Bundles(bundles, revocations),
        own,
        now,
    )
    .await
}

/// Connects to control by an explicit trust, and presents `own` if there is one.
///
/// All places are tried, in turn, beginning with any: so no dead replica is asked first for ever.
///
/// # Errors
///
/// Where control is not reached or not proven at any place.
pub async fn dial(
    control: &ControlAddr,
    trust: ControlTrust,
    own: Option<&Svid>,
    now: OffsetDateTime,
) -> Result<Channel, ControlError> {
    let mut failures = Vec::new();
    for (index, place) in from_any(&control.places) {
        let addresses = match place.resolve().await {
            Ok(addresses) => addresses,
            Err(error) => {
                let error = ControlError::Unresolved(error);
                let at = place.to_string();
                failures.push((index, Unproven { at, error }));
                continue;
            }
        };
        for (_, address) in from_any(&addresses) {
            match dial_one(control, *address, trust.clone(), own, now).await {
                Ok(channel) => return Ok(channel),
                Err(error) => {
                    let at = tried(place, *address);
                    failures.push((index, Unproven { at, error }));
                }
            }
        }
    }
    // In the order of the list, so that the same failures always read the same.
    failures.sort_by(|(one, first), (other, second)| (one, &first.at).cmp(&(other, &second.at)));
    let failures = failures.into_iter().map(|(_, failure)| failure).collect();
    Err(ControlError::Everywhere(failures))
}

/// All of `list` with their indexes, once round, beginning with a random one.
fn from_any<T>(list: &[T]) -> impl Iterator<Item = (usize, &T)> {
    let first = random::below(list.len());
    let (before, after) = list.split_at_checked(first).unwrap_or((list, &[]));
    let after = after.iter().zip(first..).map(|(item, index)| (index, item));
    after.chain(before.iter().enumerate())
}

fn tried(place: &ControlPlace, address: SocketAddr) -> String {
    let (place, address) = (place.to_string(), address.to_string());
    if place == address {
        address
    } else {
        format!("{place} ({address})")
    }
}

async fn dial_one(
    control: &ControlAddr,
    address: SocketAddr,
    trust: ControlTrust,
    own: Option<&Svid>,
    now: OffsetDateTime,
) -> Result<Channel, ControlError> {
    let proven = async {
        let tcp = reach(address, control.mark).await;
        let tcp = tcp.map_err(ControlError::Unreachable)?;
        handshake(&control.trust_domain, trust, own, tcp, now).await
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, proven)
        .await
        .or(Err(ControlError::TimedOut))??;
    let channel = Channel::open(stream, Some(KEEP_ALIVE)).await;
    channel.map_err(ControlError::Http)
}

/// What came of one address, or of a name without one.
#[derive(Debug)]
pub struct Unproven {
    /// Where it was tried.
    pub at: String,
    /// Why it is no control.
    pub error: ControlError,
}

/// Why there is no proven connection to control.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No authority is known yet: the first SVID was not issued.
    #[error("no authority is known yet")]
    NoBundle,
    /// Every place was tried.
    #[error("{}", .0.iter().map(|it| format!("{}: {}", it.at, causes(&it.error))).collect::<Vec<_>>().join("; "))]
    Everywhere(Vec<Unproven>),
    /// A name has no address.
    #[error("the name is not resolved")]
    Unresolved(#[source] io::Error),
    /// No TCP connection.
    #[error("control is not reached")]
    Unreachable(#[source] io::Error),
    /// It took longer than it may.
    #[error("control did not answer in time")]
    TimedOut,
    /// The root is another than the token's.
    #[error("not the control service that the token names")]
    WrongRoot,
    /// Its certificate comes from another authority than those of the trust anchor.
    #[error("no authority of the trust anchor vouches for what answers as the control service")]
    NotByAnchor,
    /// It proved another name, for example a workload's.
    #[error("this is not control but {found}")]
    NotControl {
        /// What it proved to be.
        found: SpiffeId,
    },
    /// Its certificate proves no name.
    #[error("the control service's certificate is refused")]
    Peer(#[source] PeerError),
    /// It does not speak HTTP/2.
    #[error("what answers does not speak control's protocol")]
    Protocol,
    /// The handshake failed in another way, or control refused this proxy's certificate.
    #[error("the handshake with control failed")]
    Handshake(#[source] HandshakeError),
    /// rustls refused the configuration.
    #[error("TLS cannot be configured")]
    Config(#[source] rustls::Error),
    /// HTTP/2 did not start.
    #[error("the connection to control failed")]
    Http(#[source] hyper::Error),
}

impl ControlError {
    /// Whether somebody answered and one side does not believe the other, which a new attestation may mend.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Everywhere(failures) => failures.iter().any(|it| it.error.is_refusal()),
            Self::NoBundle
            | Self::WrongRoot
            | Self::NotByAnchor
            | Self::NotControl { .. }
            | Self::Peer(_)
            | Self::Handshake(_) => true,
            Self::Unresolved(_)
            | Self::Unreachable(_)
            | Self::TimedOut
            | Self::Protocol
            | Self::Config(_)
            | Self::Http(_) => false,
        }
    }
}

/// Makes control prove itself over `io`.
async fn handshake<T>(
    trust_domain: &TrustDomain,
    trust: ControlTrust,
    own: Option<&Svid>,
    io: T,
    now: OffsetDateTime,
) -> Result<TlsStream<T>, ControlError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let unknown = match trust {
        ControlTrust::Root(_) => ControlError::WrongRoot,
        ControlTrust::Anchor(..) => ControlError::NotByAnchor,
        ControlTrust::Bundles(..) => ControlError::Peer(PeerError::UnknownAuthority),
    };
    let verifier = Arc::new(verifier(trust_domain, trust, now));
    let config =
        tls::client_config(own, Arc::clone(&verifier), HTTP2).map_err(ControlError::Config)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(tls::no_server_name(), io)
        .await
        .map_err(|error| refusal(tls::failure(error, &verifier), unknown))?;
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(ControlError::Protocol);
    }
    Ok(stream)
}

fn verifier(trust_domain: &TrustDomain, trust: ControlTrust, now: OffsetDateTime) -> PeerVerifier {
    let (anchors, revocations) = match trust {
        ControlTrust::Root(root_sha256) => {
            let trust_domain = trust_domain.clone();
            let pinned = Anchors::Pinned {
                trust_domain,
                root_sha256,
            };
            (pinned, Arc::default())
        }
        ControlTrust::Anchor(bundles, revocations)
        | ControlTrust::Bundles(bundles, revocations) => (Anchors::Bundles(bundles), revocations),
    };
    PeerVerifier {
        role: PeerRole::Server,
        anchors,
        revocations,
        trust_generation: 0,
        expected: Some(trust_domain.control()),
        now,
        outcome: OnceLock::new(),
    }
}

/// `unknown` is what an authority that is not trusted means.
fn refusal(error: HandshakeError, unknown: ControlError) -> ControlError {
    match error {
        HandshakeError::Peer(PeerError::Unexpected { found, .. }) => {
            ControlError::NotControl { found }
        }
        HandshakeError::Peer(PeerError::UnknownAuthority) => unknown,
        HandshakeError::Peer(error) => ControlError::Peer(error),
        HandshakeError::NotMesh => ControlError::Protocol,
        other @ (HandshakeError::TimedOut
        | HandshakeError::Cut(_)
        | HandshakeError::NoSvid
        | HandshakeError::NoRevocations
        | HandshakeError::RefusedByPeer(_)
        | HandshakeError::Protocol(_)) => ControlError::Handshake(other),
    }
}

async fn reach(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = dial::socket(address, mark)?;
    socket.set_tcp_user_timeout(Some(KEEP_ALIVE * 2))?;
    TcpSocket::from_std_stream(socket.into())
        .connect(address)
        .await
}

/// What calls to control name as its authority; it is known by its certificate.
pub fn origin() -> Uri {
    Uri::from_static("http://control")
}

const HTTP2: &[u8] = b"h2";
/// For one address: others may answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const KEEP_ALIVE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
