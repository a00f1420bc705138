//! A peer's certificate becomes a [`VerifiedPeer`] here, and nowhere else.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palisade_api::spiffe::SpiffeId;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, KeyUsage};

use super::error::PeerError;
use crate::identity::leaf::{self, Leaf, LeafError};
use crate::identity::{Revocations, Snapshot, TrustBundles};

/// A peer whose SVID was verified: its name may be authorized.
///
/// It was live and trusted when it was made; ask [`VerifiedPeer::still_valid`] before each later use.
#[derive(Debug, Clone)]
pub struct VerifiedPeer(Arc<Proof>);

#[derive(Debug)]
struct Proof {
    leaf: Leaf,
    /// The earliest end in its chain.
    not_after: OffsetDateTime,
    role: Role,
    chain: Vec<CertificateDer<'static>>,
    /// The trust generation that its chain was last verified against.
    trusted_at: AtomicU64,
}

impl VerifiedPeer {
    /// The name that it proved.
    pub fn id(&self) -> &SpiffeId {
        &self.0.leaf.id
    }

    /// The leaf's serial number: lower-case hex without leading zeros.
    pub fn serial(&self) -> &str {
        &self.0.leaf.serial
    }

    /// When its proof ends: the earliest end of the certificates of its chain.
    pub fn not_after(&self) -> OffsetDateTime {
        self.0.not_after
    }

