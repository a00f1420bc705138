//! What is signed, read back with another parser; and stores that must not be used.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use rustls_pki_types::UnixTime;
use rustls_pki_types::pem::PemObject;
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::attest::{self, BoundPodError, Grounds};
use crate::digest::sha256;
use crate::index::Revoked;
use crate::kubernetes::Reviewed;
use crate::tls::Identity;
use crate::token;

fn domain() -> TrustDomain {
    "cluster.local".parse().unwrap()
}

fn attested(store: &Path, ca: &Ca, csr: &Csr, now: OffsetDateTime) -> Attested {
    let id = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    let token = token::create(store, &id, Duration::from_secs(60), now).unwrap();
    let grounds = Grounds {
        trust_domain: ca.trust_domain(),
        revoked: &Revoked::default(),
        now,
    };
    attest::by_join_token(&grounds, store, ca.root(), &token, csr).unwrap()
}

/// A request for everything that a caller must not have.
fn greedy(key: &KeyPair) -> Csr {
    let mut params = CertificateParams::new(vec!["control".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    Csr::parse(params.serialize_request(key).unwrap().der()).unwrap()
}

#[test]
fn a_leaf_has_what_was_proved_and_nothing_that_was_asked() {
    let store = tempfile::tempdir().unwrap();
    let ca = load_or_create(store.path(), &domain()).unwrap();
    let key = KeyPair::generate().unwrap();
    let csr = greedy(&key);
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    let attested = attested(store.path(), &ca, &csr, now);
    let svid = ca
        .sign(&attested, &csr, now, Duration::from_secs(3600))
        .unwrap();
    assert_eq!(svid.chain.last(), Some(ca.root().certificate()));

    let (_, leaf) = X509Certificate::from_der(&svid.chain[0]).unwrap();
    leaf.verify_signature(Some(
        X509Certificate::from_der(&svid.chain[1])
            .unwrap()
            .1
            .public_key(),
    ))
    .unwrap();
    assert_eq!(leaf.subject().iter().count(), 0);
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert!(names.critical);
    assert_eq!(
        names.value.general_names,
        [GeneralName::URI("spiffe://cluster.local/ns/shop/sa/web")]
    );
    let constraints = leaf.basic_constraints().unwrap().unwrap();
    assert!(constraints.critical && !constraints.value.ca);
    assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1);
    let usages = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usages.server_auth && usages.client_auth && !usages.code_signing && !usages.any);
    assert_eq!(leaf.public_key().raw, key.subject_public_key_info());
    assert_eq!(leaf.validity().not_before.to_datetime(), now - BACKDATED);
    assert_eq!(
        leaf.validity().not_after.to_datetime(),
        now + Duration::from_secs(3600)
    );
    assert_eq!(leaf.raw_serial().len(), 16);
    assert_eq!(hex(leaf.raw_serial()), svid.serial);
}

#[test]
fn the_pod_of_a_service_account_token_goes_from_svid_to_svid() {
    let ca = Arc::new(generated());
    let now = OffsetDateTime::now_utc();
    let hour = Duration::from_secs(3600);
    let grounds = Grounds {
        trust_domain: ca.trust_domain(),
        revoked: &Revoked::default(),
        now,
    };
    // Far longer than a common name may be.
    let pod: BoundPod = format!("{}/{}/{}", "n".repeat(63), "p".repeat(253), "u".repeat(36))
        .parse()
        .unwrap();
    let id: SpiffeId = "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap();
    let reviewed = Reviewed::of(id.clone(), pod.clone());
    let mut attested = attest::by_service_account(&grounds, reviewed).unwrap();
    let (_publish, index) = watch::channel(Arc::new(crate::index::tests::index("")));
    let identity = Identity {
        ca: Arc::clone(&ca),
        index,
    };
    for _renewal in 0..2 {
        let csr = greedy(&KeyPair::generate().unwrap());
        let svid = ca.sign(&attested, &csr, now, hour).unwrap();
        let (leaf, rest) = svid.chain.split_first().unwrap();
        let peer = identity.peer((leaf, rest), UnixTime::now()).unwrap();
        assert_eq!((peer.id(), peer.bound()), (&id, Some(&pod)));
        // Proxies are servers too, and read no subject.
        webpki::EndEntityCert::try_from(leaf)
            .unwrap()
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[webpki::anchor_from_trusted_cert(ca.root().certificate()).unwrap()],
                &[],
                UnixTime::now(),
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .unwrap();
        attested = attest::by_svid(&grounds, &peer).unwrap();
        assert_eq!(attested.bound(), Some(&pod));
    }
}

#[test]
fn what_is_no_pod_is_not_read_as_one() {
    let whole: BoundPod = "shop/web-1/8d1f".parse().unwrap();
    assert_eq!(whole.to_string(), "shop/web-1/8d1f");
    let long = format!("n/{}/u", "p".repeat(1024));
    for text in [
        "",
        "a",
        "a/b",
        "a//c",
        "a/b/c/d",
        "a/b c/d",
        "a/b/\u{e4}",
        &long,
    ] {
        assert_eq!(text.parse::<BoundPod>(), Err(BoundPodError), "{text}");
    }
}

fn generated() -> Ca {
    let made = generate(&domain(), OffsetDateTime::now_utc()).unwrap();
    from_pem(made.cert_pem.as_bytes(), made.key_pem.as_bytes(), &domain()).unwrap()
}

#[test]
fn a_root_is_read_whatever_stands_around_it() {
    let made = generate(&domain(), OffsetDateTime::now_utc()).unwrap();
    let provided = format!("the root of shop\n{}\nkeep it well\n", made.cert_pem);
    let ca = from_pem(provided.as_bytes(), made.key_pem.as_bytes(), &domain()).unwrap();
    assert_eq!(
        CertificateDer::from_pem_slice(ca.root().pem().as_bytes()).unwrap(),
        ca.root().certificate().clone()
    );
    assert!(!ca.root().pem().contains("shop"));
}

