//! Handshakes of real rustls over in-memory streams.

pub(crate) mod attacker;

use std::sync::Arc;

use palisade_api::sidecar::ALPN;
use rustls::{ClientConfig, ServerConfig};
use time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use self::attacker::{any_client, any_server, evil};
use super::fixture::{Authority, now, snapshot};
use super::*;
use crate::identity::{Revocations, Snapshot};
use crate::transport::{FRAME_BYTES, WRITE_BYTES};

type Side = Result<(Secured<DuplexStream>, Established), HandshakeError>;

fn id(account: &str) -> SpiffeId {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
        .parse()
        .unwrap()
}

async fn handshake(client: &Snapshot, server: &Snapshot, expected: &SpiffeId) -> (Side, Side) {
    let (near, far) = duplex(1 << 16);
    tokio::join!(
        originate(client, expected, near, now()),
        terminate(server, far, now())
    )
}

/// How our server ends with a client of this configuration, and what that client reads then.
async fn attack_server(
    config: Arc<ClientConfig>,
    server: &Snapshot,
) -> (HandshakeError, Option<HandshakeError>) {
    let (near, far) = duplex(1 << 16);
    let client = async {
        let connector = TlsConnector::from(config);
        let mut stream = match connector.connect(no_server_name(), near).await {
            Ok(stream) => stream,
            Err(error) => return alert_of(&error),
        };
        let error = stream.read_u8().await.unwrap_err();
        alert_of(&error)
    };
    let server = async { terminate(server, far, now()).await.map(|_| ()).unwrap_err() };
    let (told, error) = tokio::join!(client, server);
    (error, told)
}

async fn attack_client(config: Arc<ServerConfig>, client: &Snapshot) -> HandshakeError {
    let (near, far) = duplex(1 << 16);
    let server = async {
        // What the attacker sees does not matter here.
        drop(TlsAcceptor::from(config).accept(far).await);
    };
    let web = id("web");
    let client = async {
        originate(client, &web, near, now())
            .await
            .map(|_| ())
            .unwrap_err()
    };
    tokio::join!(server, client).1
}

#[tokio::test]
async fn both_sides_prove_who_they_are_with_post_quantum_keys() {
    let authority = Authority::new();
    let (web, orders) = (snapshot(&authority, "web"), snapshot(&authority, "orders"));
    let (client, server) = handshake(&web, &orders, &id("orders")).await;
    let ((mut client, near), (mut server, far)) = (client.unwrap(), server.unwrap());
    assert_eq!((near.peer.id(), far.peer.id()), (&id("orders"), &id("web")));
    assert_eq!(far.peer.serial(), web.svid.unwrap().serial());
    for side in [&near, &far] {
        assert_eq!((side.group, side.version), (Some("X25519MLKEM768"), "1.3"));
        assert_eq!(side.ends_at(), now() + Duration::hours(1));
        assert!(!format!("{side:?}").contains("exporter"));
    }
    client.write_all(b"hello").await.unwrap();
    client.flush().await.unwrap();
    let mut read = [0; 5];
    server.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"hello");
}

#[tokio::test]
async fn both_sides_give_a_stream_the_same_name_and_each_its_own() {
    let authority = Authority::new();
    let (web, orders) = (snapshot(&authority, "web"), snapshot(&authority, "orders"));
    let mut seen = std::collections::HashSet::new();
    for _ in 0..2 {
        let (client, server) = handshake(&web, &orders, &id("orders")).await;
        let (near, far) = (client.unwrap().1, server.unwrap().1);
        for stream in [0, 1, u32::MAX] {
            let name = near.conn_id(stream);
            assert_eq!(name, far.conn_id(stream));
            assert!(seen.insert(name));
        }
    }
}

#[tokio::test]
async fn a_client_with_an_evil_certificate_is_refused_with_the_reason_and_told_so() {
    let authority = Authority::new();
    let orders = snapshot(&authority, "orders");
    for (certified, reason) in evil(&authority) {
        let (error, told) = attack_server(any_client(Some(certified), &[ALPN]), &orders).await;
        assert!(
            matches!(&error, HandshakeError::Peer(found) if *found == reason),
            "{error:?} for {reason:?}"
        );
        assert!(
            matches!(told, Some(HandshakeError::RefusedByPeer(_))),
            "{told:?} for {reason:?}"
        );
    }
}

