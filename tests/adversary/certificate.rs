//! Certificates by whoever has the authority's key: good ones, and those that prove no name.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use time::{Duration, OffsetDateTime};

use crate::harness::Mesh;

/// An authority of which the attacker has the key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: CertificateDer<'static>,
}

/// A chain and the leaf's key.
#[derive(Debug)]
pub(crate) struct Certified {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

impl Authority {
    /// The mesh's own.
    pub(crate) fn stolen_from(mesh: &Mesh) -> Self {
        let read = |name| std::fs::read_to_string(mesh.state().join("control").join(name)).unwrap();
        let key = KeyPair::from_pem(&read("ca.key")).unwrap();
        let certificate = read("ca.crt");
        Self {
            root: CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap(),
            issuer: Issuer::from_ca_cert_pem(&certificate, key).unwrap(),
        }
    }

    /// One of the attacker's making, which calls itself as the mesh's does.
    pub(crate) fn homemade() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri("spiffe://cluster.local")];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { issuer, root }
    }

    /// A good SVID of an account in the shop.
    pub(crate) fn svid(&self, account: &str) -> Certified {
        self.leaf(|leaf| leaf.subject_alt_names = vec![uri(&id(account))])
    }

    /// A good SVID but for what `change` makes of it.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let key = KeyPair::generate().unwrap();
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(&id("web"))];
        params.not_before = now - Duration::minutes(5);
        params.not_after = now + Duration::hours(1);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        Certified {
            chain: vec![leaf.der().clone(), self.root.clone()],
            key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        }
    }

    /// Leaves that prove no name, each with the word for why.
    pub(crate) fn evil(&self) -> Vec<(Certified, &'static str)> {
        let named = |names: &[&str]| {
            let names = names.iter().map(|name| uri(name)).collect();
            self.leaf(|leaf| leaf.subject_alt_names = names)
        };
        let web = id("web");
        let now = OffsetDateTime::now_utc();
        vec![
            (named(&[&web, &id("orders")]), "many_uri_names"),
            (named(&[]), "no_uri_name"),
            (
                named(&["https://cluster.local/ns/shop/sa/web"]),
                "not_spiffe",
            ),
            (
                named(&["spiffe://other.example/ns/shop/sa/web"]),
                "unknown_trust_domain",
            ),
            (
                self.leaf(|leaf| leaf.not_after = now - Duration::SECOND),
                "expired",
            ),
            (
                self.leaf(|leaf| leaf.not_before = now + Duration::HOUR),
                "not_yet_valid",
            ),
            (
                self.leaf(|leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                "leaf_is_authority",
            ),
            (
                self.leaf(|leaf| leaf.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
                "key_usage",
            ),
            (Self::homemade().svid("web"), "unknown_authority"),
        ]
    }
}

/// `spiffe://cluster.local/ns/shop/sa/<account>`
pub(crate) fn id(account: &str) -> String {
    format!("spiffe://cluster.local/ns/shop/sa/{account}")
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}
