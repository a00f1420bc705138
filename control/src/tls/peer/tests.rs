//! Certificates that prove nothing, each for one reason.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use super::*;
use crate::index::Index;

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn root() -> (Issuer<'static, KeyPair>, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).unwrap();
    (Issuer::new(params, key), certificate.into())
}

/// A good leaf.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![uri(WEB)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = OffsetDateTime::now_utc() - Duration::from_secs(60);
    params.not_after = OffsetDateTime::now_utc() + Duration::from_secs(60);
    params
}

fn check(
    params: &CertificateParams,
    signer: &Issuer<'static, KeyPair>,
    trusted: &CertificateDer<'_>,
    revoked: &Revoked,
) -> Result<VerifiedPeer, PeerError> {
    let leaf = params
        .signed_by(&KeyPair::generate().unwrap(), signer)
        .unwrap();
    let domain = "cluster.local".parse().unwrap();
    let now = UnixTime::now();
    verify(&domain, trusted, revoked, (leaf.der(), &[]), now)
}

#[test]
fn a_good_certificate_proves_its_name() {
    let (issuer, root) = root();
    let peer = check(&params(), &issuer, &root, &Revoked::default()).unwrap();
    assert_eq!(peer.id().as_str(), WEB);
}

#[test]
fn each_of_these_proves_nothing() {
    type Spoil = fn(&mut CertificateParams);
    type Refused = fn(&PeerError) -> bool;
    let (issuer, root) = root();
    let spoils: [(Spoil, Refused); 9] = [
        (
            |p| p.subject_alt_names.push(uri("spiffe://cluster.local/b")),
            |e| matches!(e, PeerError::ManyNames),
        ),
        (
            |p| p.subject_alt_names = vec![SanType::DnsName("web".try_into().unwrap())],
            |e| matches!(e, PeerError::NoName),
        ),
        (
            |p| p.subject_alt_names = vec![uri("https://web")],
            |e| matches!(e, PeerError::Name(_)),
        ),
        (
            |p| p.subject_alt_names = vec![uri("spiffe://partner.example/web")],
            |e| matches!(e, PeerError::TrustDomain(_)),
        ),
        (
            |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            |e| matches!(e, PeerError::Chain(_) | PeerError::Authority),
        ),
        (
            |p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement],
            |e| matches!(e, PeerError::Usage),
        ),
        (
            |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign),
            |e| matches!(e, PeerError::Usage),
        ),
        (
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            |e| matches!(e, PeerError::Chain(_)),
        ),
        (
            |p| p.key_usages = Vec::new(),
            |e| matches!(e, PeerError::Usage),
        ),
    ];
    for (at, (spoil, refused)) in spoils.into_iter().enumerate() {
        let mut params = params();
        spoil(&mut params);
        let error = check(&params, &issuer, &root, &Revoked::default()).unwrap_err();
        assert!(refused(&error), "{at}: {error:?}");
    }
    for (not_before, not_after) in [(-120, -60), (60, 120)] {
        let mut params = params();
        params.not_before = OffsetDateTime::now_utc() + time::Duration::seconds(not_before);
        params.not_after = OffsetDateTime::now_utc() + time::Duration::seconds(not_after);
        let error = check(&params, &issuer, &root, &Revoked::default()).unwrap_err();
        assert!(matches!(error, PeerError::Chain(_)), "{error:?}");
    }
}

#[test]
fn a_subject_names_one_whole_pod_or_none() {
    let (issuer, root) = root();
    let mut params = params();
    let mut describe = |text: &str| {
        let description = DnType::CustomDnType(vec![2, 5, 4, 13]);
        params.distinguished_name.push(description, text);
        check(&params, &issuer, &root, &Revoked::default())
    };
    let error = describe("shop/web-1").unwrap_err();
    assert!(matches!(error, PeerError::Bound(_)), "{error:?}");
    let peer = describe("shop/web-1/8d1f").unwrap();
    assert_eq!(peer.bound().unwrap().to_string(), "shop/web-1/8d1f");
}

#[test]
fn another_authority_proves_nothing_here() {
    let ((issuer, _), (_, other)) = (root(), root());
    let error = check(&params(), &issuer, &other, &Revoked::default()).unwrap_err();
    assert!(matches!(error, PeerError::Chain(_)));
}

#[test]
fn who_is_revoked_by_name_or_serial_proves_nothing() {
    let (issuer, root) = root();
    for spec in [
        format!("identities: ['{WEB}']"),
        "serials: ['0a1b2c']".into(),
    ] {
        let mut params = params();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x0a, 0x1b, 0x2c]));
        let index = crate::index::tests::index(&format!(
            "apiVersion: palisade.dev/v1alpha1\nkind: Revocations\nspec: {{{spec}}}\n"
        ));
        let revoked = Index::revoked(&index);
        let error = check(&params, &issuer, &root, revoked).unwrap_err();
        assert!(matches!(error, PeerError::Revoked(_)), "{error:?}");
    }
}
