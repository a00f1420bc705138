//! Throw-away authorities and SVIDs for tests.

use std::sync::Arc;

use palisade_api::spiffe::TrustDomain;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::identity::{Revocations, Snapshot, Svid, TrustBundle, TrustBundles};

pub(crate) const TRUST_DOMAIN: &str = "cluster.local";

/// A moment that no test's outcome depends on: certificates are made relative to it.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_795_000_000).unwrap()
}

/// A root, or an intermediate, and its key. All have the same distinguished name, as after a rotation.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A leaf and its key.
pub(crate) struct Certified {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// What a leaf says; the default is a good SVID.
pub(crate) struct Leaf {
    pub(crate) uris: Vec<String>,
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) is_ca: bool,
    pub(crate) usages: Vec<KeyUsagePurpose>,
    pub(crate) extended: Vec<ExtendedKeyUsagePurpose>,
    /// The DER of a subject alternative name extension, written as it is instead of `uris`.
    pub(crate) raw_names: Option<Vec<u8>>,
}

impl Default for Leaf {
    fn default() -> Self {
        Self {
            uris: vec![format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/web")],
            not_before: now() - Duration::minutes(5),
            not_after: now() + Duration::hours(1),
            is_ca: false,
            usages: vec![KeyUsagePurpose::DigitalSignature],
            extended: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            raw_names: None,
        }
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(now() + Duration::days(365));
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn intermediate(&self, not_after: OffsetDateTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(not_after);
        params
            .distinguished_name
            .push(DnType::CommonName, "intermediate");
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle::new(vec![self.certificate()]).unwrap()
    }

    /// A good SVID of `spiffe://cluster.local/ns/shop/sa/<account>`.
    pub(crate) fn leaf(&self, account: &str) -> Certified {
        let uri = format!("spiffe://{TRUST_DOMAIN}/ns/shop/sa/{account}");
        self.custom(|leaf| leaf.uris = vec![uri])
    }

    pub(crate) fn svid(&self, account: &str) -> Svid {
        let Certified { der, key } = self.leaf(account);
        Svid::new(vec![der], key, now(), &trust_domain()).unwrap()
    }

    pub(crate) fn custom(&self, change: impl FnOnce(&mut Leaf)) -> Certified {
        let mut leaf = Leaf::default();
        change(&mut leaf);
        let key = KeyPair::generate().unwrap();
        Certified {
            der: self.certify(leaf, &key),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        }
    }

    /// Signs what `leaf` says, for a key of the caller's.
    pub(crate) fn certify(&self, leaf: Leaf, key: &impl PublicKeyData) -> CertificateDer<'static> {
        let certificate = leaf_params(leaf).signed_by(key, &self.issuer).unwrap();
        certificate.der().clone()
    }
}

/// What a proxy of `account` knows: its SVID, this authority, nothing revoked.
pub(crate) fn snapshot(authority: &Authority, account: &str) -> Snapshot {
    Snapshot {
        svid: Some(Arc::new(authority.svid(account))),
        bundles: Some(Arc::new(TrustBundles::new(
            trust_domain(),
            authority.bundle(),
        ))),
        revocations: Some(Arc::new(Revocations::default())),
        trust_generation: 1,
        svid_generation: 1,
    }
}

/// The first record that our client sends, with another protocol offered.
pub(crate) fn client_hello(authority: &Authority, alpn: &[u8]) -> Vec<u8> {
    let known = snapshot(authority, "web");
    let (own, verifier) = super::prepare(&known, super::Role::Server, None, now()).unwrap();
    let config = super::config::client(Some(&own), verifier, alpn).unwrap();
    let mut connection =
        rustls::ClientConnection::new(Arc::new(config), super::no_server_name()).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    hello
}

/// A certificate as files have it.
pub(crate) fn pem(der: &CertificateDer<'_>) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for chunk in der.chunks(3) {
        let mut three = [0; 4];
        three[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(three);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            let is_data = place <= chunk.len();
            text.push(if is_data {
                char::from(alphabet[digit as usize])
            } else {
                '='
            });
        }
    }
    text + "\n-----END CERTIFICATE-----\n"
}

pub(crate) fn trust_domain() -> TrustDomain {
    TRUST_DOMAIN.parse().unwrap()
}

fn authority_params(not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now() - Duration::days(1);
    params.not_after = not_after;
    params
}

fn leaf_params(leaf: Leaf) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = leaf.not_before;
    params.not_after = leaf.not_after;
    params.key_usages = leaf.usages;
    params.extended_key_usages = leaf.extended;
    if leaf.is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    match leaf.raw_names {
        Some(der) => {
            let names = CustomExtension::from_oid_content(&[2, 5, 29, 17], der);
            params.custom_extensions.push(names);
        }
        None => {
            let names = leaf.uris.iter().map(|uri| uri.as_str().try_into().unwrap());
            params.subject_alt_names = names.map(SanType::URI).collect();
        }
    }
    params
}
