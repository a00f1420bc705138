//! What a leaf certificate says, read by the X.509-SVID standard.

use palisade_api::spiffe::{SpiffeId, SpiffeIdError};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;

/// A leaf that has the form of an X.509-SVID. It says nothing about who signed it.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// Its only URI name.
    pub(crate) id: SpiffeId,
    /// Lower-case hex, without leading zeros.
    pub(crate) serial: String,
    /// When its time begins.
    pub(crate) not_before: OffsetDateTime,
    /// When its time ends.
    pub(crate) not_after: OffsetDateTime,
}

impl Leaf {
    /// Reads a leaf certificate.
    ///
    /// # Errors
    ///
    /// Where the standard's sections 2 and 4 refuse it.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Result<Self, LeafError> {
        let certificate = parse(der).ok_or(LeafError::Malformed)?;
        if is_authority(&certificate) {
            return Err(LeafError::Authority);
        }
        check_usage(&certificate)?;
        let id = only_uri_name(&certificate)?
            .parse()
            .map_err(LeafError::NotSpiffe)?;
        Ok(Self {
            id,
            serial: hex(certificate.raw_serial()),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
        })
    }

    /// Whether `now` is within its time.
    pub(crate) fn is_live(&self, now: OffsetDateTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

/// Why a certificate has not the form of an X.509-SVID leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It could not be parsed, or has an extension twice.
    #[error("the certificate is malformed")]
    Malformed,
    /// It may sign others (section 4.1).
    #[error("the certificate is an authority's, not a workload's")]
    Authority,
    /// Key usage or extended key usage do not fit (sections 4.3 and 4.4).
    #[error("the certificate's key usage does not fit")]
    KeyUsage,
    /// No URI name.
    #[error("the certificate has no URI name")]
    NoUriName,
    /// More than one URI name (section 2).
    #[error("the certificate has more than one URI name")]
    ManyUriNames,
    /// Its URI name is no SPIFFE ID.
    #[error("the certificate's URI name is no SPIFFE ID")]
    NotSpiffe(#[source] SpiffeIdError),
}

/// Parses a whole certificate whose extensions are all readable and none of which comes twice.
pub(crate) fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    let readable = certificate.extensions().iter().all(|extension| {
        !matches!(
            extension.parsed_extension(),
            ParsedExtension::ParseError { .. }
        )
    });
    (rest.is_empty() && readable && certificate.extensions_map().is_ok()).then_some(certificate)
}

/// Whether basic constraints say that it is a CA.
pub(crate) fn is_authority(certificate: &X509Certificate<'_>) -> bool {
    certificate.is_ca()
}

/// Lower-case hex of a big-endian number, without leading zeros: DER puts a zero byte before some serials.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    canonical_serial(&digits)
}

/// The one way in which a serial number is written here, so that two spellings are one serial.
pub(crate) fn canonical_serial(hex: &str) -> String {
    hex.trim_start_matches('0').to_ascii_lowercase()
}

fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), LeafError> {
    let usage = certificate
        .key_usage()
        .ok()
        .flatten()
        .ok_or(LeafError::KeyUsage)?
        .value;
    if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
        return Err(LeafError::KeyUsage);
    }
    let extended = certificate
        .extended_key_usage()
        .or(Err(LeafError::Malformed))?;
    match extended.map(|extension| extension.value) {
        Some(usage) if !(usage.client_auth && usage.server_auth) => Err(LeafError::KeyUsage),
        _ => Ok(()),
    }
}

/// Every URI name is counted, also those that no other parser would show: a second one must not hide.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "names of other kinds do not count"
)]
fn only_uri_name<'a>(certificate: &X509Certificate<'a>) -> Result<&'a str, LeafError> {
    let names = certificate
        .subject_alternative_name()
        .or(Err(LeafError::Malformed))?
        .ok_or(LeafError::NoUriName)?
        .value;
    let mut found = None;
    for name in &names.general_names {
        match name {
            GeneralName::URI(uri) if found.replace(*uri).is_some() => {
                return Err(LeafError::ManyUriNames);
            }
            GeneralName::Invalid(..) => return Err(LeafError::Malformed),
            _ => {}
        }
    }
    found.ok_or(LeafError::NoUriName)
}
