//! Mutual TLS between proxies: the only users of rustls on the data path.
//!
//! [`terminate`] and [`originate`] make a TLS connection whose peer is proven, or say in our words why not.
//! Neither has a deadline of its own: the caller bounds them. Both are cancel safe in that nothing but the
//! connection is lost.

mod config;
pub mod error;
#[cfg(test)]
pub(crate) mod fixture;
mod hello;
pub mod peer;
mod secured;
#[cfg(test)]
pub(crate) mod tests;
mod verifier;

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use palisade_api::sidecar::ALPN;
use palisade_api::spiffe::SpiffeId;
use rustls::{AlertDescription, CertificateError, ConnectionCommon};
use rustls_pki_types::ServerName;
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::identity::{Snapshot, Svid};
pub(crate) use config::client as client_config;
#[cfg(test)]
pub(crate) use config::provider;
use error::{HandshakeError, PeerError};
pub use hello::{Hello, is_mesh_client_hello};
use peer::Role;
pub(crate) use peer::Role as PeerRole;
pub use peer::VerifiedPeer;
pub use secured::Secured;
pub(crate) use verifier::{Anchors, PeerVerifier};

/// What is known of a TLS connection of the mesh.
#[derive(Clone)]
pub struct Established {
    /// Who is at the other end.
    pub peer: VerifiedPeer,
    /// The key exchange, by its IANA name.
    pub group: Option<&'static str>,
    /// The protocol's version, as the record has it.
    pub version: &'static str,
    /// The SVID that this side presented.
    pub own: Arc<Svid>,
    /// Its generation: another one in a later snapshot has superseded it.
    pub own_generation: u64,
    exporter: [u8; 32],
}

impl Established {
    /// The same name for a stream on both sides, which was never sent.
    pub fn conn_id(&self, stream: u32) -> [u8; 16] {
        conn_id(&self.exporter, stream)
    }

    /// When the connection must end: with the first of both sides' certificates.
    pub fn ends_at(&self) -> OffsetDateTime {
        self.peer.not_after().min(self.own.not_after())
    }

    /// Whether a newer SVID than the one presented here is known.
    pub fn is_superseded(&self, snapshot: &Snapshot) -> bool {
        self.own_generation != snapshot.svid_generation
    }
}

/// Without the exporter, which is a secret of the connection.
impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established")
            .field("peer", self.peer.id())
            .field("group", &self.group)
            .field("version", &self.version)
            .field("own", &self.own)
            .finish_non_exhaustive()
    }
}

/// Completes an inbound handshake: any peer that is trusted.
///
/// # Errors
///
/// Where the peer is not proven, or this proxy cannot prove itself; then no byte of the peer was accepted.
pub async fn terminate<T>(
    snapshot: &Snapshot,
    io: T,
    now: OffsetDateTime,
) -> Result<(Secured<T>, Established), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (own, verifier) = prepare(snapshot, Role::Client, None, now)?;
    let config =
        config::server(&own, Arc::clone(&verifier), ALPN).map_err(HandshakeError::Protocol)?;
    let stream = TlsAcceptor::from(Arc::new(config))
        .accept(io)
        .await
        .map_err(|error| failure(error, &verifier))?;
    let established = established(stream.get_ref().1, &verifier, own, snapshot)?;
    let secured = Secured::new(stream.into()).map_err(|error| failure(error, &verifier))?;
    Ok((secured, established))
}

/// Completes an outbound handshake: `expected` and no other may answer.
///
/// A peer that refuses this side's certificate says so later, in the first read: see [`alert_of`].
///
/// # Errors
///
/// Where the peer is not proven to be `expected`, or this proxy has nothing to prove itself with.
pub async fn originate<T>(
    snapshot: &Snapshot,
    expected: &SpiffeId,
    io: T,
    now: OffsetDateTime,
) -> Result<(Secured<T>, Established), HandshakeError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let (own, verifier) = prepare(snapshot, Role::Server, Some(expected.clone()), now)?;
    let config = config::client(Some(&own), Arc::clone(&verifier), ALPN)
        .map_err(HandshakeError::Protocol)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(no_server_name(), io)
        .await
        .map_err(|error| failure(error, &verifier))?;
    let established = established(stream.get_ref().1, &verifier, own, snapshot)?;
    let secured = Secured::new(stream.into()).map_err(|error| failure(error, &verifier))?;
    Ok((secured, established))
}

