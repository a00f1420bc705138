//! Why a handshake failed: one enum per cause, in our words.

use std::io;

use palisade_api::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

/// Why a mesh handshake did not give a verified peer.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It took longer than it may.
    #[error("the handshake took longer than it may")]
    TimedOut,
    /// The connection ended in the middle.
    #[error("the connection ended during the handshake")]
    Cut(#[source] io::Error),
    /// This proxy has no SVID that is valid now.
    #[error("this proxy has no SVID that is valid now")]
    NoSvid,
    /// This proxy was not told yet what is revoked, and so can trust nobody.
    #[error("this proxy has not received the revocations yet")]
    NoRevocations,
    /// The peer finished a handshake without our ALPN.
    #[error("the peer does not speak the mesh protocol")]
    NotMesh,
    /// The peer's certificate was refused by us.
    #[error("the peer's certificate is refused")]
    Peer(#[from] PeerError),
    /// The peer refused us, or our certificate.
    #[error("the peer refused the handshake: {0}")]
    RefusedByPeer(String),
    /// Anything else that broke the protocol, TLS 1.2 included.
    #[error("the TLS protocol failed")]
    Protocol(#[source] rustls::Error),
}

/// Why a peer's certificate proves no name to us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// None was presented.
    #[error("no certificate was presented")]
    NoCertificate,
    /// It could not be parsed.
    #[error("the certificate is malformed")]
    Malformed,
    /// No URI name in it.
    #[error("the certificate has no URI name")]
    NoUriName,
    /// More than one URI name in it (X.509-SVID, section 2).
    #[error("the certificate has more than one URI name")]
    ManyUriNames,
    /// Its URI name is no SPIFFE ID.
    #[error("the certificate's URI name is no SPIFFE ID: {0}")]
    NotSpiffe(SpiffeIdError),
    /// A trust domain that no bundle is known for.
    #[error("no trust bundle is known for {0}")]
    UnknownTrustDomain(TrustDomain),
    /// No authority of the trust domain's bundle signed it.
    #[error("no authority of its trust domain signed the certificate")]
    UnknownAuthority,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// Its time has not begun; a clock may be wrong.
    #[error("the certificate is not valid yet; compare the two machines' clocks")]
    NotYetValid,
    /// The leaf is a CA certificate (X.509-SVID, section 4.1).
    #[error("the certificate is an authority's, not a workload's")]
    LeafIsAuthority,
    /// Key usage or extended key usage do not fit (X.509-SVID, sections 4.3 and 4.4).
    #[error("the certificate's key usage does not fit")]
    KeyUsage,
    /// The name or the serial number was revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// Another name than the one that must answer at the address.
    #[error("expected {expected}, found {found}")]
    Unexpected {
        /// What control says lives at the address.
        expected: SpiffeId,
        /// What answered.
        found: SpiffeId,
    },
    /// The peer does not hold the certificate's key, or the chain is broken in another way.
    #[error("the certificate chain does not verify")]
    Chain,
}

impl HandshakeError {
    /// The one word for metrics and records.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Cut(_) => "cut",
            Self::NoSvid => "no_svid",
            Self::NoRevocations => "no_revocations",
            Self::NotMesh => "not_mesh",
            Self::Peer(error) => error.reason(),
            Self::RefusedByPeer(_) => "refused_by_peer",
            Self::Protocol(_) => "protocol",
        }
    }
}

impl PeerError {
    /// The one word for metrics and records.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed => "malformed_certificate",
            Self::NoUriName => "no_uri_name",
            Self::ManyUriNames => "many_uri_names",
            Self::NotSpiffe(_) => "not_spiffe",
            Self::UnknownTrustDomain(_) => "unknown_trust_domain",
            Self::UnknownAuthority => "unknown_authority",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::LeafIsAuthority => "leaf_is_authority",
            Self::KeyUsage => "key_usage",
            Self::Revoked => "revoked",
            Self::Unexpected { .. } => "unexpected_identity",
            Self::Chain => "chain",
        }
    }
}
