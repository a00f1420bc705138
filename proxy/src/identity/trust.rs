//! Whom this proxy trusts: authorities by trust domain, and what was revoked.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use palisade_api::spiffe::{SpiffeId, TrustDomain};
use rustls_pki_types::{CertificateDer, TrustAnchor};

use super::leaf;

/// The authorities of one trust domain: at least one.
#[derive(Clone)]
pub struct TrustBundle {
    /// Sorted, so that two bundles of the same authorities are equal.
    authorities: Vec<CertificateDer<'static>>,
    anchors: Vec<TrustAnchor<'static>>,
}

impl TrustBundle {
    /// Reads root certificates.
    ///
    /// # Errors
    ///
    /// Where there is none, or one is no authority's certificate.
    pub fn new(mut authorities: Vec<CertificateDer<'static>>) -> Result<Self, TrustBundleError> {
        if authorities.is_empty() {
            return Err(TrustBundleError::Empty);
        }
        authorities.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
        authorities.dedup();
        let anchors = authorities.iter().map(anchor).collect::<Result<_, _>>()?;
        Ok(Self {
            authorities,
            anchors,
        })
    }

    /// The root certificates.
    pub fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.authorities == other.authorities
    }
}

impl Eq for TrustBundle {}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustBundle({} authorities)", self.authorities.len())
    }
}

/// Why certificates are no trust bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TrustBundleError {
    /// It would trust nobody.
    #[error("a trust bundle has at least one authority")]
    Empty,
    /// One could not be parsed.
    #[error("a certificate of the trust bundle is malformed")]
    Malformed,
    /// One is not a CA certificate.
    #[error("a certificate of the trust bundle is not an authority's")]
    NotAuthority,
}

/// The bundles of the own trust domain and of those that it is federated with.
///
/// A bundle vouches for names of its own trust domain only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundles {
    own: (TrustDomain, TrustBundle),
    foreign: BTreeMap<TrustDomain, TrustBundle>,
}

impl TrustBundles {
    /// The own trust domain's bundle, and no other.
    pub fn new(trust_domain: TrustDomain, bundle: TrustBundle) -> Self {
        Self {
            own: (trust_domain, bundle),
            foreign: BTreeMap::new(),
        }
    }

    /// With another bundle, which takes the place of an earlier one of that trust domain.
    #[must_use]
    pub fn with(mut self, trust_domain: TrustDomain, bundle: TrustBundle) -> Self {
        if trust_domain == self.own.0 {
            self.own.1 = bundle;
        } else {
            self.foreign.insert(trust_domain, bundle);
        }
        self
    }

    /// The own trust domain.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.own.0
    }

    /// The bundle that vouches for names in `trust_domain`, if one does.
    pub fn find(&self, trust_domain: &TrustDomain) -> Option<&TrustBundle> {
        if *trust_domain == self.own.0 {
            return Some(&self.own.1);
        }
        self.foreign.get(trust_domain)
    }
}

/// Names and serial numbers that are refused whatever their certificates say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revocations {
    identities: HashSet<SpiffeId>,
    serials: HashSet<String>,
}

impl Revocations {
    /// Revocations of `identities`, and of certificates by their serial numbers in hex.
    pub fn new(
        identities: impl IntoIterator<Item = SpiffeId>,
        serials: impl IntoIterator<Item = String>,
    ) -> Self {
        Self {
            identities: identities.into_iter().collect(),
            serials: serials
                .into_iter()
                .map(|serial| leaf::canonical_serial(&serial))
                .collect(),
        }
    }

    /// Whether a certificate with this name and serial number is revoked.
    ///
    /// `serial` is in the form that `VerifiedPeer::serial` and `Svid::serial` give.
    pub fn revoke(&self, id: &SpiffeId, serial: &str) -> bool {
        self.revoke_name(id) || self.serials.contains(serial)
    }

    /// Whether every certificate with this name is revoked.
    pub fn revoke_name(&self, id: &SpiffeId) -> bool {
        self.identities.contains(id)
    }
}

fn anchor(der: &CertificateDer<'static>) -> Result<TrustAnchor<'static>, TrustBundleError> {
    let certificate = leaf::parse(der).ok_or(TrustBundleError::Malformed)?;
    if !leaf::is_authority(&certificate) {
        return Err(TrustBundleError::NotAuthority);
    }
    match webpki::anchor_from_trusted_cert(der) {
        Ok(anchor) => Ok(anchor.to_owned()),
        Err(_) => Err(TrustBundleError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, TRUST_DOMAIN};

    #[test]
    fn a_bundle_is_made_of_authorities_and_never_empty() {
        let authority = Authority::new();
        let leaf = authority.leaf("web").der;
        let root = authority.certificate();
        for (certificates, made) in [
            (vec![], Err(TrustBundleError::Empty)),
            (vec![vec![1, 2, 3].into()], Err(TrustBundleError::Malformed)),
            (
                vec![root.clone(), leaf],
                Err(TrustBundleError::NotAuthority),
            ),
            (vec![root.clone(), root], Ok(1)),
        ] {
            let bundle = TrustBundle::new(certificates);
            assert_eq!(bundle.map(|bundle| bundle.authorities().len()), made);
        }
    }

    #[test]
    fn the_order_of_authorities_is_no_difference() {
        let (one, other) = (
            Authority::new().certificate(),
            Authority::new().certificate(),
        );
        assert_eq!(
            TrustBundle::new(vec![one.clone(), other.clone()]),
            TrustBundle::new(vec![other, one])
        );
    }

    #[test]
    fn a_serial_number_is_revoked_however_it_is_written() {
        let id: SpiffeId = format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/web")
            .parse()
            .unwrap();
        for written in ["0a1b", "A1B", "000A1B"] {
            let revocations = Revocations::new([], [written.to_owned()]);
            assert!(
                revocations.revoke(&id, &leaf::hex(&[0, 0x0a, 0x1b])),
                "{written}"
            );
        }
        assert!(!Revocations::new([], ["0a1c".to_owned()]).revoke(&id, "a1b"));
        assert!(Revocations::new([id.clone()], []).revoke(&id, "a1b"));
    }
}