#[test]
fn no_leaf_outlives_the_root() {
    let store = tempfile::tempdir().unwrap();
    let ca = load_or_create(store.path(), &domain()).unwrap();
    let csr = greedy(&KeyPair::generate().unwrap());
    let end = ca.root().not_after;
    let late = end - Duration::from_secs(60);
    let attested = attested(store.path(), &ca, &csr, late);
    let hour = Duration::from_secs(3600);
    assert_eq!(ca.sign(&attested, &csr, late, hour).unwrap().not_after, end);
    assert!(matches!(
        ca.sign(&attested, &csr, end, hour),
        Err(SignError::AuthorityExpired(_))
    ));
}

#[test]
fn the_root_signs_certificates_and_names_its_trust_domain() {
    let store = tempfile::tempdir().unwrap();
    let ca = load_or_create(&store.path().join("new"), &domain()).unwrap();
    let (_, root) = X509Certificate::from_der(ca.root().certificate()).unwrap();
    let usage = root.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert!(root.is_ca() && !usage.value.digital_signature());
    assert_eq!(
        root.subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names,
        [GeneralName::URI("spiffe://cluster.local")]
    );
    root.verify_signature(None).unwrap();
    let mode = |path: &str| {
        let path = store.path().join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("new"), mode("new/ca.key")), (0o700, 0o600));
}

#[test]
fn an_authority_that_exists_is_loaded_and_never_printed() {
    let store = tempfile::tempdir().unwrap();
    let first = load_or_create(store.path(), &domain()).unwrap();
    let second = load_or_create(store.path(), &domain()).unwrap();
    assert_eq!(first.root().certificate(), second.root().certificate());
    assert_eq!(
        format!("{first:?}"),
        "Ca { trust_domain: cluster.local, .. }"
    );
}

#[test]
fn a_store_that_is_not_whole_is_refused_and_left_as_it_is() {
    type Spoil = fn(&Path) -> io::Result<()>;
    type Refused = fn(&CaError) -> bool;
    let spoils: [(Spoil, Refused); 7] = [
        (
            |store| fs::remove_file(store.join("ca.crt")),
            |e| matches!(e, CaError::Half { absent, .. } if absent.ends_with("ca.crt")),
        ),
        (
            |store| fs::remove_file(store.join("ca.key")),
            |e| matches!(e, CaError::Half { absent, .. } if absent.ends_with("ca.key")),
        ),
        (
            |store| fs::write(store.join("ca.crt"), "-----BEGIN CERT"),
            |e| matches!(e, CaError::Certificate(_)),
        ),
        (
            |store| fs::write(store.join("ca.key"), "-----BEGIN PRIV"),
            |e| matches!(e, CaError::Key(_)),
        ),
        (
            |store| {
                let other = store.join("other");
                load_or_create(&other, &domain()).unwrap();
                fs::copy(other.join("ca.crt"), store.join("ca.crt")).map(|_| ())
            },
            |e| matches!(e, CaError::Mismatch(..)),
        ),
        (
            |store| {
                let other = store.join("other");
                load_or_create(&other, &"partner.example".parse().unwrap()).unwrap();
                fs::copy(other.join("ca.crt"), store.join("ca.crt")).map(|_| ())
            },
            |e| matches!(e, CaError::TrustDomain(..)),
        ),
        (
            |store| fs::set_permissions(store.join("ca.key"), fs::Permissions::from_mode(0o640)),
            |e| matches!(e, CaError::KeyMode(_, 0o640)),
        ),
    ];
    for (at, (spoil, refused)) in spoils.into_iter().enumerate() {
        let store = tempfile::tempdir().unwrap();
        load_or_create(store.path(), &domain()).unwrap();
        spoil(store.path()).unwrap();
        let files = || ["ca.key", "ca.crt"].map(|file| fs::read(store.path().join(file)).ok());
        let before = files();
        let error = load_or_create(store.path(), &domain()).unwrap_err();
        assert!(refused(&error), "{at}: {error}");
        assert!(error.to_string().contains("ca."), "{error}");
        assert_eq!(files(), before, "{at}");
    }
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("store");
    fs::write(&store, "a file").unwrap();
    assert!(matches!(
        load_or_create(&store, &domain()),
        Err(CaError::Directory(path, _)) if path == store
    ));
    // Of the kernel's: nobody can create anything there, not even root.
    assert!(matches!(
        load_or_create(Path::new("/proc/self"), &domain()),
        Err(CaError::Write(..))
    ));
}

#[test]
fn a_creation_that_was_cut_off_before_it_counted_is_begun_anew() {
    let store = tempfile::tempdir().unwrap();
    fs::write(store.path().join("ca.key.unfinished"), "-----BEG").unwrap();
    load_or_create(store.path(), &domain()).unwrap();
    assert!(!store.path().join("ca.key.unfinished").exists());
}

#[test]
fn a_request_of_another_kind_of_key_is_refused() {
    let request = |key: &KeyPair| {
        let params = CertificateParams::default();
        params.serialize_request(key).unwrap().der().to_vec()
    };
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let csr = Csr::parse(&request(&key)).unwrap();
        assert_eq!(csr.key_hash(), sha256(&key.subject_public_key_info()));
    }
    let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap();
    assert!(Csr::parse(&request(&other)).is_err());
    assert!(matches!(
        Csr::parse(&[0; MAX_CSR + 1]),
        Err(CsrError::TooLong)
    ));
}

const MAX_CSR: usize = 16 * 1024;
