//! How a connection ends: plain data, and the words that records and metrics use for it.

mod reason;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use crate::tls::error::HandshakeError;
use crate::transport::Code;

pub use reason::{Denied, RefusedReason};

/// How a connection ended.
pub type Outcome = Result<CloseBy, Failure>;

/// Who ended a connection first, where both ends ended it cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseBy {
    /// Its client.
    Client,
    /// Its server.
    Server,
}

/// Why a connection did not end cleanly. `Display` says this level only; the cause is the source.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Its task was dropped: the proxy stops, or gave up.
    #[error("the connection was cancelled")]
    Cancelled,
    /// There is no verified peer.
    #[error("the mesh handshake failed")]
    Handshake(#[source] Arc<HandshakeError>),
    /// Policy, or the state of the peer's identity, does not permit it. Nothing was delivered.
    #[error("the connection is denied")]
    Denied(#[from] Denied),
    /// This proxy could not or would not carry it, whoever asks. Nothing was delivered.
    #[error("the connection is refused")]
    Refused(#[from] RefusedReason),
    /// The application (inbound) or the destination (outbound) could not be reached.
    #[error("the destination could not be reached")]
    Connect(#[source] Arc<io::Error>),
    /// Bytes could not be moved.
    #[error("the {} side failed", side.as_str())]
    Relay {
        /// Where it failed.
        side: Side,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The client reset it.
    #[error("the client reset the connection")]
    ResetByClient,
    /// The server reset it.
    #[error("the server reset the connection")]
    ResetByServer,
    /// It was silent for longer than it may be.
    #[error("the connection was idle for longer than it may be")]
    Timeout,
    /// It lived, and a newer policy denies it.
    #[error("policy revision {revision} no longer permits the connection")]
    Policy {
        /// The revision that denies it.
        revision: u64,
        /// Why.
        #[source]
        denied: Denied,
    },
    /// It lived, and an SVID that it rests on expired.
    #[error("an SVID that the connection rests on expired")]
    Expiry,
    /// It lived, and an identity that it rests on was revoked, or lost its authority.
    #[error("an identity that the connection rests on was revoked")]
    Revoked,
    /// It lived for longer than the proxy waits when it stops.
    #[error("the proxy stopped")]
    Drain,
    /// Client side: the server's proxy answered REFUSED.
    #[error("the peer refused the connection")]
    PeerRefused {
        /// Why.
        code: Code,
        /// The rule that it named, which it does within the trust domain only.
        rule: Option<Box<str>>,
    },
    /// It lived, and the other proxy ended it, for this reason.
    #[error("the peer ended the connection: {0}")]
    PeerEnded(Code),
    /// The mesh session under it ended without its end of data.
    #[error("the mesh session was cut")]
    SessionCut,
    /// The peer broke the mesh protocol.
    #[error("the peer broke the mesh protocol: {0}")]
    Protocol(String),
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(Arc::new(error))
    }
}

/// Why a mesh connection was not made; shared by all who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint could not be reached.
    #[error("the endpoint could not be reached")]
    Reach(#[source] Arc<io::Error>),
    /// It could, and did not prove to be who it must be, or did not take us for who we are.
    #[error("the mesh handshake failed")]
    Handshake(#[source] Arc<HandshakeError>),
    /// The proxy is stopping.
    #[error("the proxy is stopping")]
    Draining,
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Reach(error) => Self::Connect(Arc::clone(error)),
            ConnectError::Handshake(error) => Self::Handshake(Arc::clone(error)),
            ConnectError::Draining => RefusedReason::Draining.into(),
        }
    }
}

/// Which side of a relay failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The connection's client.
    Client,
    /// The connection's server.
    Server,
    /// The mesh session between the two proxies.
    Peer,
}

impl Side {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Peer => "peer",
        }
    }
}

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// The connection carries bytes, and has done so for a while.
    Open,
    /// It still does.
    Progress,
    /// It ended.
    Close,
    /// It was not let through. Nothing was delivered.
    Denied,
    /// Its handshake failed. Nothing was delivered.
    TlsFailed,
}

impl Event {
    /// The word in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Progress => "progress",
            Self::Close => "close",
            Self::Denied => "denied",
            Self::TlsFailed => "tls_failed",
        }
    }
}

/// `close.by`: who or what ended a connection. Every word of it is in [`CLOSE_WORDS`].
pub fn close_by(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(CloseBy::Client) => "client",
        Ok(CloseBy::Server) => "server",
        Err(failure) => failure.close_by(),
    }
}

