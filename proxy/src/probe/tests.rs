//! Probes of real servers on loopback.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::tls::fixture::Authority;

const PATH: &str = "/probe/app/liveness";

fn prober(probe: &str) -> Prober {
    let probes = Probes::parse(&format!(
        r#"{{"{PATH}": {{{probe}, "timeout_seconds": 5}}}}"#
    ));
    let loopback = || vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    Prober::at(&probes.unwrap(), None, loopback)
}

async fn listen(host: &str) -> (TcpListener, u16) {
    let listener = TcpListener::bind((host, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Reads one request's head, and answers it.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    stream.write_all(answer.as_bytes()).await.unwrap();
    // Who asked closes first: a probe reads no body.
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn http_is_good_from_200_to_399_and_nothing_else_is() {
    let (listener, port) = listen("127.0.0.1").await;
    let prober = prober(&format!(
        r#""httpGet": {{"port": {port}, "path": "/z?a=b"}}"#
    ));
    for (text, good) in [
        ("HTTP/1.1 200 OK\r\n\r\nsecret", Ok(())),
        ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
        (
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\n\r\n",
            Ok(()),
        ),
        ("HTTP/1.0 399 Odd\r\n\r\n", Ok(())),
        ("HTTP/1.1 400 Bad\r\n\r\n", Err(Unwell::Status)),
        ("HTTP/1.1 500 Oh\r\n\r\n", Err(Unwell::Status)),
        ("SSH-2.0-server\r\n\r\n", Err(Unwell::Protocol)),
        ("", Err(Unwell::Protocol)),
    ] {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            if text.is_empty() {
                return drop(stream.shutdown().await);
            }
            let head = answer(stream, text).await;
            assert!(head.starts_with("GET /z?a=b HTTP/1.1\r\n"), "{head}");
            assert!(
                head.contains(&format!("host: 127.0.0.1:{port}\r\n")),
                "{head}"
            );
            assert!(head.contains("user-agent: kube-probe/"), "{head}");
        };
        let (said, ()) = tokio::join!(prober.ask(PATH), serve);
        assert_eq!(said, Some(good), "{text}");
    }
    assert_eq!(prober.ask("/probe/app/other").await, None);
}

#[tokio::test]
async fn a_probe_s_own_headers_replace_the_kubelet_s() {
    let (listener, port) = listen("127.0.0.1").await;
    let prober = prober(&format!(
        r#""httpGet": {{"port": {port}, "path": "/", "headers":
            [["Host", "shop.example"], ["X-A", "1"], ["X-A", "2"], ["User-Agent", "me"]]}}"#
    ));
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, "HTTP/1.1 200 OK\r\n\r\n").await
    };
    let (said, head) = tokio::join!(prober.ask(PATH), serve);
    assert_eq!(said, Some(Ok(())));
    for line in ["host: shop.example", "x-a: 1", "x-a: 2", "user-agent: me"] {
        assert!(head.contains(&format!("{line}\r\n")), "{head}");
    }
    assert_eq!(head.matches("host: ").count(), 1, "{head}");
}

#[tokio::test]
async fn https_is_not_verified_and_may_be_old() {
    static TLS12: [&SupportedProtocolVersion; 1] = [&version::TLS12];
    static TLS13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    for versions in [TLS12, TLS13] {
        let (listener, port) = listen("127.0.0.1").await;
        let prober = prober(&format!(
            r#""httpGet": {{"port": {port}, "path": "/", "https": true}}"#
        ));
        let leaf = Authority::new().leaf("nobody");
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der], leaf.key)
            .unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await;
            answer(stream.unwrap(), "HTTP/1.1 200 OK\r\n\r\n").await
        };
        let (said, _) = tokio::join!(prober.ask(PATH), serve);
        assert_eq!(said, Some(Ok(())));
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"no TLS here\r\n\r\n").await.unwrap();
        };
        let (said, ()) = tokio::join!(prober.ask(PATH), serve);
        assert_eq!(said, Some(Err(Unwell::Tls)));
    }
}

