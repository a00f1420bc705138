//! rustls configurations: TLS 1.3 only, post-quantum first, never resumed.
//!
//! One is made for each connection, because it carries that connection's verifier. It shares the key and
//! costs microseconds beside a handshake's hundreds.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig, version};

use super::verifier::PeerVerifier;
use crate::identity::Svid;

/// The configuration of a server that asks each client for its SVID.
pub(crate) fn server(
    own: &Svid,
    verifier: Arc<PeerVerifier>,
    alpn: &[u8],
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(own.certified());
    config.alpn_protocols = vec![alpn.to_vec()];
    // A resumed session runs no verifier: the peer would keep a name that it may have lost.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// The configuration of a client, which presents `own` where there is one.
pub(crate) fn client(
    own: Option<&Svid>,
    verifier: Arc<PeerVerifier>,
    alpn: &[u8],
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(own.certified()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The groups and suites of the mesh, in the order of preference.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519],
        ..default_provider()
    })
}
