//! Why a connection is not let through.

use palisade_api::policy::{DenyReason, NearMiss, RuleName};

use crate::transport::Code;

/// Why a peer may not have this connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A rule denies it.
    #[error("rule {0} denies it")]
    Rule(RuleName),
    /// No rule allows it.
    #[error("no rule allows it")]
    NoRule(Option<NearMiss>),
    /// The peer's name or serial number is revoked.
    #[error("the peer's identity is revoked")]
    Revoked,
    /// The peer's SVID expired after its handshake.
    #[error("the peer's SVID has expired")]
    Expired,
    /// The authority of the peer's SVID left the bundle after its handshake.
    #[error("the authority of the peer's SVID is no longer trusted")]
    Untrusted,
    /// Control sent no rules yet.
    #[error("the proxy has no policy yet")]
    NoPolicy,
    /// An object that was never understood closes its target.
    #[error("{0} was not understood, and closes what it protects")]
    NotUnderstood(String),
}

impl From<DenyReason> for Denied {
    fn from(reason: DenyReason) -> Self {
        match reason {
            DenyReason::Rule(rule) => Self::Rule(rule),
            DenyReason::NoRule(near_miss) => Self::NoRule(near_miss),
        }
    }
}

impl Denied {
    /// The one word for metrics, records and REFUSED.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rule(_) => "rule",
            Self::NoRule(_) => "no_rule",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Untrusted => "untrusted",
            Self::NoPolicy => "no_policy",
            Self::NotUnderstood(_) => "not_understood",
        }
    }

    /// What the other proxy is told of it.
    pub fn code(&self) -> Code {
        match self {
            Self::Rule(_) | Self::NoRule(_) | Self::Untrusted | Self::NotUnderstood(_) => {
                Code::Denied
            }
            Self::Revoked => Code::Revoked,
            Self::Expired => Code::Expired,
            Self::NoPolicy => Code::NotReady,
        }
    }
}

/// Why a connection was refused whoever asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RefusedReason {
    /// The proxy is not ready.
    #[error("the proxy is not ready")]
    NotReady,
    /// It has no SVID that is valid now.
    #[error("the proxy has no valid SVID")]
    NoSvid,
    /// It has no set of revocations yet.
    #[error("the proxy has no revocations yet")]
    NoRevocations,
    /// Control was not heard for longer than `max_policy_age`.
    #[error("the policy is older than it may be")]
    PolicyTooOld,
    /// Control does not know what lives at the address, or did not say in time.
    #[error("nothing is known of the address")]
    UnknownAddress,
    /// A port of the service that leads nowhere.
    #[error("the service has no such port")]
    NoSuchPort,
    /// A service without an endpoint that answers.
    #[error("the service has no endpoint")]
    NoEndpoint,
    /// The original destination is a port of the proxy's own.
    #[error("the destination is a port of the proxy's own")]
    OwnPort,
    /// The original destination is no address of this pod.
    #[error("the destination is no address of this pod")]
    NotOurAddress,
    /// As many connections as there may be.
    #[error("there are too many connections")]
    TooManyConnections,
    /// As many handshakes at once as there may be, in all or from this source.
    #[error("there are too many handshakes at once")]
    TooManyHandshakes,
    /// No memory is left in the budget for a stream.
    #[error("the memory budget is used up")]
    NoMemory,
    /// A meshed source that spoke neither mesh nor plaintext in time.
    #[error("the peer is meshed and did not begin a mesh handshake")]
    NotMeshPeer,
    /// The proxy is stopping.
    #[error("the proxy is stopping")]
    Draining,
}

impl RefusedReason {
    /// The one word for metrics, records and REFUSED.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotReady => "not_ready",
            Self::NoSvid => "no_svid",
            Self::NoRevocations => "no_revocations",
            Self::PolicyTooOld => "policy_too_old",
            Self::UnknownAddress => "unknown_address",
            Self::NoSuchPort => "no_such_port",
            Self::NoEndpoint => "no_endpoint",
            Self::OwnPort => "own_port",
            Self::NotOurAddress => "not_our_address",
            Self::TooManyConnections => "too_many_connections",
            Self::TooManyHandshakes => "too_many_handshakes",
            Self::NoMemory => "no_memory",
            Self::NotMeshPeer => "not_mesh_peer",
            Self::Draining => "draining",
        }
    }
}
