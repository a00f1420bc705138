//! rustls's questions about a peer's certificate, answered by [`super::peer`].

use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest::{SHA256, digest};
use palisade_api::spiffe::{SpiffeId, TrustDomain};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::verify_tls13_signature;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::OffsetDateTime;

use super::error::PeerError;
use super::peer::{self, Role, Trust, VerifiedPeer};
use crate::identity::{Revocations, TrustBundle, TrustBundles, leaf};

/// Verifies the peer of one connection, at the moment and by the trust that it was made with.
///
/// One connection has one verifier, so that it can keep the proof, or the exact reason of the refusal. It
/// looks at no clock: rustls's own idea of the time is not used.
#[derive(Debug)]
pub(crate) struct PeerVerifier {
    pub(crate) role: Role,
    pub(crate) anchors: Anchors,
    pub(crate) revocations: Arc<Revocations>,
    pub(crate) trust_generation: u64,
    /// The only name that may answer; `None`: any that is trusted.
    pub(crate) expected: Option<SpiffeId>,
    pub(crate) now: OffsetDateTime,
    pub(crate) outcome: OnceLock<Result<VerifiedPeer, PeerError>>,
}

/// What a chain must lead to.
#[derive(Debug)]
pub(crate) enum Anchors {
    /// An authority of the bundles.
    Bundles(Arc<TrustBundles>),
    /// The one root, presented with the chain, whose SubjectPublicKeyInfo has this SHA-256.
    Pinned {
        trust_domain: TrustDomain,
        root_sha256: [u8; 32],
    },
}

impl PeerVerifier {
    /// What came of it; `None` where the peer presented no certificate.
    pub(crate) fn outcome(&self) -> Option<&Result<VerifiedPeer, PeerError>> {
        self.outcome.get()
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity)
            .chain(intermediates)
            .map(|der| der.clone().into_owned())
            .collect();
        match self.outcome.get_or_init(|| self.verify(chain)) {
            Ok(_) => Ok(()),
            Err(error) => Err(rustls::Error::InvalidCertificate(alert(error))),
        }
    }

    fn verify(&self, chain: Vec<CertificateDer<'static>>) -> Result<VerifiedPeer, PeerError> {
        let bundles = match &self.anchors {
            Anchors::Bundles(bundles) => Arc::clone(bundles),
            Anchors::Pinned {
                trust_domain,
                root_sha256,
            } => {
                let root = pinned(&chain, root_sha256).ok_or(PeerError::UnknownAuthority)?;
                Arc::new(TrustBundles::new(trust_domain.clone(), root))
            }
        };
        let trust = Trust {
            bundles: &bundles,
            revocations: &self.revocations,
            generation: self.trust_generation,
        };
        let peer = peer::verify(chain, self.role, &trust, self.now)?;
        match &self.expected {
            Some(expected) if expected != peer.id() => Err(PeerError::Unexpected {
                expected: expected.clone(),
                found: peer.id().clone(),
            }),
            _ => Ok(peer),
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// None: a stranger is not told whom we trust.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity, intermediates)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &peer::algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        peer::algorithms().supported_schemes()
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &peer::algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        peer::algorithms().supported_schemes()
    }
}

/// The presented root that has the hash, as the only authority. A match proves nothing yet: the leaf must
/// still chain to it.
fn pinned(chain: &[CertificateDer<'_>], root_sha256: &[u8; 32]) -> Option<TrustBundle> {
    let root = chain.iter().find(|der| {
        leaf::parse(der).is_some_and(|certificate| {
            digest(&SHA256, certificate.public_key().raw).as_ref() == root_sha256
        })
    })?;
    TrustBundle::new(vec![root.clone().into_owned()]).ok()
}

/// What the peer is told. Our own words stay with us.
fn alert(error: &PeerError) -> CertificateError {
    match error {
        PeerError::Malformed => CertificateError::BadEncoding,
        PeerError::UnknownTrustDomain(_) | PeerError::UnknownAuthority => {
            CertificateError::UnknownIssuer
        }
        PeerError::Expired => CertificateError::Expired,
        PeerError::NotYetValid => CertificateError::NotValidYet,
        PeerError::Revoked => CertificateError::Revoked,
        PeerError::NoCertificate
        | PeerError::NoUriName
        | PeerError::ManyUriNames
        | PeerError::NotSpiffe(_)
        | PeerError::LeafIsAuthority
        | PeerError::KeyUsage
        | PeerError::Unexpected { .. }
        | PeerError::Chain => CertificateError::ApplicationVerificationFailure,
    }
}

fn no_tls12() -> rustls::Error {
    rustls::Error::General("TLS 1.2 is not spoken here".to_owned())
}
