//! A connection to control, which proves itself before it is told anything.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Revocations, Snapshot, Svid, TrustBundles};
use crate::dial;
use crate::tls::error::{HandshakeError, PeerError};
use crate::tls::{self, Anchors, PeerRole, PeerVerifier};

/// Where control is, and what it must be called.
#[derive(Debug, Clone)]
pub struct ControlAddr {
    /// Its gRPC listener.
    pub addr: SocketAddr,
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
/// # Errors
///
/// Where control is not reached or not proven.
pub async fn dial(
    control: &ControlAddr,
    trust: ControlTrust,
    own: Option<&Svid>,
    now: OffsetDateTime,
) -> Result<Channel, ControlError> {
    let proven = async {
        let tcp = reach(control).await.map_err(ControlError::Unreachable)?;
        handshake(&control.trust_domain, trust, own, tcp, now).await
    };
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, proven)
        .await
        .or(Err(ControlError::TimedOut))??;
    channel(stream).await.map_err(ControlError::Http)
}

/// Why there is no proven connection to control.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No authority is known yet: the first SVID was not issued.
    #[error("no authority is known yet")]
    NoBundle,
    /// No TCP connection.
    #[error("control is not reached")]
    Unreachable(#[source] io::Error),
    /// It took longer than it may.
    #[error("control did not answer in time")]
    TimedOut,
    /// The root is another than the token's.
    #[error("not the control service that the token names")]
    WrongRoot,
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
    Http(#[source] tonic::transport::Error),
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
    let by_token = matches!(trust, ControlTrust::Root(_));
    let verifier = Arc::new(verifier(trust_domain, trust, now));
    let config =
        tls::client_config(own, Arc::clone(&verifier), HTTP2).map_err(ControlError::Config)?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(tls::no_server_name(), io)
        .await
        .map_err(|error| refusal(tls::failure(error, &verifier), by_token))?;
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
        ControlTrust::Bundles(bundles, revocations) => (Anchors::Bundles(bundles), revocations),
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

fn refusal(error: HandshakeError, by_token: bool) -> ControlError {
    match error {
        HandshakeError::Peer(PeerError::Unexpected { found, .. }) => {
            ControlError::NotControl { found }
        }
        HandshakeError::Peer(PeerError::UnknownAuthority) if by_token => ControlError::WrongRoot,
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

async fn reach(control: &ControlAddr) -> io::Result<TcpStream> {
    let socket = dial::socket(control.addr, control.mark)?;
    socket.set_tcp_user_timeout(Some(KEEP_ALIVE * 2))?;
    TcpSocket::from_std_stream(socket.into())
        .connect(control.addr)
        .await
}

/// Speaks HTTP/2 over the one stream; a second connection is never made behind our back.
async fn channel(stream: TlsStream<TcpStream>) -> Result<Channel, tonic::transport::Error> {
    let stream = Mutex::new(Some(TokioIo::new(stream)));
    Endpoint::from_static("http://control")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .connect_with_connector(service_fn(move |_| {
            let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            std::future::ready(stream.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected)))
        }))
        .await
}

const HTTP2: &[u8] = b"h2";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, Certified, TRUST_DOMAIN, now, trust_domain};
    use aws_lc_rs::digest::{SHA256, digest};
    use rustls::ServerConfig;
    use rustls::crypto::aws_lc_rs::default_provider;
    use tokio_rustls::TlsAcceptor;

    fn control(authority: &Authority) -> Certified {
        let name = format!("spiffe://{TRUST_DOMAIN}/palisade/control");
        authority.custom(|leaf| leaf.uris = vec![name])
    }

    fn root_of(authority: &Authority) -> ControlTrust {
        let root = authority.certificate();
        let parsed = crate::identity::leaf::parse(&root).unwrap();
        let hash = digest(&SHA256, parsed.public_key().raw);
        ControlTrust::Root(hash.as_ref().try_into().unwrap())
    }

    fn bundle_of(authority: &Authority) -> ControlTrust {
        let bundles = TrustBundles::new(trust_domain(), authority.bundle());
        ControlTrust::Bundles(Arc::new(bundles), Arc::default())
    }

    /// A handshake with a server that has `leaf`, and presents `root` behind it.
    async fn meet(
        leaf: Certified,
        root: &Authority,
        alpn: &[u8],
        trust: ControlTrust,
    ) -> Result<(), ControlError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der, root.certificate()], leaf.key)
            .unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        let (near, far) = tokio::io::duplex(1 << 16);
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let domain = trust_domain();
        let (met, served) = tokio::join!(
            handshake(&domain, trust, None, near, now()),
            acceptor.accept(far)
        );
        // A server may not see that it was refused; it never sees an acceptance that was none.
        assert!(met.is_err() || served.is_ok());
        met.map(|_| ())
    }

    #[tokio::test]
    async fn control_proves_itself_by_the_tokens_root_and_later_by_the_bundle() {
        let ours = Authority::new();
        for trust in [root_of(&ours), bundle_of(&ours)] {
            meet(control(&ours), &ours, HTTP2, trust).await.unwrap();
        }
    }

    #[tokio::test]
    async fn another_root_than_the_tokens_is_refused() {
        let (ours, other) = (Authority::new(), Authority::new());
        // The second presents our root, which did not sign its leaf.
        for (leaf, root) in [(control(&other), &other), (control(&other), &ours)] {
            let met = meet(leaf, root, HTTP2, root_of(&ours)).await;
            assert!(matches!(met, Err(ControlError::WrongRoot)), "{met:?}");
        }
        let met = meet(control(&other), &other, HTTP2, bundle_of(&ours)).await;
        assert!(
            matches!(met, Err(ControlError::Peer(PeerError::UnknownAuthority))),
            "{met:?}"
        );
    }

    #[tokio::test]
    async fn a_workload_cannot_pose_as_control() {
        let ours = Authority::new();
        for trust in [root_of(&ours), bundle_of(&ours)] {
            let met = meet(ours.leaf("web"), &ours, HTTP2, trust).await;
            assert!(
                matches!(&met, Err(ControlError::NotControl { found })
                    if found.as_str() == "spiffe://cluster.local/ns/shop/sa/web"),
                "{met:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_leaf_that_breaks_the_standard_is_not_control() {
        let ours = Authority::new();
        let name = trust_domain().control().to_string();
        let two = ours.custom(|leaf| leaf.uris = vec![name, "spiffe://cluster.local/a".into()]);
        let met = meet(two, &ours, HTTP2, root_of(&ours)).await;
        assert!(
            matches!(met, Err(ControlError::Peer(PeerError::ManyUriNames))),
            "{met:?}"
        );
        let foreign =
            ours.custom(|leaf| leaf.uris = vec!["spiffe://other/palisade/control".into()]);
        let met = meet(foreign, &ours, HTTP2, root_of(&ours)).await;
        assert!(
            matches!(
                met,
                Err(ControlError::Peer(PeerError::UnknownTrustDomain(_)))
            ),
            "{met:?}"
        );
    }

    #[tokio::test]
    async fn a_mesh_peer_is_not_control() {
        let ours = Authority::new();
        let alpn = palisade_api::sidecar::ALPN;
        let met = meet(control(&ours), &ours, alpn, root_of(&ours)).await;
        assert!(matches!(met, Err(ControlError::Protocol)), "{met:?}");
    }
}