#[tokio::test]
async fn a_server_with_an_evil_certificate_is_refused_with_the_reason() {
    let authority = Authority::new();
    let web = snapshot(&authority, "web");
    for (certified, reason) in evil(&authority) {
        let error = attack_client(any_server(certified, &[ALPN], &[]), &web).await;
        assert!(
            matches!(&error, HandshakeError::Peer(found) if *found == reason),
            "{error:?} for {reason:?}"
        );
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let orders = snapshot(&Authority::new(), "orders");
    let (error, _) = attack_server(any_client(None, &[ALPN]), &orders).await;
    assert!(matches!(
        error,
        HandshakeError::Peer(PeerError::NoCertificate)
    ));
}

#[tokio::test]
async fn a_certificate_without_its_key_is_refused() {
    /// Signs with another key than the certificate's.
    fn stolen(authority: &Authority) -> rustls::sign::CertifiedKey {
        let (certificate, key) = (authority.leaf("web").der, authority.leaf("web").key);
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        rustls::sign::CertifiedKey::new(vec![certificate], key)
    }
    let authority = Authority::new();
    let orders = snapshot(&authority, "orders");
    let resolver: Arc<rustls::sign::SingleCertAndKey> = Arc::new(stolen(&authority).into());

    let mut client = (*any_client(None, &[ALPN])).clone();
    client.client_auth_cert_resolver = resolver.clone();
    let (error, _) = attack_server(Arc::new(client), &orders).await;
    assert!(matches!(error, HandshakeError::Peer(PeerError::Chain)));

    let mut server = (*any_server(authority.leaf("web"), &[ALPN], &[])).clone();
    server.cert_resolver = resolver;
    let error = attack_client(Arc::new(server), &orders).await;
    assert!(matches!(error, HandshakeError::Peer(PeerError::Chain)));
}

#[tokio::test]
async fn another_server_than_the_expected_one_is_refused() {
    let authority = Authority::new();
    let (web, orders) = (snapshot(&authority, "web"), snapshot(&authority, "orders"));
    let (client, server) = handshake(&web, &orders, &id("db")).await;
    let unexpected = PeerError::Unexpected {
        expected: id("db"),
        found: id("orders"),
    };
    assert!(matches!(client, Err(HandshakeError::Peer(found)) if found == unexpected));
    assert!(matches!(server, Err(HandshakeError::RefusedByPeer(_))));
}

#[tokio::test]
async fn the_revoked_are_refused_on_either_side() {
    let authority = Authority::new();
    let revoking = |snapshot: &Snapshot, revocations| Snapshot {
        revocations: Some(Arc::new(revocations)),
        ..snapshot.clone()
    };
    let (web, orders) = (snapshot(&authority, "web"), snapshot(&authority, "orders"));
    let serial = |of: &Snapshot| of.svid.as_ref().unwrap().serial().to_uppercase();
    for revocations in [
        Revocations::new([id("web")], []),
        Revocations::new([], [serial(&web)]),
    ] {
        let (_, server) = handshake(&web, &revoking(&orders, revocations), &id("orders")).await;
        assert!(matches!(
            server,
            Err(HandshakeError::Peer(PeerError::Revoked))
        ));
    }
    for revocations in [
        Revocations::new([id("orders")], []),
        Revocations::new([], [serial(&orders)]),
    ] {
        let (client, _) = handshake(&revoking(&web, revocations), &orders, &id("orders")).await;
        assert!(matches!(
            client,
            Err(HandshakeError::Peer(PeerError::Revoked))
        ));
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_prove_itself_or_does_not_know_the_revoked_refuses_all() {
    let authority = Authority::new();
    let web = snapshot(&authority, "web");
    let late = now() + Duration::hours(2);
    let expired = terminate(&web, duplex(1).0, late).await;
    assert!(matches!(expired, Err(HandshakeError::NoSvid)));
    let waiting = Snapshot {
        revocations: None,
        ..web.clone()
    };
    let waiting = terminate(&waiting, duplex(1).0, now()).await;
    assert!(matches!(waiting, Err(HandshakeError::NoRevocations)));
    let blank = originate(&Snapshot::default(), &id("web"), duplex(1).0, now()).await;
    assert!(matches!(blank, Err(HandshakeError::NoSvid)));
}

#[tokio::test]
async fn a_peer_that_does_not_negotiate_our_protocol_is_refused() {
    let authority = Authority::new();
    let orders = snapshot(&authority, "orders");
    for alpn in [&[][..], &[&b"h2"[..]]] {
        let client = any_client(Some(authority.leaf("web")), alpn);
        let (error, _) = attack_server(client, &orders).await;
        assert!(matches!(error, HandshakeError::NotMesh), "{error:?}");
        let server = any_server(authority.leaf("web"), alpn, &[]);
        let error = attack_client(server, &orders).await;
        assert!(matches!(error, HandshakeError::NotMesh), "{error:?}");
    }
}

/// A ClientHello without `supported_versions`: what a client that knows TLS 1.2 at most sends.
fn tls12_hello() -> Vec<u8> {
    let alpn = [&[0, 16, 0, 13, 0, 11, 10][..], ALPN].concat();
    let schemes = [0, 13, 0, 4, 0, 2, 4, 3];
    let groups = [0, 10, 0, 4, 0, 2, 0, 29];
    let points = [0, 11, 0, 2, 1, 0];
    let extensions = [&alpn[..], &schemes, &groups, &points].concat();
    let extensions_length = u16::try_from(extensions.len()).unwrap().to_be_bytes();
    let body = [
        &[3, 3][..],
        &[7; 32],
        &[0],
        &[0, 2, 0xc0, 0x2b],
        &[1, 0],
        &extensions_length,
        &extensions,
    ]
    .concat();
    let message = [&[1, 0, 0, u8::try_from(body.len()).unwrap()], &body[..]].concat();
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    [&[22, 3, 1][..], &length, &message].concat()
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let orders = snapshot(&Authority::new(), "orders");
    let (mut near, far) = duplex(1 << 16);
    near.write_all(&tls12_hello()).await.unwrap();
    let error = terminate(&orders, far, now())
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        matches!(
            &error,
            HandshakeError::Protocol(rustls::Error::PeerIncompatible(_))
        ),
        "{error:?}"
    );
    let mut alert = [0; 7];
    near.read_exact(&mut alert).await.unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 70], "fatal protocol_version");
}

