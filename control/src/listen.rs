//! Accepts connections, finishes their handshakes, and hands them to gRPC with who is at the other end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::tls::{Identity, VerifiedPeer};

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// Proved by a client certificate; none was presented otherwise.
    pub(crate) peer: Option<VerifiedPeer>,
    /// Where it comes from: IPv4 as itself, also where we listen on IPv6 for both.
    pub(crate) from: SocketAddr,
}

/// A connection after its handshake. It counts for as long as it lives.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    caller: Caller,
    _counted: OwnedSemaphorePermit,
}

/// Accepts until the receiver is gone. A failure backs off and never ends the loop.
pub(crate) async fn accept(
    listener: TcpListener,
    identity: Identity,
    config: watch::Receiver<Arc<ServerConfig>>,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut backoff = MIN_BACKOFF;
    loop {
        // Waiting here leaves new connections to the kernel's queue.
        let Ok(counted) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let incoming = tokio::select! {
            incoming = listener.accept() => incoming,
            () = accepted.closed() => return,
        };
        let (stream, from) = match incoming {
            Ok(incoming) => incoming,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(backoff).await;
                backoff = MAX_BACKOFF.min(backoff * 2);
                continue;
            }
        };
        backoff = MIN_BACKOFF;
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
        let (identity, accepted) = (identity.clone(), accepted.clone());
        tokio::spawn(async move {
            match handshake(&acceptor, &identity, stream).await {
                Ok((stream, peer)) => {
                    let connection = Connection {
                        stream,
                        caller: Caller { peer, from },
                        _counted: counted,
                    };
                    // Nobody takes it any more: control stops.
                    accepted.send(Ok(connection)).await.ok();
                }
                Err(error) => tracing::debug!(%from, %error, "a handshake failed"),
            }
        });
    }
}

async fn handshake(
    acceptor: &TlsAcceptor,
    identity: &Identity,
    stream: TcpStream,
) -> io::Result<(TlsStream<TcpStream>, Option<VerifiedPeer>)> {
    stream.set_nodelay(true)?;
    let stream = timeout(HANDSHAKE_TIME, acceptor.accept(stream))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    let (_, session) = stream.get_ref();
    if session.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the caller does not speak HTTP/2",
        ));
    }
    let peer = match session.peer_certificates().and_then(<[_]>::split_first) {
        None => None,
        // The handshake accepted it a moment ago by the same function; what it says is read only now.
        Some(chain) => Some(
            identity
                .peer(chain, UnixTime::now())
                .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?,
        ),
    };
    Ok((stream, peer))
}

impl Connected for Connection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Each proxy has one or two.
const MAX_CONNECTIONS: usize = 16_384;
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
