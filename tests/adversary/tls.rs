//! TLS peers that believe everyone and present what they like.

use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, ServerConnection,
    SignatureScheme, StreamOwned, version,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::certificate::Certified;

pub(crate) type Client = StreamOwned<ClientConnection, TcpStream>;
pub(crate) type Server = StreamOwned<ServerConnection, TcpStream>;

/// The mesh's protocol.
pub(crate) const MESH: &[&[u8]] = &[b"palisade/1"];

/// A client that completes a handshake, as far as it concerns a client: in TLS 1.3 it does not hear yet whether its
/// certificate was taken.
pub(crate) fn client(tcp: TcpStream, own: Option<Certified>, alpn: &[&[u8]]) -> io::Result<Client> {
    let mut tls = StreamOwned::new(connection(own, alpn), tcp);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}

/// A server that completes a handshake with whoever comes.
pub(crate) fn server(tcp: TcpStream, own: Certified, alpn: &[&[u8]]) -> io::Result<Server> {
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth();
    let mut config = config.with_single_cert(own.chain, own.key).unwrap();
    config.alpn_protocols = owned(alpn);
    let connection = ServerConnection::new(Arc::new(config)).unwrap();
    let mut tls = StreamOwned::new(connection, tcp);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}

/// The first flight of a good client.
pub(crate) fn client_hello(alpn: &[&[u8]]) -> Vec<u8> {
    let mut hello = Vec::new();
    connection(None, alpn).write_tls(&mut hello).unwrap();
    hello
}

/// A ClientHello of TLS 1.2 that offers the mesh's protocol: it has no `supported_versions`.
pub(crate) fn client_hello_of_tls_1_2() -> Vec<u8> {
    let extensions: &[(u16, &[u8])] = &[
        (10, b"\x00\x02\x00\x1d"),         // groups: X25519
        (11, b"\x01\x00"),                 // points: uncompressed
        (13, b"\x00\x04\x04\x03\x08\x04"), // signatures: ECDSA P-256, RSA-PSS
        (16, b"\x00\x0b\x0apalisade/1"),   // ALPN
        (23, b""),                         // extended master secret
    ];
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, body)| [&kind.to_be_bytes(), &length(body)[..], body].concat())
        .collect();
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.push(0); // no session
    body.extend(b"\x00\x04\xc0\x2b\xc0\x2f"); // ECDHE with AES-128-GCM
    body.extend(b"\x01\x00"); // no compression
    body.extend([&length(&extensions)[..], &extensions].concat());
    let message = [&[1, 0][..], &length(&body), &body].concat();
    [&[22, 3, 1][..], &length(&message), &message].concat()
}

pub(crate) fn client_config(own: Option<Certified>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match own {
        Some(own) => builder.with_client_auth_cert(own.chain, own.key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = owned(alpn);
    Arc::new(config)
}

/// rustls wants a name; none is sent.
pub(crate) fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into())
}

fn connection(own: Option<Certified>, alpn: &[&[u8]]) -> ClientConnection {
    ClientConnection::new(client_config(own, alpn), no_name()).unwrap()
}

fn owned(alpn: &[&[u8]]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.to_vec()).collect()
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap().to_be_bytes()
}

/// Believes everyone, as an attacker does.
#[derive(Debug)]
struct Gullible;

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
