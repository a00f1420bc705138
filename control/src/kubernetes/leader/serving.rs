//! The webhook's serving certificate: whether the one that there is will do, and a new one.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use palisade_api::cluster::WEBHOOK_SECRET;

use crate::ca::{Ca, Root, SignError};
use crate::kubernetes::managed_by_us;

/// Until when the certificate of a Secret need not be renewed; nothing where it must be now.
pub(super) fn good_until(
    secret: &Secret,
    names: &[String],
    root: &Root,
    now: OffsetDateTime,
) -> Option<OffsetDateTime> {
    let part = |key: &str| secret.data.as_ref()?.get(key);
    let pem = &part(CERTIFICATE)?.0;
    let key = std::str::from_utf8(&part(KEY)?.0).ok()?;
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    let (_rest, parsed) = X509Certificate::from_der(&certificate).ok()?;
    let key = KeyPair::from_pem(key).ok()?;
    let is_keys = key.subject_public_key_info() == parsed.public_key().raw;
    if !is_keys || !is_named(&parsed, names) || !is_trusted(&certificate, root, now) {
        return None;
    }
    let (from, to) = (
        parsed.validity().not_before.to_datetime(),
        parsed.validity().not_after.to_datetime(),
    );
    let half = from + (to - from) / 2;
    (now < half).then_some(half)
}

/// Whether its names are these, and no others.
fn is_named(certificate: &X509Certificate<'_>, names: &[String]) -> bool {
    let Ok(Some(found)) = certificate.subject_alternative_name() else {
        return false;
    };
    let found: Vec<_> = found.value.general_names.iter().collect();
    found.len() == names.len()
        && names
            .iter()
            .all(|name| found.contains(&&GeneralName::DNSName(name)))
}

/// Whether the API server will believe it by the root that we give it.
fn is_trusted(certificate: &CertificateDer<'_>, root: &Root, now: OffsetDateTime) -> bool {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let verify = || {
        let anchor = webpki::anchor_from_trusted_cert(root.certificate())?;
        webpki::EndEntityCert::try_from(certificate)?
            .verify_for_usage(
                webpki::ALL_VERIFICATION_ALGS,
                &[anchor],
                &[],
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                webpki::KeyUsage::server_auth(),
                None,
                None,
            )
            .map(drop)
    };
    verify().is_ok()
}

/// A Secret with a new key and its certificate, to be written over `before`.
pub(super) fn made(
    before: Option<&Secret>,
    names: &[String],
    ca: &Ca,
    now: OffsetDateTime,
) -> Result<Secret, SignError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(SignError::Encode)?;
    let certificate = ca.sign_webhook(&key, names, now, LIFETIME)?;
    tracing::info!(until = %certificate.not_after, "the webhook gets a new certificate");
    Ok(Secret {
        metadata: ObjectMeta {
            name: Some(WEBHOOK_SECRET.to_owned()),
            labels: Some(managed_by_us()),
            resource_version: before.and_then(|secret| secret.metadata.resource_version.clone()),
            ..ObjectMeta::default()
        },
        type_: Some("kubernetes.io/tls".to_owned()),
        data: Some(
            [
                (CERTIFICATE, certificate.pem.into_bytes()),
                (KEY, key.serialize_pem().into_bytes()),
            ]
            .map(|(key, value)| (key.to_owned(), ByteString(value)))
            .into(),
        ),
        ..Secret::default()
    })
}

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Renewed at half of it.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca;

    fn authority() -> Ca {
        let domain = "cluster.local".parse().unwrap();
        let made = ca::generate(&domain, OffsetDateTime::now_utc()).unwrap();
        ca::from_pem(made.cert_pem.as_bytes(), made.key_pem.as_bytes(), &domain).unwrap()
    }

    fn names(name: &str) -> Vec<String> {
        vec![name.to_owned()]
    }

    const NAME: &str = "palisade-injector.palisade-system.svc";

    #[test]
    fn a_certificate_serves_for_half_of_its_life() {
        let ca = authority();
        let now = OffsetDateTime::now_utc();
        let secret = made(None, &names(NAME), &ca, now).unwrap();
        let after = |days| now + time::Duration::days(days);
        let good = |days| good_until(&secret, &names(NAME), ca.root(), after(days));
        let until = good(0).unwrap();
        assert!(after(14) < until && until < after(15), "{until}");
        assert_eq!(good(14), Some(until));
        assert_eq!(good(15), None);
        assert_eq!(good(31), None);
    }

    #[test]
    fn each_of_these_secrets_is_made_anew() {
        let (ca, other) = (authority(), authority());
        let now = OffsetDateTime::now_utc();
        let whole = || made(None, &names(NAME), &ca, now).unwrap();
        let with = |key: &str, value: Option<&[u8]>| {
            let mut secret = whole();
            let data = secret.data.as_mut().unwrap();
            data.remove(key);
            data.extend(value.map(|value| (key.to_owned(), ByteString(value.into()))));
            secret
        };
        let another_key = whole().data.unwrap()[KEY].0.clone();
        let cases = [
            ("no data", Secret::default()),
            ("no key", with(KEY, None)),
            ("no certificate", with(CERTIFICATE, None)),
            ("broken", with(CERTIFICATE, Some(b"-----BEGIN CERT"))),
            ("another key", with(KEY, Some(&another_key))),
            ("another CA", made(None, &names(NAME), &other, now).unwrap()),
            (
                "another name",
                made(None, &names("a.b.svc"), &ca, now).unwrap(),
            ),
        ];
        for (what, secret) in cases {
            assert_eq!(
                good_until(&secret, &names(NAME), ca.root(), now),
                None,
                "{what}"
            );
        }
        assert!(good_until(&whole(), &names(NAME), ca.root(), now).is_some());
    }

    #[test]
    fn it_is_written_over_what_was_read_and_is_nobodys_svid() {
        let ca = authority();
        let before = Secret {
            metadata: ObjectMeta {
                resource_version: Some("7".into()),
                ..ObjectMeta::default()
            },
            ..Secret::default()
        };
        let secret = made(Some(&before), &names(NAME), &ca, OffsetDateTime::now_utc()).unwrap();
        assert_eq!(secret.metadata.resource_version.as_deref(), Some("7"));
        let pem = &secret.data.unwrap()[CERTIFICATE].0;
        let der = CertificateDer::from_pem_slice(pem).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let found = leaf.subject_alternative_name().unwrap().unwrap();
        assert_eq!(found.value.general_names, [GeneralName::DNSName(NAME)]);
        let usage = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth && !usage.any);
        assert!(!leaf.is_ca());
    }
}