#[tokio::test]
async fn a_session_is_never_resumed() {
    let authority = Authority::new();
    let orders = snapshot(&authority, "orders");
    // A client that would resume, in the same configuration twice.
    let config = any_client(Some(authority.leaf("web")), &[ALPN]);
    for _ in 0..2 {
        let (near, far) = duplex(1 << 16);
        let client = async {
            let connector = TlsConnector::from(Arc::clone(&config));
            let mut stream = connector.connect(no_server_name(), near).await.unwrap();
            // Reads whatever follows the handshake, tickets too.
            stream.read_u8().await.unwrap();
            assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
            stream.get_ref().1.handshake_kind()
        };
        let server = async {
            let (mut stream, _) = terminate(&orders, far, now()).await.unwrap();
            stream.write_all(b"x").await.unwrap();
            stream.flush().await.unwrap();
        };
        let (kind, ()) = tokio::join!(client, server);
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_handshake_is_a_cut() {
    let orders = snapshot(&Authority::new(), "orders");
    let (near, far) = duplex(1 << 16);
    drop(near);
    let error = terminate(&orders, far, now())
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(matches!(error, HandshakeError::Cut(_)));
}

/// Both ends of a connection, over a pipe that holds little.
async fn pair(pipe_bytes: usize) -> (Secured<DuplexStream>, Secured<DuplexStream>) {
    let authority = Authority::new();
    let (web, orders) = (snapshot(&authority, "web"), snapshot(&authority, "orders"));
    let (near, far) = duplex(pipe_bytes);
    let expected = id("orders");
    let (near, far) = tokio::join!(
        originate(&web, &expected, near, now()),
        terminate(&orders, far, now())
    );
    (near.unwrap().0, far.unwrap().0)
}

#[tokio::test]
async fn bytes_arrive_in_order_whatever_pieces_they_are_written_and_read_in() {
    for (pipe, piece, room) in [
        (1 << 20, 200_000, 300_000),
        (1 << 20, 200_000, 1000),
        (1000, 70_000, 64 * 1024),
        (100_000, 1, 7),
    ] {
        let (mut near, mut far) = pair(pipe).await;
        let all: Vec<u8> = (0..500_000_u32).map(|n| n.to_be_bytes()[3]).collect();
        let all = if piece == 1 { &all[..2000] } else { &all[..] };
        let write = async {
            for piece in all.chunks(piece) {
                near.write_all(piece).await.unwrap();
            }
            near.shutdown().await.unwrap();
        };
        let read = async {
            let (mut got, mut buffer) = (Vec::new(), vec![0; room]);
            loop {
                match far.read(&mut buffer).await.unwrap() {
                    0 => return got,
                    n => got.extend_from_slice(&buffer[..n]),
                }
            }
        };
        let ((), got) = tokio::join!(write, read);
        assert!(
            got == all,
            "pipe {pipe}, pieces of {piece}, room for {room}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_write_waits_for_a_peer_that_reads_nothing_and_goes_on_as_it_reads() {
    const PIPE_BYTES: usize = 32 * 1024;
    let (mut near, mut far) = pair(PIPE_BYTES).await;
    let soon = std::time::Duration::from_millis(1);
    let mut taken_until_full = async || {
        let mut taken = 0;
        while let Ok(some) = timeout(soon, near.write(&[7; WRITE_BYTES])).await {
            taken += some.unwrap();
        }
        taken
    };
    let taken = taken_until_full().await;
    let most = WRITE_BYTES + PIPE_BYTES;
    assert!((WRITE_BYTES..=most).contains(&taken), "{taken}");
    // A part of it is enough.
    far.read_exact(&mut [0; FRAME_BYTES]).await.unwrap();
    let taken = taken_until_full().await;
    assert!((1..=3 * FRAME_BYTES).contains(&taken), "{taken}");
}

#[tokio::test]
async fn a_cut_is_no_end_and_what_came_before_it_is_read() {
    let (mut near, mut far) = pair(1 << 16).await;
    near.write_all(b"half of it").await.unwrap();
    drop(near);
    let mut read = Vec::new();
    let cut = far.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(read, b"half of it");
}

#[tokio::test]
async fn what_follows_the_peers_goodbye_is_not_looked_at() {
    let (mut near, mut far) = pair(1 << 16).await;
    near.write_all(b"all").await.unwrap();
    near.shutdown().await.unwrap();
    let mut read = Vec::new();
    far.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"all");
    assert_eq!(far.read(&mut [0; 8]).await.unwrap(), 0, "and again");
    far.write_all(b"still heard").await.unwrap();
    let mut answer = [0; 11];
    near.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"still heard");
}

#[tokio::test]
async fn a_record_that_was_tampered_with_is_an_error_and_nothing_of_it_is_read() {
    let authority = Authority::new();
    let (web, orders) = (snapshot(&authority, "web"), snapshot(&authority, "orders"));
    let (near, mut middle) = duplex(1 << 16);
    let (mut other, far) = duplex(1 << 16);
    let expected = id("orders");
    let ends = async {
        tokio::join!(
            originate(&web, &expected, near, now()),
            terminate(&orders, far, now())
        )
    };
    let shaken = tokio::select! {
        ends = ends => ends,
        _ = tokio::io::copy_bidirectional(&mut middle, &mut other) => unreachable!(),
    };
    let (mut near, mut far) = (shaken.0.unwrap().0, shaken.1.unwrap().0);
    near.write_all(b"in good order").await.unwrap();
    let mut record = vec![0; 1 << 16];
    let read = middle.read(&mut record).await.unwrap();
    record[read - 1] ^= 1;
    other.write_all(&record[..read]).await.unwrap();
    let error = far.read(&mut [0; 64]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
