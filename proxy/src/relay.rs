//! Moves bytes both ways between two ends, with half-close, until both ended or one failed.
//!
//! An end is a TCP connection to an application, or a stream of the mesh. Whatever ends otherwise than by
//! an end of data on both sides resets both: a cut never looks like an end.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::outcome::{CloseBy, Failure, RefusedReason, Side};
use crate::telemetry::ByteCounts;
use crate::tls::Established;
use crate::transport::{Code, SessionEnd, Stream, StreamError};

/// One end of a relay. Both directions use it at once.
pub trait End {
    /// The next bytes; none at the end of data. Cancel safe.
    fn read(&self) -> impl Future<Output = Result<Option<Bytes>, EndError>> + Send;
    /// Takes all of `bytes`, waiting for room.
    fn write(&self, bytes: Bytes) -> impl Future<Output = Result<(), EndError>> + Send;
    /// No more is written: the other direction lives on.
    fn finish(&self) -> Result<(), EndError>;
    /// Ends both directions at once, as no end of data.
    fn reset(&self, code: Code);
}

/// How an end failed.
#[derive(Debug)]
pub enum EndError {
    /// A connection's error.
    Io(io::Error),
    /// A stream's.
    Stream(StreamError),
    /// A client without an identity began, late, a mesh handshake.
    BelatedHello,
}

/// Moves bytes between `client` and `server` until both ended, and says who ended first.
///
/// Dropped before its end, it leaves both ends to be reset by the caller.
///
/// # Errors
///
/// The first failure of either end; both are reset then.
pub async fn relay(
    client: &impl End,
    server: &impl End,
    bytes: ByteCounts,
) -> Result<CloseBy, Failure> {
    let first = OnceLock::new();
    let sent = async {
        pump(client, server, |n| bytes.sent(n)).await?;
        bytes.client_ended();
        first.get_or_init(|| CloseBy::Client);
        Ok::<(), Failed>(())
    };
    let received = async {
        pump(server, client, |n| bytes.received(n))
            .await
            .map_err(Failed::mirrored)?;
        bytes.server_ended();
        first.get_or_init(|| CloseBy::Server);
        Ok(())
    };
    match tokio::try_join!(sent, received) {
        Ok(((), ())) => Ok(first.into_inner().unwrap_or(CloseBy::Client)),
        Err(failed) => {
            let failure = Failure::from(failed);
            let code = code_for(&failure);
            client.reset(code);
            server.reset(code);
            Err(failure)
        }
    }
}

async fn pump(from: &impl End, to: &impl End, count: impl Fn(u64)) -> Result<(), Failed> {
    while let Some(bytes) = from.read().await.map_err(Failed::client)? {
        let n = bytes.len() as u64;
        to.write(bytes).await.map_err(Failed::server)?;
        count(n);
    }
    to.finish().map_err(Failed::server)
}

/// Which end failed, and how. In a pump, the one that is read is the client.
struct Failed {
    side: Side,
    error: EndError,
}

impl Failed {
    fn client(error: EndError) -> Self {
        Self {
            side: Side::Client,
            error,
        }
    }

    fn server(error: EndError) -> Self {
        Self {
            side: Side::Server,
            error,
        }
    }

    /// The same, where the pump went from server to client.
    fn mirrored(self) -> Self {
        let side = match self.side {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
            Side::Peer => Side::Peer,
        };
        Self { side, ..self }
    }
}

impl From<Failed> for Failure {
    fn from(Failed { side, error }: Failed) -> Self {
        match (error, side) {
            (EndError::Stream(StreamError::Reset(Code::AppReset)), Side::Client) => {
                Self::ResetByClient
            }
            (EndError::Stream(StreamError::Reset(Code::AppReset)), _) => Self::ResetByServer,
            (EndError::Stream(StreamError::Reset(code)), _) => Self::PeerEnded(code),
            (EndError::Stream(StreamError::SessionEnded(end)), _) => session_ended(&end),
            (EndError::Stream(StreamError::Finished), _) => Self::Cancelled,
            (EndError::BelatedHello, _) => RefusedReason::NotMeshPeer.into(),
            (EndError::Io(error), Side::Client) if is_reset(&error) => Self::ResetByClient,
            (EndError::Io(error), Side::Server) if is_reset(&error) => Self::ResetByServer,
            (EndError::Io(error), side) => Self::Relay { side, error },
        }
    }
}

/// What the end of a whole session is for each of its streams.
pub fn session_ended(end: &SessionEnd) -> Failure {
    match end {
        SessionEnd::Closed(Code::Expired) => Failure::Expiry,
        SessionEnd::Closed(Code::Revoked) => Failure::Revoked,
        SessionEnd::Closed(Code::Draining) => Failure::Drain,
        SessionEnd::Closed(code) | SessionEnd::PeerClosed(code) => Failure::PeerEnded(*code),
        SessionEnd::Protocol(violation) => Failure::Protocol(violation.to_string()),
        SessionEnd::Dead => Failure::Timeout,
        SessionEnd::Clean | SessionEnd::Cut(_) => Failure::SessionCut,
    }
}

/// What the other proxy is told of a failure here.
pub fn code_for(failure: &Failure) -> Code {
    match failure {
        Failure::ResetByClient | Failure::ResetByServer => Code::AppReset,
        Failure::Policy { .. } => Code::PolicyChanged,
        Failure::Expiry => Code::Expired,
        Failure::Revoked => Code::Revoked,
        Failure::Drain => Code::Draining,
        Failure::Timeout => Code::Timeout,
        Failure::Connect(_) => Code::Connect,
        Failure::PeerEnded(code) => *code,
        Failure::Cancelled
        | Failure::Handshake(_)
        | Failure::Denied(_)
        | Failure::Refused(_)
        | Failure::Relay { .. }
        | Failure::PeerRefused { .. }
        | Failure::SessionCut
        | Failure::Protocol(_) => Code::Cancelled,
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

impl End for TcpStream {
    async fn read(&self) -> Result<Option<Bytes>, EndError> {
        loop {
            self.readable().await.map_err(EndError::Io)?;
            // Lent only while bytes move: an idle connection holds no buffer.
            let mut buffer = BytesMut::with_capacity(READ_BYTES);
            match self.try_read_buf(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(_) => return Ok(Some(buffer.freeze())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(EndError::Io(error)),
            }
        }
    }

    async fn write(&self, mut bytes: Bytes) -> Result<(), EndError> {
        while !bytes.is_empty() {
            match self.try_write(&bytes) {
                Ok(written) => drop(bytes.split_to(written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable().await.map_err(EndError::Io)?;
                }
                Err(error) => return Err(EndError::Io(error)),
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), EndError> {
        SockRef::from(self)
            .shutdown(std::net::Shutdown::Write)
            .map_err(EndError::Io)
    }

    fn reset(&self, _code: Code) {
        if let Err(error) = SockRef::from(self).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "linger could not be set");
        }
    }
}

impl End for Stream<Established> {
    async fn read(&self) -> Result<Option<Bytes>, EndError> {
        Self::read(self).await.map_err(EndError::Stream)
    }

    async fn write(&self, bytes: Bytes) -> Result<(), EndError> {
        Self::write(self, bytes).await.map_err(EndError::Stream)
    }

    fn finish(&self) -> Result<(), EndError> {
        Self::finish(self);
        Ok(())
    }

    fn reset(&self, code: Code) {
        Self::reset(self, code);
    }
}

/// Read from an application at a time: four frames of the mesh.
const READ_BYTES: usize = 64 * 1024;
