//! Who is asking for an SVID, by what the caller proved.

use std::path::Path;

use time::OffsetDateTime;

use palisade_api::spiffe::{SpiffeId, TrustDomain};

use crate::ca::{Csr, Root};
use crate::index::Revoked;
use crate::tls::VerifiedPeer;
use crate::token::{self, RedeemError};

/// A name that a caller proved to be its own. Made only here, and the only thing that the CA signs for.
#[derive(Debug)]
pub struct Attested {
    id: SpiffeId,
}

impl Attested {
    /// The proven name.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }
}

/// What a decision about a caller is made from, beside what the caller sent.
#[derive(Debug, Clone, Copy)]
pub struct Grounds<'a> {
    /// The trust domain that is issued for.
    pub trust_domain: &'a TrustDomain,
    /// Who is refused from now on.
    pub revoked: &'a Revoked,
    /// Now.
    pub now: OffsetDateTime,
}

/// Attests by a join token, which is redeemed for this key alone. Reads and writes the store: it blocks.
///
/// # Errors
///
/// Where the token cannot be redeemed for this key, or names somebody who is refused.
pub fn by_join_token(
    grounds: &Grounds<'_>,
    store: &Path,
    root: &Root,
    token: &str,
    csr: &Csr,
) -> Result<Attested, AttestError> {
    let id = token::redeem(store, root, token, &csr.key_hash(), grounds.now)?;
    permit(grounds, id)
}

/// Attests by the certificate of the connection that the request came over.
///
/// # Errors
///
/// Where the certificate has ended since the handshake, or it or its name is revoked.
pub fn by_svid(grounds: &Grounds<'_>, peer: &VerifiedPeer) -> Result<Attested, AttestError> {
    if peer.not_after() <= grounds.now {
        return Err(AttestError::Expired);
    }
    if grounds.revoked.refuses(peer.id(), peer.serial()) {
        return Err(AttestError::Revoked);
    }
    permit(grounds, peer.id().clone())
}

fn permit(grounds: &Grounds<'_>, id: SpiffeId) -> Result<Attested, AttestError> {
    if id == grounds.trust_domain.control() {
        return Err(AttestError::Control);
    }
    if id.trust_domain() != grounds.trust_domain {
        return Err(AttestError::TrustDomain);
    }
    if grounds.revoked.identity(&id) {
        return Err(AttestError::Revoked);
    }
    Ok(Attested { id })
}

/// Why a caller is nobody to us.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The token is not worth a name.
    #[error("the join token is refused")]
    Token(#[from] RedeemError),
    /// The SVID has ended.
    #[error("the SVID has expired; attest anew")]
    Expired,
    /// The name or the serial number is revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// Control's own name.
    #[error("control's own name is issued to nobody")]
    Control,
    /// Another trust domain's name.
    #[error("the name is of another trust domain")]
    TrustDomain,
}
