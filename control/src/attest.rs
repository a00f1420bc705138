//! Who is asking for an SVID, by what the caller proved.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use time::OffsetDateTime;

use palisade_api::spiffe::{SpiffeId, TrustDomain};

use crate::ca::{Csr, Root};
use crate::index::Revoked;
use crate::kubernetes::Reviewed;
use crate::tls::VerifiedPeer;
use crate::token::{self, RedeemError};

/// A name that a caller proved to be its own. Made only here, and the only thing that the CA signs for.
#[derive(Debug)]
pub struct Attested {
    id: SpiffeId,
    bound: Option<BoundPod>,
}

impl Attested {
    /// The proven name.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The pod that the proof holds for, where it holds for one alone.
    pub fn bound(&self) -> Option<&BoundPod> {
        self.bound.as_ref()
    }
}

/// The one pod that a service-account token, and each SVID that comes of it, is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundPod {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// What tells it from another pod of the same name.
    pub uid: String,
}

impl fmt::Display for BoundPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.namespace, self.name, self.uid)
    }
}

impl FromStr for BoundPod {
    type Err = BoundPodError;

    fn from_str(text: &str) -> Result<Self, BoundPodError> {
        let mut parts = text.split('/').map(str::to_owned);
        let bound = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(name), Some(uid), None) => Self {
                namespace,
                name,
                uid,
            },
            _ => return Err(BoundPodError),
        };
        let parts = [&bound.namespace, &bound.name, &bound.uid];
        let printable = |part: &&String| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        };
        if text.len() <= MAX_BOUND_BYTES && parts.iter().all(printable) {
            Ok(bound)
        } else {
            Err(BoundPodError)
        }
    }
}

/// What should name a pod does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no pod: <namespace>/<name>/<uid>")]
pub struct BoundPodError;

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
    permit(grounds, id, None)
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
    permit(grounds, peer.id().clone(), peer.bound().cloned())
}

/// Attests by a service-account token, which the API server and the pod's status vouched for.
///
/// # Errors
///
/// Where who it names is refused.
pub(crate) fn by_service_account(
    grounds: &Grounds<'_>,
    reviewed: Reviewed,
) -> Result<Attested, AttestError> {
    let (id, bound) = reviewed.into_parts();
    permit(grounds, id, Some(bound))
}

fn permit(
    grounds: &Grounds<'_>,
    id: SpiffeId,
    bound: Option<BoundPod>,
) -> Result<Attested, AttestError> {
    if id == grounds.trust_domain.control() {
        return Err(AttestError::Control);
    }
    if id.trust_domain() != grounds.trust_domain {
        return Err(AttestError::TrustDomain);
    }
    if grounds.revoked.identity(&id) {
        return Err(AttestError::Revoked);
    }
    Ok(Attested { id, bound })
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

/// A namespace of 63, a name of 253, a uid, and what X.520 allows: 1024.
const MAX_BOUND_BYTES: usize = 1024;
