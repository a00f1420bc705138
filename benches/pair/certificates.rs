//! Certificates for peers that have no control service: one authority, one SPIFFE leaf for each pod.

use std::fs;
use std::path::Path;

use anyhow::Result;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use crate::pods::ROLES;

/// Writes `ca.pem`, and for each pod a chain (`.crt`), a key (`.key`) and both (`.pem`). All of P-256.
pub(crate) fn write(folder: &Path) -> Result<()> {
    fs::create_dir(folder)?;
    let key = KeyPair::generate()?;
    let mut params = valid_for_a_day("authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    fs::write(folder.join("ca.pem"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    for role in ROLES {
        let name = format!("spiffe://cluster.local/ns/default/sa/{}", role.name());
        let mut params = valid_for_a_day(role.name());
        params.subject_alt_names = vec![SanType::URI(name.try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate()?;
        let chain = params.signed_by(&key, &issuer)?.pem();
        let write =
            |suffix, text: &str| fs::write(folder.join(format!("{}.{suffix}", role.name())), text);
        write("crt", &chain)?;
        write("key", &key.serialize_pem())?;
        write("pem", &(chain + &key.serialize_pem()))?;
    }
    Ok(())
}

/// A leaf with the authority's own subject would pass for one that signed itself.
fn valid_for_a_day(subject: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, subject);
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(1);
    params
}