/// What a TLS alert in the middle of a connection means.
///
/// In TLS 1.3 the client has finished before the server has seen its certificate, so a refusal comes with
/// the first read.
pub fn alert_of(error: &io::Error) -> Option<HandshakeError> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let rustls::Error::AlertReceived(alert) = error else {
        return None;
    };
    Some(refused_by_peer(*alert))
}

/// rustls wants a name; the SPIFFE ID is what is verified, and none is sent.
pub(crate) fn no_server_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

/// Why a handshake failed, from rustls's error and what the verifier kept.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "rustls's errors are many, and grow; what is not named has its own words"
)]
pub(crate) fn failure(error: io::Error, verifier: &PeerVerifier) -> HandshakeError {
    if let Some(Err(refusal)) = verifier.outcome() {
        return HandshakeError::Peer(refusal.clone());
    }
    let tls = match error.downcast::<rustls::Error>() {
        Ok(tls) => tls,
        Err(cut) => return HandshakeError::Cut(cut),
    };
    match tls {
        rustls::Error::NoCertificatesPresented => PeerError::NoCertificate.into(),
        rustls::Error::InvalidCertificate(CertificateError::BadEncoding) => {
            PeerError::Malformed.into()
        }
        rustls::Error::InvalidCertificate(_) => PeerError::Chain.into(),
        rustls::Error::NoApplicationProtocol => HandshakeError::NotMesh,
        rustls::Error::AlertReceived(alert) => refused_by_peer(alert),
        other => HandshakeError::Protocol(other),
    }
}

fn refused_by_peer(alert: AlertDescription) -> HandshakeError {
    if alert == AlertDescription::NoApplicationProtocol {
        return HandshakeError::NotMesh;
    }
    let name = alert
        .as_str()
        .map_or_else(|| format!("alert {}", u8::from(alert)), str::to_owned);
    HandshakeError::RefusedByPeer(name)
}

type Prepared = (Arc<Svid>, Arc<PeerVerifier>);

fn prepare(
    snapshot: &Snapshot,
    role: Role,
    expected: Option<SpiffeId>,
    now: OffsetDateTime,
) -> Result<Prepared, HandshakeError> {
    let own = snapshot.live_svid(now).ok_or(HandshakeError::NoSvid)?;
    let bundles = snapshot.bundles.as_ref().ok_or(HandshakeError::NoSvid)?;
    let revocations = snapshot
        .revocations
        .as_ref()
        .ok_or(HandshakeError::NoRevocations)?;
    let verifier = PeerVerifier {
        role,
        anchors: Anchors::Bundles(Arc::clone(bundles)),
        revocations: Arc::clone(revocations),
        trust_generation: snapshot.trust_generation,
        expected,
        now,
        outcome: OnceLock::new(),
    };
    Ok((Arc::clone(own), Arc::new(verifier)))
}

/// Reads off a finished handshake what we insist on: a proven peer, and our protocol.
fn established<Side>(
    connection: &ConnectionCommon<Side>,
    verifier: &PeerVerifier,
    own: Arc<Svid>,
    snapshot: &Snapshot,
) -> Result<Established, HandshakeError> {
    // A TLS library accepts a peer that offers no protocol at all.
    if connection.alpn_protocol() != Some(ALPN) {
        return Err(HandshakeError::NotMesh);
    }
    let peer = match verifier.outcome() {
        Some(Ok(peer)) => peer.clone(),
        Some(Err(refusal)) => return Err(refusal.clone().into()),
        None => return Err(PeerError::NoCertificate.into()),
    };
    let exporter = connection
        .export_keying_material([0; 32], EXPORTER_LABEL, None)
        .map_err(HandshakeError::Protocol)?;
    Ok(Established {
        peer,
        group: connection
            .negotiated_key_exchange_group()
            .and_then(|group| group.name().as_str()),
        version: "1.3",
        own,
        own_generation: snapshot.svid_generation,
        exporter,
    })
}

/// A stream's name, from the connection's exported secret.
pub(crate) fn conn_id(exporter: &[u8; 32], stream: u32) -> [u8; 16] {
    let mut input = exporter.to_vec();
    input.extend(stream.to_be_bytes());
    let digest = digest(&SHA256, &input);
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    id
}

pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-palisade-conn-id";