    /// Checks again what may have changed since: time, revocation and, where the bundles are others than at
    /// the last check, the whole chain. Otherwise it costs two look-ups.
    ///
    /// # Errors
    ///
    /// Where the peer would not be accepted now.
    pub fn still_valid(&self, snapshot: &Snapshot, now: OffsetDateTime) -> Result<(), PeerError> {
        let proof = &*self.0;
        if now < proof.leaf.not_before {
            return Err(PeerError::NotYetValid);
        }
        if now > proof.not_after {
            return Err(PeerError::Expired);
        }
        let (Some(bundles), Some(revocations)) = (&snapshot.bundles, &snapshot.revocations) else {
            return Err(PeerError::UnknownAuthority);
        };
        if revocations.revoke(self.id(), self.serial()) {
            return Err(PeerError::Revoked);
        }
        if snapshot.trust_generation != proof.trusted_at.load(Ordering::Relaxed) {
            verify_chain(&proof.chain, &proof.leaf, proof.role, bundles, now)?;
            proof
                .trusted_at
                .store(snapshot.trust_generation, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Which side of the handshake the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// What a peer is verified against.
#[derive(Debug)]
pub(crate) struct Trust<'a> {
    pub(crate) bundles: &'a TrustBundles,
    pub(crate) revocations: &'a Revocations,
    pub(crate) generation: u64,
}

/// Verifies a chain, leaf first.
///
/// That the peer holds the leaf's key, the handshake proves afterwards.
pub(crate) fn verify(
    chain: Vec<CertificateDer<'static>>,
    role: Role,
    trust: &Trust<'_>,
    now: OffsetDateTime,
) -> Result<VerifiedPeer, PeerError> {
    let leaf = Leaf::parse(chain.first().ok_or(PeerError::NoCertificate)?)?;
    let not_after = verify_chain(&chain, &leaf, role, trust.bundles, now)?;
    if trust.revocations.revoke(&leaf.id, &leaf.serial) {
        return Err(PeerError::Revoked);
    }
    Ok(VerifiedPeer(Arc::new(Proof {
        leaf,
        not_after,
        role,
        chain,
        trusted_at: AtomicU64::new(trust.generation),
    })))
}

/// Checks that an authority of the leaf's own trust domain vouches for it at `now`; gives the chain's end.
fn verify_chain(
    chain: &[CertificateDer<'static>],
    leaf: &Leaf,
    role: Role,
    bundles: &TrustBundles,
    now: OffsetDateTime,
) -> Result<OffsetDateTime, PeerError> {
    let bundle = bundles
        .find(leaf.id.trust_domain())
        .ok_or_else(|| PeerError::UnknownTrustDomain(leaf.id.trust_domain().clone()))?;
    let (end_entity, intermediates) = chain.split_first().ok_or(PeerError::NoCertificate)?;
    let end_entity = EndEntityCert::try_from(end_entity).map_err(|error| refusal(&error))?;
    let usage = match role {
        Role::Client => KeyUsage::client_auth(),
        Role::Server => KeyUsage::server_auth(),
    };
    let path = end_entity
        .verify_for_usage(
            algorithms().all,
            bundle.anchors(),
            intermediates,
            unix(now),
            usage,
            None,
            None,
        )
        .map_err(|error| refusal(&error))?;
    path.intermediate_certificates()
        .try_fold(leaf.not_after, |earliest, certificate| {
            let der = certificate.der();
            let parsed = leaf::parse(&der).ok_or(PeerError::Malformed)?;
            Ok(earliest.min(parsed.validity().not_after.to_datetime()))
        })
}

/// The signature algorithms of certificates and of handshakes.
pub(crate) fn algorithms() -> WebPkiSupportedAlgorithms {
    rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms
}

impl From<LeafError> for PeerError {
    fn from(error: LeafError) -> Self {
        match error {
            LeafError::Malformed => Self::Malformed,
            LeafError::Authority => Self::LeafIsAuthority,
            LeafError::KeyUsage => Self::KeyUsage,
            LeafError::NoUriName => Self::NoUriName,
            LeafError::ManyUriNames => Self::ManyUriNames,
            LeafError::NotSpiffe(error) => Self::NotSpiffe(error),
        }
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "webpki's errors are many, and grow; what is not named is a chain that does not verify"
)]
fn refusal(error: &webpki::Error) -> PeerError {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => PeerError::Expired,
        Error::CertNotValidYet { .. } => PeerError::NotYetValid,
        Error::CaUsedAsEndEntity => PeerError::LeafIsAuthority,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => PeerError::KeyUsage,
        // An authority of the same name with another key shows as a signature that does not fit.
        Error::UnknownIssuer
        | Error::InvalidSignatureForPublicKey
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => PeerError::UnknownAuthority,
        Error::BadDer | Error::BadDerTime | Error::MalformedExtensions => PeerError::Malformed,
        _ => PeerError::Chain,
    }
}

fn unix(now: OffsetDateTime) -> UnixTime {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, TRUST_DOMAIN, now, snapshot};
    use time::Duration;

    fn verified(authority: &Authority, snapshot: &Snapshot) -> VerifiedPeer {
        let trust = Trust {
            bundles: snapshot.bundles.as_deref().unwrap(),
            revocations: snapshot.revocations.as_deref().unwrap(),
            generation: snapshot.trust_generation,
        };
        let chain = vec![authority.leaf("web").der];
        verify(chain, Role::Client, &trust, now()).unwrap()
    }

    fn with_bundles(snapshot: &Snapshot, bundles: &[&Authority]) -> Snapshot {
        let roots = bundles.iter().map(|root| root.certificate()).collect();
        let bundle = crate::identity::TrustBundle::new(roots).unwrap();
        Snapshot {
            bundles: Some(Arc::new(TrustBundles::new(
                TRUST_DOMAIN.parse().unwrap(),
                bundle,
            ))),
            trust_generation: snapshot.trust_generation + 1,
            ..snapshot.clone()
        }
    }

    #[test]
    fn a_peer_ends_with_its_time_its_revocation_and_its_authority() {
        let (old, new) = (Authority::new(), Authority::new());
        let before = snapshot(&old, "orders");
        let peer = verified(&old, &before);
        assert_eq!(peer.still_valid(&before, now()), Ok(()));
        assert_eq!(
            peer.still_valid(&before, peer.not_after() + Duration::SECOND),
            Err(PeerError::Expired)
        );
        assert_eq!(
            peer.still_valid(&before, now() - Duration::days(30)),
            Err(PeerError::NotYetValid)
        );

        let both = with_bundles(&before, &[&old, &new]);
        assert_eq!(peer.still_valid(&both, now()), Ok(()));
        let retired = with_bundles(&both, &[&new]);
        assert_eq!(
            peer.still_valid(&retired, now()),
            Err(PeerError::UnknownAuthority)
        );
        // A refusal is not remembered as a check that passed.
        assert_eq!(
            peer.still_valid(&retired, now()),
            Err(PeerError::UnknownAuthority)
        );

        for revocations in [
            Revocations::new([peer.id().clone()], []),
            Revocations::new([], [peer.serial().to_owned()]),
        ] {
            let revoked = Snapshot {
                revocations: Some(Arc::new(revocations)),
                ..before.clone()
            };
            assert_eq!(peer.still_valid(&revoked, now()), Err(PeerError::Revoked));
        }
    }

    #[test]
    fn a_foreign_bundle_vouches_for_no_name_of_ours() {
        let (own, partner) = (Authority::new(), Authority::new());
        let bundles = TrustBundles::new(TRUST_DOMAIN.parse().unwrap(), own.bundle())
            .with("partner.example".parse().unwrap(), partner.bundle());
        let trust = Trust {
            bundles: &bundles,
            revocations: &Revocations::default(),
            generation: 0,
        };
        let posing = vec![partner.leaf("web").der];
        assert_eq!(
            verify(posing, Role::Client, &trust, now()).unwrap_err(),
            PeerError::UnknownAuthority
        );
        let theirs =
            partner.custom(|leaf| leaf.uris = vec!["spiffe://partner.example/ns/a/sa/b".into()]);
        assert!(verify(vec![theirs.der], Role::Client, &trust, now()).is_ok());
    }

    #[test]
    fn a_chain_ends_with_its_earliest_certificate() {
        let root = Authority::new();
        let end = now() + Duration::minutes(5);
        let intermediate = root.intermediate(end);
        let trusting = snapshot(&root, "orders");
        let trust = Trust {
            bundles: trusting.bundles.as_deref().unwrap(),
            revocations: &Revocations::default(),
            generation: 0,
        };
        let chain = vec![intermediate.leaf("web").der, intermediate.certificate()];
        let peer = verify(chain, Role::Client, &trust, now()).unwrap();
        assert_eq!(peer.not_after(), end);
    }
}
