//! Control's own SVID, and the rustls configuration that serves with it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{PeerError, VerifiedPeer, peer};
use crate::ca::{Ca, SignError};
use crate::index::Index;

/// Who control is, and whom it believes.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) ca: Arc<Ca>,
    pub(crate) index: watch::Receiver<Arc<Index>>,
}

impl Identity {
    /// A server configuration with a fresh SVID, whose key never leaves memory, and when it ends.
    pub(crate) fn server(
        &self,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<(Arc<ServerConfig>, OffsetDateTime), TlsError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(TlsError::Key)?;
        let svid = self.ca.sign_control(&key, now, ttl)?;
        let private = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier {
            identity: self.clone(),
            provider: Arc::clone(&provider),
        });
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Config)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(svid.chain, private)
            .map_err(TlsError::Config)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session skips the client's certificate, and with it expiry and revocation.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok((Arc::new(config), svid.not_after))
    }

    /// Who presented a chain, by the same rules in the handshake and after it.
    pub(crate) fn peer(
        &self,
        chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        now: UnixTime,
    ) -> Result<VerifiedPeer, PeerError> {
        let index = Arc::clone(&self.index.borrow());
        peer::verify(
            self.ca.trust_domain(),
            self.ca.root().certificate(),
            index.revoked(),
            chain,
            now,
        )
    }
}

/// Why control cannot serve TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No key could be made.
    #[error("control's own key could not be made")]
    Key(#[source] rcgen::Error),
    /// Its SVID could not be signed.
    #[error("control's own SVID could not be signed")]
    Sign(#[from] SignError),
    /// The library refused the configuration.
    #[error("the TLS configuration is refused")]
    Config(#[source] rustls::Error),
}

/// A certificate is optional, because a caller that has none yet comes with a join token; one that is presented
/// must be good.
struct Verifier {
    identity: Identity,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.identity
            .peer((end_entity, intermediates), now)
            .map(|_peer| ClientCertVerified::assertion())
            .map_err(|error| {
                tracing::warn!(error = %error, "a client certificate was refused");
                CertificateError::Other(OtherError(Arc::new(error))).into()
            })
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}
