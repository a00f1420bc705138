//! The own SVID: chain, key, name and time, checked when it is made.

use std::fmt;
use std::sync::Arc;

use palisade_api::spiffe::{SpiffeId, TrustDomain};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::OffsetDateTime;
use zeroize::Zeroize as _;

use super::leaf::{Leaf, LeafError};

/// A certificate chain and its key, which fit each other.
///
/// It was live when it was made; ask [`Svid::is_live`] before each use.
pub struct Svid {
    leaf: Leaf,
    certified: Arc<SingleCertAndKey>,
}

impl Svid {
    /// Takes a chain, leaf first, and the leaf's key.
    ///
    /// # Errors
    ///
    /// Where the leaf is no X.509-SVID of `trust_domain`, is not live at `now`, or does not fit the key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        mut key: PrivateKeyDer<'static>,
        now: OffsetDateTime,
        trust_domain: &TrustDomain,
    ) -> Result<Self, SvidError> {
        let signing_key = any_supported_type(&key);
        key.zeroize();
        let leaf = Leaf::parse(chain.first().ok_or(SvidError::NoCertificate)?)?;
        if leaf.id.trust_domain() != trust_domain {
            return Err(SvidError::TrustDomain(leaf.id));
        }
        if now > leaf.not_after {
            return Err(SvidError::Expired);
        }
        if now < leaf.not_before {
            return Err(SvidError::NotYetValid);
        }
        let certified = CertifiedKey::new(chain, signing_key.map_err(SvidError::Key)?);
        certified.keys_match().map_err(SvidError::Mismatch)?;
        Ok(Self {
            leaf,
            certified: Arc::new(certified.into()),
        })
    }

    /// The name that it proves.
    pub fn id(&self) -> &SpiffeId {
        &self.leaf.id
    }

    /// The leaf's serial number: lower-case hex without leading zeros.
    pub fn serial(&self) -> &str {
        &self.leaf.serial
    }

    /// When its time begins.
    pub fn not_before(&self) -> OffsetDateTime {
        self.leaf.not_before
    }

    /// When its time ends.
    pub fn not_after(&self) -> OffsetDateTime {
        self.leaf.not_after
    }

    /// Whether it may be used at `now`.
    pub fn is_live(&self, now: OffsetDateTime) -> bool {
        self.leaf.is_live(now)
    }

    pub(crate) fn certified(&self) -> Arc<SingleCertAndKey> {
        Arc::clone(&self.certified)
    }
}

/// Without the key.
impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid")
            .field("id", self.id())
            .field("serial", &self.serial())
            .field("not_before", &self.not_before())
            .field("not_after", &self.not_after())
            .finish_non_exhaustive()
    }
}

/// Why a chain and a key are no SVID for this proxy.
#[derive(Debug, thiserror::Error)]
pub enum SvidError {
    /// The chain is empty.
    #[error("there is no certificate")]
    NoCertificate,
    /// The leaf has not the form of an X.509-SVID.
    #[error("the certificate is no SVID")]
    Leaf(#[from] LeafError),
    /// It names a workload of another trust domain.
    #[error("{0} is of another trust domain")]
    TrustDomain(SpiffeId),
    /// Its time is over.
    #[error("the certificate has expired; compare the two machines' clocks")]
    Expired,
    /// Its time has not begun.
    #[error("the certificate is not valid yet; compare the two machines' clocks")]
    NotYetValid,
    /// The key could not be read.
    #[error("the key is malformed")]
    Key(#[source] rustls::Error),
    /// The key is another certificate's.
    #[error("the key does not fit the certificate")]
    Mismatch(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, Certified, TRUST_DOMAIN, now};
    use time::Duration;

    fn made(certified: Certified, now: OffsetDateTime) -> Result<Svid, SvidError> {
        let domain = TRUST_DOMAIN.parse().unwrap();
        Svid::new(vec![certified.der], certified.key, now, &domain)
    }

    #[test]
    fn a_chain_and_its_key_make_an_svid_that_does_not_print_the_key() {
        let svid = made(Authority::new().leaf("web"), now()).unwrap();
        assert_eq!(svid.id().as_str(), "spiffe://cluster.local/ns/shop/sa/web");
        assert!(svid.is_live(now()));
        let shown = format!("{svid:?}");
        assert!(shown.contains(svid.serial()));
        assert!(!shown.to_lowercase().contains("key"), "{shown}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let authority = Authority::new();
        let other_key = authority.leaf("web").key;
        let mismatched = Certified {
            key: other_key,
            ..authority.leaf("web")
        };
        assert!(matches!(
            made(mismatched, now()),
            Err(SvidError::Mismatch(_))
        ));
        let foreign = authority.custom(|leaf| leaf.uris = vec!["spiffe://other/ns/a/sa/b".into()]);
        assert!(matches!(
            made(foreign, now()),
            Err(SvidError::TrustDomain(_))
        ));
        let two = authority.custom(|leaf| leaf.uris.push("spiffe://cluster.local/x".into()));
        assert!(matches!(
            made(two, now()),
            Err(SvidError::Leaf(LeafError::ManyUriNames))
        ));
        let late = now() + Duration::days(400);
        assert!(matches!(
            made(authority.leaf("web"), late),
            Err(SvidError::Expired)
        ));
        let early = now() - Duration::days(400);
        assert!(matches!(
            made(authority.leaf("web"), early),
            Err(SvidError::NotYetValid)
        ));
    }
}
