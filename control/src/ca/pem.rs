//! An authority as two PEM texts: how it is made, and how it is checked wherever it was kept.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use palisade_api::spiffe::TrustDomain;

use super::{BACKDATED, Ca, Root, SignError, serial};
use crate::digest::sha256;

/// The authority that a certificate and its key are, both PEM.
///
/// The certificate is a root: an intermediate would need its whole chain in every proxy's bundle.
///
/// # Errors
///
/// Where one of them is not what it should be, they do not fit together, or they are another trust domain's.
pub fn from_pem(
    certificate: &[u8],
    key: &[u8],
    trust_domain: &TrustDomain,
) -> Result<Ca, PairError> {
    let root = root_from_pem(certificate, trust_domain)?;
    let key = std::str::from_utf8(key)
        .ok()
        .and_then(|pem| KeyPair::from_pem(pem).ok())
        .ok_or(PairError::Key)?;
    if sha256(&key.subject_public_key_info()) != root.key_hash {
        return Err(PairError::Mismatch);
    }
    let issuer = Issuer::from_ca_cert_der(&root.certificate, key)
        .map_err(|_error: rcgen::Error| PairError::Certificate)?;
    Ok(Ca {
        trust_domain: trust_domain.clone(),
        issuer,
        root,
    })
}

/// The certificate alone, with the same checks.
pub(super) fn root_from_pem(pem: &[u8], expected: &TrustDomain) -> Result<Root, PairError> {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    let (Some(Ok(certificate)), None) = (certificates.next(), certificates.next()) else {
        return Err(PairError::Certificate);
    };
    let (_rest, parsed) = X509Certificate::from_der(&certificate)
        .map_err(|_error: x509_parser::nom::Err<_>| PairError::Certificate)?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|_error: x509_parser::error::X509Error| PairError::Certificate)?
        .ok_or_else(|| PairError::TrustDomain(expected.clone()))?;
    let whole = format!("spiffe://{expected}");
    let own =
        matches!(names.value.general_names.as_slice(), [GeneralName::URI(uri)] if *uri == whole);
    if !own {
        return Err(PairError::TrustDomain(expected.clone()));
    }
    if !parsed.is_ca() {
        return Err(PairError::Certificate);
    }
    Ok(Root {
        key_hash: sha256(parsed.public_key().raw),
        not_after: parsed.validity().not_after.to_datetime(),
        certificate: certificate.clone(),
        pem: section(pem).ok_or(PairError::Certificate)?,
    })
}

/// A new authority, not kept anywhere yet.
pub struct Generated {
    /// Its certificate.
    pub cert_pem: String,
    /// Its key.
    pub key_pem: Zeroizing<String>,
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generated").finish_non_exhaustive()
    }
}

/// Makes an authority for a trust domain, good for ten years from `now`.
///
/// # Errors
///
/// Where there is no randomness, or the certificate cannot be made.
pub fn generate(
    trust_domain: &TrustDomain,
    now: OffsetDateTime,
) -> Result<Generated, GenerateError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(GenerateError::Make)?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Palisade");
    name.push(DnType::CommonName, "Palisade root");
    params.distinguished_name = name;
    params.subject_alt_names = vec![SanType::URI(
        format!("spiffe://{trust_domain}")
            .try_into()
            .map_err(GenerateError::Make)?,
    )];
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    params.serial_number = Some(SerialNumber::from_slice(
        &serial().map_err(GenerateError::Serial)?,
    ));
    let certificate = params.self_signed(&key).map_err(GenerateError::Make)?;
    Ok(Generated {
        cert_pem: certificate.pem(),
        key_pem: Zeroizing::new(key.serialize_pem()),
    })
}

/// The certificate's section without what stands around it, which whoever provided it may have written there.
fn section(pem: &[u8]) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let (_before, rest) = std::str::from_utf8(pem).ok()?.split_once(BEGIN)?;
    let (body, _after) = rest.split_once(END)?;
    Some(format!("{BEGIN}{body}{END}\n"))
}

/// Why two texts are no authority.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairError {
    /// Not a private key.
    #[error("the key is no private key")]
    Key,
    /// Not one certificate of an authority.
    #[error("the certificate is not exactly one certificate of an authority")]
    Certificate,
    /// They are not of one authority.
    #[error("the key is not the certificate's")]
    Mismatch,
    /// It speaks for another trust domain, or for none.
    #[error("its only name is not spiffe://{0}")]
    TrustDomain(TrustDomain),
}

/// Why no authority was made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The certificate could not be made.
    #[error("the authority's certificate could not be made")]
    Make(#[source] rcgen::Error),
    /// It has no serial number.
    #[error("the authority's certificate has no serial number")]
    Serial(#[source] SignError),
}

const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
