//! A caller with an SVID of another authority, that speaks the mesh's own protocol from within a pod's network.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;

use nix::sched::{CloneFlags, setns};
use palisade_proxy::transport::{self, Budget, OpenError, Opening, Settings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The authority of a trust domain of its own.
pub(crate) struct Authority {
    trust_domain: String,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// Who calls, from where.
pub(crate) struct Caller {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
    /// A process in the network that it calls from.
    pub(crate) pid: u32,
}

impl Authority {
    pub(crate) fn new(trust_domain: &str) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = named(&format!("spiffe://{trust_domain}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("it can be signed");
        Self {
            trust_domain: trust_domain.to_owned(),
            certificate: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A caller of this trust domain.
    pub(crate) fn caller(&self, path: &str, pid: u32) -> Caller {
        let key = KeyPair::generate().expect("a key can be made");
        let mut params = named(&format!("spiffe://{}{path}", self.trust_domain));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let leaf = params
            .signed_by(&key, &self.issuer)
            .expect("it can be signed");
        Caller {
            chain: vec![leaf.into()],
            key,
            pid,
        }
    }

    /// The document by which a mesh trusts it.
    pub(crate) fn trust_bundle(&self) -> String {
        let pem = self.certificate.trim().replace('\n', "\n    ");
        let trust_domain = &self.trust_domain;
        format!(
            "---\napiVersion: palisade.dev/v1alpha1\nkind: TrustBundle\nmetadata: {{name: partner}}\n\
             spec:\n  trustDomain: {trust_domain}\n  authorities: |\n    {pem}\n"
        )
    }
}

fn named(uri: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(uri.try_into().expect("a URI"))];
    params
}

impl Caller {
    /// Opens one stream to an address; how the other side refused it, if it did.
    pub(crate) fn open(&self, to: &str) -> Result<(), String> {
        let to: SocketAddr = to.parse().expect("an address");
        let call = || {
            let network = File::open(format!("/proc/{}/ns/net", self.pid)).expect("it runs");
            setns(network, CloneFlags::CLONE_NEWNET).expect("the network can be entered");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be made");
            runtime.block_on(self.open_here(to))
        };
        std::thread::scope(|scope| scope.spawn(call).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    async fn open_here(&self, to: SocketAddr) -> Result<(), String> {
        let tcp = TcpStream::connect(to).await.map_err(|e| e.to_string())?;
        let name = ServerName::from(to.ip());
        let connector = TlsConnector::from(Arc::new(self.config()));
        let tls = connector
            .connect(name, tcp)
            .await
            .map_err(|e| e.to_string())?;
        let budget = Budget::new(1 << 20);
        let (opener, driver) = transport::client(tls, Arc::new(()), Settings::default(), budget);
        let opened = async {
            match opener.open(Opening::default()).await {
                Ok(_stream) => Ok(()),
                Err(OpenError::Refused { code, .. }) => Err(code.name().to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        tokio::select! {
            opened = opened => opened,
            end = driver => Err(format!("{end:?}")),
        }
    }

    fn config(&self) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
            .with_client_auth_cert(self.chain.clone(), key)
            .expect("an SVID");
        config.alpn_protocols = vec![b"palisade/1".to_vec()];
        config
    }
}

/// Believes every server: it is the caller who is looked at here.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
