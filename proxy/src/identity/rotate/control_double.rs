//! A control service of this process that issues what it is asked, on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use palisade_api::wire::issue_request::Attestation;
use palisade_api::wire::{Bundle, IssueRequest, IssueResponse};
use prost::Message as _;
use rcgen::CertificateSigningRequestParams;
use time::{Duration, OffsetDateTime};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::Code;

use crate::tls::fixture::{Authority, Leaf, trust_domain};
use crate::tls::tests::attacker::any_server;

/// How a caller proved itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    JoinToken(String),
    ServiceAccountToken(String),
    Certificate(Vec<u8>),
}

/// What a control service does.
#[derive(Clone)]
pub(super) struct Double {
    pub(super) authority: Arc<Authority>,
    /// How long SVIDs live.
    pub(super) ttl: Duration,
    /// The status by which a proof is refused; the number is how many came before it.
    pub(super) refuse: fn(&Proof, usize) -> Option<Code>,
    /// Told each proof that came.
    pub(super) proofs: mpsc::UnboundedSender<Proof>,
}

impl Double {
    /// One that issues to everyone.
    pub(super) fn new(
        authority: &Arc<Authority>,
        ttl: Duration,
    ) -> (Self, mpsc::UnboundedReceiver<Proof>) {
        let (proofs, proved) = mpsc::unbounded_channel();
        let double = Self {
            authority: Arc::clone(authority),
            ttl,
            refuse: |_, _| None,
            proofs,
        };
        (double, proved)
    }
}

/// Serves until dropped.
pub(super) async fn serve(listener: TcpListener, double: Double) -> Infallible {
    let authority = Arc::clone(&double.authority);
    let seen = Arc::new(AtomicUsize::new(0));
    let now = OffsetDateTime::now_utc();
    let leaf = authority.custom(|leaf| {
        leaf.uris = vec![trust_domain().control().to_string()];
        leaf.not_before = now - Duration::MINUTE;
        leaf.not_after = now + Duration::HOUR;
    });
    let mut config = (*any_server(leaf, &[b"h2"], &[authority.certificate()])).clone();
    config.send_tls13_tickets = 0;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let Ok(stream) = acceptor.accept(tcp).await else {
            continue;
        };
        let presented = stream.get_ref().1.peer_certificates();
        let certificate = presented.map(|chain| chain[0].to_vec());
        let (double, seen) = (double.clone(), Arc::clone(&seen));
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (double, seen) = (double.clone(), Arc::clone(&seen));
            let certificate = certificate.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                let request = IssueRequest::decode(body.slice(5..)).unwrap();
                let proof = match &request.attestation {
                    Some(Attestation::JoinToken(token)) => Proof::JoinToken(token.clone()),
                    Some(Attestation::ServiceAccountToken(token)) => {
                        Proof::ServiceAccountToken(token.clone())
                    }
                    None => Proof::Certificate(certificate.unwrap()),
                };
                let refused = (double.refuse)(&proof, seen.fetch_add(1, Ordering::Relaxed));
                double.proofs.send(proof).unwrap();
                Ok::<_, hyper::Error>(match refused {
                    Some(code) => refusal(code),
                    None => answer(&issue(&double.authority, request, double.ttl)),
                })
            }
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}

fn issue(authority: &Authority, request: IssueRequest, ttl: Duration) -> IssueResponse {
    let csr = CertificateSigningRequestParams::from_der(&request.csr.into()).unwrap();
    let now = OffsetDateTime::now_utc();
    let leaf = Leaf {
        not_before: now - Duration::MINUTE,
        not_after: now + ttl,
        ..Leaf::default()
    };
    IssueResponse {
        chain: vec![authority.certify(leaf, &csr.public_key).to_vec()],
        bundle: Some(Bundle {
            trust_domain: trust_domain().to_string(),
            authorities: vec![authority.certificate().to_vec()],
        }),
    }
}

type Frames = tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

/// One gRPC message, and the status that follows it.
fn answer(message: &IssueResponse) -> http::Response<StreamBody<Frames>> {
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut body).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let frames = vec![
        Ok(Frame::data(body.freeze())),
        Ok(Frame::trailers(trailers)),
    ];
    http::Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(tokio_stream::iter(frames)))
        .unwrap()
}

/// A status without a message before it.
fn refusal(code: Code) -> http::Response<StreamBody<Frames>> {
    http::Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", (code as i32).to_string())
        .header("grpc-message", "refused by the double")
        .body(StreamBody::new(tokio_stream::iter(Vec::new())))
        .unwrap()
}

/// A listener on loopback, and where it is.
pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