/// The event that an end is recorded as.
pub fn event(outcome: &Outcome) -> Event {
    outcome
        .as_ref()
        .map_or_else(Failure::event, |_| Event::Close)
}

impl Failure {
    /// The event that it is recorded as: `close`, `denied` or `tls_failed`.
    pub fn event(&self) -> Event {
        match self {
            Self::Handshake(_) => Event::TlsFailed,
            Self::Denied(_) | Self::Refused(_) => Event::Denied,
            Self::PeerRefused { code, .. } if is_denial(*code) => Event::Denied,
            Self::Cancelled
            | Self::Connect(_)
            | Self::Relay { .. }
            | Self::ResetByClient
            | Self::ResetByServer
            | Self::Timeout
            | Self::Policy { .. }
            | Self::Expiry
            | Self::Revoked
            | Self::Drain
            | Self::PeerRefused { .. }
            | Self::PeerEnded(_)
            | Self::SessionCut
            | Self::Protocol(_) => Event::Close,
        }
    }

    /// `close.by`: who or what ended it.
    pub fn close_by(&self) -> &'static str {
        match self {
            Self::ResetByClient => "client",
            Self::ResetByServer => "server",
            Self::Denied(denied) | Self::Policy { denied, .. } => denied_by(denied.as_str()),
            Self::PeerRefused { code, .. } | Self::PeerEnded(code) => ended_by(*code),
            Self::Expiry => "expiry",
            Self::Revoked => "revoked",
            Self::Drain | Self::Refused(RefusedReason::Draining) => "drain",
            Self::Timeout => "timeout",
            Self::Handshake(error) if matches!(**error, HandshakeError::TimedOut) => "timeout",
            Self::Connect(error) if error.kind() == io::ErrorKind::TimedOut => "timeout",
            Self::Cancelled
            | Self::Handshake(_)
            | Self::Refused(_)
            | Self::Connect(_)
            | Self::Relay { .. }
            | Self::SessionCut
            | Self::Protocol(_) => "error",
        }
    }

    /// The one word for metrics and for the record's `error`; of a closed set.
    pub fn error(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Handshake(error) => error.reason(),
            Self::Denied(denied) | Self::Policy { denied, .. } => denied.as_str(),
            Self::Refused(reason) => reason.as_str(),
            Self::Connect(error) if nobody_listens(error) => "connect",
            Self::Connect(_) => "unreachable",
            Self::Relay { side, .. } => match side {
                Side::Client => "relay_client",
                Side::Server => "relay_server",
                Side::Peer => "relay_peer",
            },
            Self::ResetByClient => "reset_by_client",
            Self::ResetByServer => "reset_by_server",
            Self::Timeout => "idle",
            Self::Expiry => "expired",
            Self::Revoked => "revoked",
            Self::Drain => "drain",
            Self::PeerRefused {
                code: Code::Connect,
                ..
            } => "peer_connect",
            Self::PeerRefused { code, .. } | Self::PeerEnded(code) => code.name(),
            Self::SessionCut => "session_cut",
            Self::Protocol(_) => "mesh_protocol",
        }
    }
}

/// The words of `close.by`, in the order of `design.md`.
pub const CLOSE_WORDS: [&str; 8] = [
    "client", "server", "policy", "expiry", "revoked", "drain", "timeout", "error",
];

/// Whether why a destination could not be reached says that nobody listens there, which is what its kernel's refusal says. A
/// timeout may be an application that is slow or whose queue is full, as is a reset; that there are no more sockets here, or
/// no way there, says nothing of it.
pub fn nobody_listens(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Whether what the other proxy said means that it would not let the connection through.
fn is_denial(code: Code) -> bool {
    matches!(
        code,
        Code::Denied | Code::Revoked | Code::Expired | Code::NotReady
    )
}

/// Who or what ended a connection, where the other proxy said so.
fn ended_by(code: Code) -> &'static str {
    match code {
        Code::Denied | Code::PolicyChanged => "policy",
        Code::Expired => "expiry",
        Code::Revoked => "revoked",
        Code::Draining => "drain",
        Code::Timeout => "timeout",
        Code::NotReady
        | Code::NoCapacity
        | Code::Connect
        | Code::Cancelled
        | Code::AppReset
        | Code::ProtocolError => "error",
    }
}

fn denied_by(word: &'static str) -> &'static str {
    match word {
        "revoked" => "revoked",
        "expired" => "expiry",
        _ => "policy",
    }
}
