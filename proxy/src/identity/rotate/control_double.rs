//! A control service of this process that issues what it is asked, on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

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

use crate::tls::fixture::{Authority, Leaf, trust_domain};
use crate::tls::tests::attacker::any_server;

/// How a caller proved itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Token(String),
    Certificate(Vec<u8>),
}

/// Serves until dropped; tells each proof that came. SVIDs live for `ttl`.
pub(super) async fn serve(
    listener: TcpListener,
    authority: Arc<Authority>,
    ttl: Duration,
    proofs: mpsc::UnboundedSender<Proof>,
) -> Infallible {
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
        let stream = acceptor.accept(tcp).await.unwrap();
        let presented = stream.get_ref().1.peer_certificates();
        let certificate = presented.map(|chain| chain[0].to_vec());
        let (authority, proofs) = (Arc::clone(&authority), proofs.clone());
        let service = service_fn(move |request: http::Request<Incoming>| {
            let (authority, proofs) = (Arc::clone(&authority), proofs.clone());
            let certificate = certificate.clone();
            async move {
                let body = request.into_body().collect().await?.to_bytes();
                let request = IssueRequest::decode(body.slice(5..)).unwrap();
                let proof = match &request.attestation {
                    Some(
                        Attestation::JoinToken(token) | Attestation::ServiceAccountToken(token),
                    ) => Proof::Token(token.clone()),
                    None => Proof::Certificate(certificate.unwrap()),
                };
                proofs.send(proof).unwrap();
                Ok::<_, hyper::Error>(answer(&issue(&authority, request, ttl)))
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

/// A listener on loopback, and where it is.
pub(super) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}
