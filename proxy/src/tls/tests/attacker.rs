//! Peers that follow no rule: they believe everyone and present what they like.

use std::sync::Arc;

use palisade_api::spiffe::SpiffeIdError;
use rcgen::{ExtendedKeyUsagePurpose as Extended, KeyUsagePurpose as Usage};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig};
use rustls::{SignatureScheme, version};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use time::Duration;

use crate::tls::error::PeerError;
use crate::tls::fixture::{Authority, Certified, now};
use crate::tls::peer;

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
        peer::algorithms().supported_schemes()
    }
}

impl ClientCertVerifier for Gullible {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
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
        peer::algorithms().supported_schemes()
    }
}

pub(crate) fn any_client(own: Option<Certified>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Gullible));
    let mut config = match own {
        Some(own) => builder
            .with_client_auth_cert(vec![own.der], own.key)
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn any_server(
    own: Certified,
    alpn: &[&[u8]],
    behind: &[CertificateDer<'static>],
) -> Arc<ServerConfig> {
    let chain = [&[own.der], behind].concat();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_client_cert_verifier(Arc::new(Gullible))
        .with_single_cert(chain, own.key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Certificates that prove no name, with the reason.
pub(crate) fn evil(authority: &Authority) -> Vec<(Certified, PeerError)> {
    let mut evil = misnamed(authority);
    evil.extend(misused(authority));
    evil.push((Authority::new().leaf("web"), PeerError::UnknownAuthority));
    evil
}

fn misnamed(authority: &Authority) -> Vec<(Certified, PeerError)> {
    let web = "spiffe://cluster.local/ns/shop/sa/web";
    let named = |uris: &[&str], reason| {
        let uris = uris.iter().map(|uri| (*uri).to_owned()).collect();
        (authority.custom(|leaf| leaf.uris = uris), reason)
    };
    let raw = |names: Vec<u8>, reason| {
        let leaf = authority.custom(|leaf| leaf.raw_names = Some(names));
        (leaf, reason)
    };
    let foreign = "other.example".parse().unwrap();
    vec![
        named(&[web, "spiffe://cluster.local/a"], PeerError::ManyUriNames),
        named(&[web, web], PeerError::ManyUriNames),
        named(&[], PeerError::NoUriName),
        named(
            &["https://cluster.local/a"],
            PeerError::NotSpiffe(SpiffeIdError::Scheme),
        ),
        named(
            &["spiffe://other.example/ns/a/sa/b"],
            PeerError::UnknownTrustDomain(foreign),
        ),
        // A second URI name that is no URI, or no text at all, still is a second one.
        raw(
            names(&[(URI, web.as_bytes()), (URI, b"no name")]),
            PeerError::ManyUriNames,
        ),
        raw(
            names(&[(URI, web.as_bytes()), (URI, b"\xff\xfe")]),
            PeerError::Malformed,
        ),
        raw(names(&[(DNS, b"web.shop")]), PeerError::NoUriName),
    ]
}

fn misused(authority: &Authority) -> Vec<(Certified, PeerError)> {
    let past = now() - Duration::SECOND;
    let future = now() + Duration::SECOND;
    let usage = |usages: &[Usage]| {
        let usages = usages.to_vec();
        let leaf = authority.custom(|leaf| leaf.usages = usages);
        (leaf, PeerError::KeyUsage)
    };
    let extended = |usage: Extended| {
        let leaf = authority.custom(|leaf| leaf.extended = vec![usage]);
        (leaf, PeerError::KeyUsage)
    };
    vec![
        (
            authority.custom(|leaf| leaf.not_after = past),
            PeerError::Expired,
        ),
        (
            authority.custom(|leaf| leaf.not_before = future),
            PeerError::NotYetValid,
        ),
        (
            authority.custom(|leaf| leaf.is_ca = true),
            PeerError::LeafIsAuthority,
        ),
        usage(&[Usage::DigitalSignature, Usage::KeyCertSign]),
        usage(&[Usage::DigitalSignature, Usage::CrlSign]),
        usage(&[Usage::KeyAgreement]),
        usage(&[]),
        extended(Extended::CodeSigning),
        extended(Extended::ServerAuth),
    ]
}

/// A subject alternative name extension of short names, each with its tag.
fn names(names: &[Name<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for (tag, name) in names {
        body.extend([*tag, u8::try_from(name.len()).unwrap()]);
        body.extend_from_slice(name);
    }
    [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

type Name<'a> = (u8, &'a [u8]);

const DNS: u8 = 0x82;
const URI: u8 = 0x86;