#[tokio::test]
async fn tcp_is_good_where_something_listens_in_either_family() {
    for host in ["127.0.0.1", "::1"] {
        let (listener, port) = listen(host).await;
        let prober = prober(&format!(r#""tcpSocket": {{"port": {port}}}"#));
        assert_eq!(prober.ask(PATH).await, Some(Ok(())), "{host}");
        drop(listener);
        assert_eq!(prober.ask(PATH).await, Some(Err(Unwell::Refused)), "{host}");
    }
}

#[tokio::test]
async fn a_pod_without_an_address_says_so() {
    let probes = Probes::parse(&format!(
        r#"{{"{PATH}": {{"tcpSocket": {{"port": 1}}, "timeout_seconds": 1}}}}"#
    ));
    let prober = Prober::at(&probes.unwrap(), None, Vec::new);
    assert_eq!(prober.ask(PATH).await, Some(Err(Unwell::NoAddress)));
}

#[tokio::test(start_paused = true)]
async fn what_never_answers_is_given_up_in_the_probe_s_time() {
    let (_listener, port) = listen("127.0.0.1").await;
    for probe in [
        format!(r#""httpGet": {{"port": {port}, "path": "/"}}"#),
        format!(r#""httpGet": {{"port": {port}, "path": "/", "https": true}}"#),
        format!(r#""grpc": {{"port": {port}}}"#),
    ] {
        let begun = tokio::time::Instant::now();
        let said = prober(&probe).ask(PATH).await;
        assert_eq!(said, Some(Err(Unwell::Timeout)), "{probe}");
        assert_eq!(begun.elapsed().as_secs(), 5, "{probe}");
    }
}

#[tokio::test]
async fn grpc_is_good_where_the_service_says_that_it_serves() {
    let (listener, port) = listen("127.0.0.1").await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(connection.serve_connection(TokioIo::new(stream), service_fn(health)));
        }
    });
    for (service, said) in [
        ("", Ok(())),
        ("shop", Ok(())),
        ("down", Err(Unwell::NotServing)),
        ("unknown", Err(Unwell::Status)),
    ] {
        let prober = prober(&format!(
            r#""grpc": {{"port": {port}, "service": "{service}"}}"#
        ));
        assert_eq!(prober.ask(PATH).await, Some(said), "{service:?}");
    }
}

type Frames = tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>;

/// A health service: of `down` it says that it does not serve, and `unknown` it does not know.
async fn health(
    request: http::Request<Incoming>,
) -> Result<http::Response<StreamBody<Frames>>, hyper::Error> {
    assert_eq!(request.uri().path(), grpc::CHECK);
    let body = request.into_body().collect().await?.to_bytes();
    let asked = grpc::HealthCheckRequest::decode(body.slice(5..)).unwrap();
    let status = match asked.service.as_str() {
        "down" => 2,
        _ => grpc::SERVING,
    };
    let message = grpc::HealthCheckResponse { status }.encode_to_vec();
    let mut data = BytesMut::new();
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap());
    data.put_slice(&message);
    let (frames, code) = if asked.service == "unknown" {
        (Vec::new(), "5")
    } else {
        (vec![Ok(Frame::data(data.freeze()))], "0")
    };
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let frames = frames.into_iter().chain([Ok(Frame::trailers(trailers))]);
    Ok(http::Response::builder()
        .header("content-type", "application/grpc")
        .body(StreamBody::new(tokio_stream::iter(
            frames.collect::<Vec<_>>(),
        )))
        .unwrap())
}

#[tokio::test]
async fn however_many_ask_the_application_is_asked_once_at_a_time() {
    let (listener, port) = listen("127.0.0.1").await;
    let prober = Arc::new(prober(&format!(
        r#""httpGet": {{"port": {port}, "path": "/"}}"#
    )));
    let ask = |prober: &Arc<Prober>| {
        let prober = Arc::clone(prober);
        tokio::spawn(async move { prober.ask(PATH).await })
    };
    // Who leads hangs up: another asks in its place.
    let leader = ask(&prober);
    let (hung_up, _) = listener.accept().await.unwrap();
    let followers: Vec<_> = (0..20).map(|_| ask(&prober)).collect();
    tokio::task::yield_now().await;
    leader.abort();
    let (stream, _) = listener.accept().await.unwrap();
    drop(hung_up);
    let serve = tokio::spawn(async move {
        answer(stream, "HTTP/1.1 200 OK\r\n\r\n").await;
    });
    for follower in followers {
        assert_eq!(follower.await.unwrap(), Some(Ok(())));
    }
    serve.await.unwrap();
    let more = timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(more.is_err(), "nobody else connected");
}
