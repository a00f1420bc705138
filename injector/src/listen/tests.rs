//! The webhook over TLS on loopback, as an API server finds it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, StatusCode};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinHandle, yield_now};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;

use super::*;
use crate::certs::tests::{Authority, NAME, served};
use crate::certs::{self, Served};
use crate::webhook::tests::{pod, review_of, webhook};

/// A running webhook, and what it hangs on.
struct Running {
    addr: SocketAddr,
    authority: Authority,
    certificate: watch::Sender<Option<Arc<Served>>>,
    webhook: Arc<Webhook>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

async fn running() -> Running {
    let authority = Authority::new();
    let (certificate, newest) = watch::channel(Some(served(&authority)));
    let (stop, stopping) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let webhook = Arc::new(webhook(&[]).0);
    let tls = certs::tls(newest).unwrap();
    let server = tokio::spawn(serve(listener, tls, Arc::clone(&webhook), stopping));
    Running {
        addr,
        authority,
        certificate,
        webhook,
        stop,
        server,
    }
}

impl Running {
    async fn connect(&self) -> io::Result<ClientStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.addr).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// A connection that is used again and again, and the certificate that it was made with.
    async fn client(&self) -> (SendRequest<Full<Bytes>>, CertificateDer<'static>) {
        let stream = self.connect().await.unwrap();
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        (sender, leaf)
    }
}

async fn ask(client: &mut SendRequest<Full<Bytes>>) -> Value {
    client.ready().await.unwrap();
    let body = Full::from(review_of("shop", &pod()).to_string());
    let request = Request::post("/pods")
        .header("host", NAME)
        .body(body)
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_review_is_answered_over_tls_by_the_newest_certificate() {
    let running = running().await;
    let (mut old, first) = running.client().await;
    assert_eq!(ask(&mut old).await["response"]["patchType"], "JSONPatch");

    running
        .certificate
        .send_replace(Some(served(&running.authority)));
    let (mut new, second) = running.client().await;
    assert_ne!(first, second);
    // The live connection goes on beside the new one.
    for client in [&mut old, &mut new] {
        assert_eq!(ask(client).await["response"]["allowed"], true);
    }
}

#[tokio::test]
async fn without_a_certificate_no_handshake_succeeds() {
    let running = running().await;
    running.certificate.send_replace(None);
    running.connect().await.unwrap_err();
    running
        .certificate
        .send_replace(Some(served(&running.authority)));
    running.connect().await.unwrap();
}

#[tokio::test]
async fn what_was_asked_before_the_stop_is_answered_after_it() {
    let running = running().await;
    let (mut idle, _) = running.client().await;
    ask(&mut idle).await;
    let body = review_of("shop", &pod()).to_string();
    let (head, tail) = body.split_at(20);
    let mut asking = running.connect().await.unwrap();
    let request = format!(
        "POST /pods HTTP/1.1\r\nhost: {NAME}\r\ncontent-length: {}\r\n\r\n{head}",
        body.len()
    );
    asking.write_all(request.as_bytes()).await.unwrap();
    let room = running.webhook.reviews.available_permits();
    until(|| running.webhook.reviews.available_permits() < room).await;

    running.stop.send_replace(true);
    // The idle connection ends, and nobody listens any more.
    until(|| idle.is_closed()).await;
    while TcpStream::connect(running.addr).await.is_ok() {}
    assert!(!running.server.is_finished());

    asking.write_all(tail.as_bytes()).await.unwrap();
    let mut answer = String::new();
    asking.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("JSONPatch"), "{answer}");
    timeout(BOUND, running.server).await.unwrap().unwrap();
}

async fn until(is_so: impl Fn() -> bool) {
    let waited = timeout(BOUND, async {
        while !is_so() {
            yield_now().await;
        }
    });
    waited.await.unwrap();
}

const BOUND: Duration = Duration::from_secs(10);
