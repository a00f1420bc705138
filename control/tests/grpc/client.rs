//! A proxy's side of the two services.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use palisade_api::wire::{
    self, Hello, Inventory, IssueRequest, IssueResponse, Lookup, WatchRequest, WatchResponse,
    issue_request::Attestation, watch_request::Message,
};
use rcgen::{CertificateParams, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a proxy got.
pub(crate) struct Svid {
    pub(crate) key: KeyPair,
    pub(crate) chain: Vec<CertificateDer<'static>>,
}

/// Calls control; with a client certificate, if one is given.
pub(crate) async fn connect(addr: SocketAddr, svid: Option<&Svid>) -> Result<Channel, Status> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ControlItself));
    let mut config = match svid {
        None => builder.with_no_client_auth(),
        Some(svid) => {
            let key = PrivateKeyDer::Pkcs8(svid.key.serialize_der().into());
            builder
                .with_client_auth_cert(svid.chain.clone(), key)
                .unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tls = TlsConnector::from(Arc::new(config));
    let connector = tower::service_fn(move |_uri| {
        let tls = tls.clone();
        async move {
            let tcp = TcpStream::connect(addr).await?;
            let name = ServerName::try_from("control").unwrap();
            tls.connect(name, tcp).await.map(TokioIo::new)
        }
    });
    Endpoint::from_static("http://control")
        .connect_with_connector(connector)
        .await
        .map_err(|error| Status::unavailable(format!("{error:?}")))
}

/// A request for the key, asking for `names`, which control must not care about.
pub(crate) fn csr(key: &KeyPair, names: &[&str]) -> Vec<u8> {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names
        .iter()
        .map(|name| SanType::URI((*name).try_into().unwrap()))
        .collect();
    params.serialize_request(key).unwrap().der().to_vec()
}

pub(crate) async fn issue(
    addr: SocketAddr,
    svid: Option<&Svid>,
    csr: Vec<u8>,
    token: Option<&str>,
) -> Result<IssueResponse, Status> {
    issue_over(connect(addr, svid).await?, csr, token).await
}

/// The same over a connection that stands.
pub(crate) async fn issue_over(
    channel: Channel,
    csr: Vec<u8>,
    token: Option<&str>,
) -> Result<IssueResponse, Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let request = IssueRequest {
        csr,
        attestation: token.map(|token| Attestation::JoinToken(token.to_owned())),
    };
    let path = PathAndQuery::from_static("/palisade.v1.Identity/Issue");
    let codec = ProstCodec::<IssueRequest, IssueResponse>::default();
    let response = grpc.unary(Request::new(request), path, codec).await?;
    Ok(response.into_inner())
}

/// A fresh SVID for a token.
pub(crate) async fn join(addr: SocketAddr, token: &str) -> Result<Svid, Status> {
    let key = KeyPair::generate().unwrap();
    let response = issue(addr, None, csr(&key, &[]), Some(token)).await?;
    Ok(Svid {
        key,
        chain: chain(response),
    })
}

pub(crate) fn chain(response: IssueResponse) -> Vec<CertificateDer<'static>> {
    response.chain.into_iter().map(Into::into).collect()
}

/// One stream of `Mesh.Watch`.
pub(crate) struct Watch {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    /// Control says that it takes counts.
    pub(crate) takes_usage: bool,
}

impl Watch {
    pub(crate) async fn open(
        addr: SocketAddr,
        svid: Option<&Svid>,
        workload: &str,
        inventory: Vec<Inventory>,
    ) -> Result<Self, Status> {
        Self::over(connect(addr, svid).await?, workload, inventory).await
    }

    /// The same over a connection that stands.
    pub(crate) async fn over(
        channel: Channel,
        workload: &str,
        inventory: Vec<Inventory>,
    ) -> Result<Self, Status> {
        let mut grpc = tonic::client::Grpc::new(channel);
        grpc.ready().await.unwrap();
        let (requests, stream) = mpsc::channel(16);
        let path = PathAndQuery::from_static("/palisade.v1.Mesh/Watch");
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let hello = Hello {
            workload: workload.to_owned(),
            version: "test".into(),
            inventory,
        };
        let message = Some(Message::Hello(hello));
        requests.send(WatchRequest { message }).await.unwrap();
        let stream = Request::new(ReceiverStream::new(stream));
        let response = grpc.streaming(stream, path, codec).await?;
        Ok(Self {
            requests,
            takes_usage: response
                .metadata()
                .contains_key(palisade_api::usage::METADATA),
            responses: response.into_inner(),
        })
    }

    pub(crate) async fn send(&self, message: Message) {
        let message = Some(message);
        self.say(WatchRequest { message }).await;
    }

    /// The same with what is no message of this version.
    pub(crate) async fn say(&self, request: WatchRequest) {
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn look_up(&self, ip: &str) {
        let subscribe = vec![palisade_api::convert::ip_to_wire(ip.parse().unwrap())];
        let drop = Vec::new();
        self.send(Message::Lookup(Lookup { subscribe, drop })).await;
    }

    /// The next message; a test that waits for one that never comes fails.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse, Status> {
        let next = tokio::time::timeout(Duration::from_secs(20), self.responses.message());
        next.await
            .expect("control says nothing")?
            .ok_or_else(|| Status::ok("the stream ended"))
    }

    /// The first message of each channel.
    pub(crate) async fn in_step(&mut self) -> Vec<WatchResponse> {
        let mut first = Vec::new();
        for _ in 0..4 {
            first.push(self.next().await.unwrap());
        }
        first
    }
}

/// What a proxy holds after these differences.
pub(crate) fn inventory(responses: &[WatchResponse]) -> Vec<Inventory> {
    let inventory = |response: &WatchResponse| Inventory {
        channel: response.channel,
        revision: response.revision,
        objects: response
            .changed
            .iter()
            .map(|object| wire::Held {
                name: object.name.clone(),
                digest: object.digest.clone(),
            })
            .collect(),
    };
    responses.iter().map(inventory).collect()
}

/// Believes only control by its SPIFFE ID, under the root that it sends (a proxy pins that by its join token).
#[derive(Debug)]
struct ControlItself;

impl ServerCertVerifier for ControlItself {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let root = intermediates.last().expect("the chain has the root");
        let anchor = webpki::anchor_from_trusted_cert(root).unwrap();
        webpki::EndEntityCert::try_from(leaf)
            .unwrap()
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &[],
                now,
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .expect("control's SVID verifies");
        assert_eq!(names(leaf), ["spiffe://cluster.local/palisade/control"]);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        panic!("TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Every URI name of a certificate.
pub(crate) fn names(der: &CertificateDer<'_>) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    names
        .value
        .general_names
        .iter()
        .map(|name| {
            let GeneralName::URI(uri) = name else {
                panic!("not a URI: {name:?}");
            };
            (*uri).to_owned()
        })
        .collect()
}
