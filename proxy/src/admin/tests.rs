//! What the pages say, to whom, and for how long.

use super::*;
use crate::probe::Probes;
use crate::readiness::Condition;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

fn admin(readiness: Readiness) -> Admin {
    Admin {
        metrics: Arc::new(Metrics::new()),
        readiness: watch::channel(readiness).1,
        prober: Arc::new(Prober::new(&Probes::parse(PROBES).unwrap(), None)),
        config: Arc::new(|| serde_json::json!({"revision": 7})),
        policy: watch::channel(PolicyState::Waiting).1,
        revoked: Arc::new(|id| id.to_string().ends_with("/revoked")),
        book: AddressBook::new().0,
        patience: Duration::from_secs(3),
    }
}

/// Of a port that nobody listens on.
const PROBES: &str = r#"{"/probe/app/liveness": {"tcpSocket": {"port": 1}, "timeout_seconds": 1}}"#;

fn ready_but_for_v6() -> Readiness {
    Readiness {
        svid: Condition::Met,
        policy: Condition::Met,
        revocations: Condition::Met,
        redirect_v4: Condition::Met,
        ..Readiness::starting()
    }
}

fn open(admin: Admin, pages: Pages) -> DuplexStream {
    let (client, server) = duplex(1 << 20);
    tokio::spawn(async move { serve_connection(&admin, pages, server).await });
    client
}

async fn ask(admin: Admin, pages: Pages, request: &str) -> String {
    let mut client = open(admin, pages);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    text
}

async fn get(pages: Pages, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    ask(admin(ready_but_for_v6()), pages, &request).await
}

#[tokio::test]
async fn each_listener_has_its_pages_and_no_others() {
    for (pages, path, status) in [
        (Pages::Telemetry, "/metrics", "200"),
        (Pages::Telemetry, "/live", "200"),
        (Pages::Telemetry, "/ready", "503"),
        (Pages::Telemetry, "/config", "404"),
        (Pages::Probes, "/ready", "503"),
        (Pages::Probes, "/live", "200"),
        (Pages::Probes, "/metrics", "404"),
        (Pages::All, "/config", "200"),
        (Pages::All, "/metrics", "200"),
        (Pages::All, "/decide?source=10.0.0.1&port=80", "200"),
        (Pages::All, "/decide", "400"),
        (Pages::Telemetry, "/decide?source=10.0.0.1&port=80", "404"),
        (Pages::All, "/", "404"),
        (Pages::Telemetry, "/probe/app/liveness", "503"),
        (Pages::Telemetry, "/probe/app/readiness", "404"),
        (Pages::Probes, "/probe/app/liveness", "404"),
        (Pages::All, "/probe/app/liveness", "404"),
    ] {
        let text = get(pages, "GET", path).await;
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {text}"
        );
    }
}

#[tokio::test]
async fn only_reading_is_allowed_and_head_has_no_body() {
    assert!(
        get(Pages::All, "POST", "/config")
            .await
            .starts_with("HTTP/1.1 405")
    );
    let head = get(Pages::All, "HEAD", "/metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn readiness_says_what_is_missing_in_text_and_in_json() {
    let text = get(Pages::Probes, "GET", "/ready").await;
    assert!(
        text.ends_with("\r\n\r\nredirect_v6: the redirect was not verified yet\n"),
        "{text}"
    );
    let request = "GET /ready HTTP/1.1\r\nhost: x\r\naccept: application/json\r\n\r\n";
    let json = ask(admin(ready_but_for_v6()), Pages::Probes, request).await;
    let reasons = r#"{"ready":false,"reasons":["redirect_v6: the redirect was not verified yet"]}"#;
    assert!(json.contains(reasons), "{json}");
    let ready = Readiness {
        redirect_v6: Condition::Met,
        ..ready_but_for_v6()
    };
    let request = "GET /ready HTTP/1.1\r\nhost: x\r\n\r\n";
    let text = ask(admin(ready), Pages::Probes, request).await;
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("\r\n\r\nready\n"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_finishes_is_let_go() {
    for slow in ["", "GET /metrics HTTP/1.1\r\nhost: x\r\n"] {
        let begun = Instant::now();
        ask(admin(ready_but_for_v6()), Pages::All, slow).await;
        assert!(begun.elapsed() <= CONNECTION_TIME, "{slow:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_let_go() {
    let (mut client, server) = duplex(64);
    client
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let begun = Instant::now();
    serve_connection(&admin(ready_but_for_v6()), Pages::All, server).await;
    assert_eq!(begun.elapsed(), CONNECTION_TIME);
}

#[tokio::test]
async fn a_connection_is_answered_over_tcp_while_others_stay_silent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(admin(ready_but_for_v6()), Pages::Telemetry, listener));
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS_PER_SOURCE - 1 {
        silent.push(tokio::net::TcpStream::connect(addr).await.unwrap());
    }
    let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
    client
        .write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with("live\n"));
    server.abort();
}

#[tokio::test]
async fn who_is_revoked_is_denied_before_any_rule_is_asked() {
    for (name, reason) in [("revoked", "revoked"), ("web", "no_policy")] {
        let path = format!("/decide?source=spiffe://a.test/ns/shop/sa/{name}&port=80");
        let text = get(Pages::All, "GET", &path).await;
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        let said: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&said["decision"], &said["reason"]),
            (&"deny".into(), &reason.into())
        );
    }
}
