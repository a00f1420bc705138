//! A client certificate to a name, by the X.509-SVID rules.

use rustls_pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::oid_registry::OID_X509_DESCRIPTION;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, GeneralName, X509Certificate};

use palisade_api::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

use crate::attest::{BoundPod, BoundPodError};
use crate::digest::hex;
use crate::index::Revoked;

/// Who is at the other end, proved by a certificate of our own authority. Made only by `verify`.
#[derive(Debug, Clone)]
pub struct VerifiedPeer {
    id: SpiffeId,
    serial: String,
    not_after: OffsetDateTime,
    bound: Option<BoundPod>,
}

impl VerifiedPeer {
    /// The name.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The certificate's serial number, in lower-case hex.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// When the certificate ends, and with it what it proves.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// The pod that the certificate was issued to, where a service-account token proved one.
    pub fn bound(&self) -> Option<&BoundPod> {
        self.bound.as_ref()
    }
}

/// Verifies a chain against our authority alone: a foreign trust domain's workloads have their own control.
///
/// # Errors
///
/// Where the chain proves no name of ours, or what it proves is revoked.
pub(crate) fn verify(
    trust_domain: &TrustDomain,
    authority: &CertificateDer<'_>,
    revoked: &Revoked,
    chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: UnixTime,
) -> Result<VerifiedPeer, PeerError> {
    let (leaf, intermediates) = chain;
    let anchor = webpki::anchor_from_trusted_cert(authority).map_err(PeerError::Chain)?;
    let end_entity = webpki::EndEntityCert::try_from(leaf).map_err(PeerError::Chain)?;
    end_entity
        .verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &[anchor],
            intermediates,
            now,
            webpki::KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(PeerError::Chain)?;
    let (_rest, leaf) = X509Certificate::from_der(leaf)
        .map_err(|_error: x509_parser::nom::Err<_>| PeerError::Malformed)?;
    check_usage(&leaf)?;
    let id = only_name(&leaf)?;
    if id.trust_domain() != trust_domain {
        return Err(PeerError::TrustDomain(id));
    }
    let serial = hex(leaf.tbs_certificate.raw_serial());
    if revoked.refuses(&id, &serial) {
        return Err(PeerError::Revoked(id));
    }
    Ok(VerifiedPeer {
        bound: bound_pod(&leaf)?,
        id,
        serial,
        not_after: leaf.validity().not_after.to_datetime(),
    })
}

/// X.509-SVID, sections 4.1 and 4.3: a leaf signs data, and no certificates.
fn check_usage(leaf: &X509Certificate<'_>) -> Result<(), PeerError> {
    if leaf.is_ca() {
        return Err(PeerError::Authority);
    }
    let usage = leaf
        .key_usage()
        .map_err(|_error: x509_parser::error::X509Error| PeerError::Malformed)?
        .ok_or(PeerError::Usage)?
        .value;
    if !usage.digital_signature() || usage.key_cert_sign() || usage.crl_sign() {
        return Err(PeerError::Usage);
    }
    Ok(())
}

fn only_name(leaf: &X509Certificate<'_>) -> Result<SpiffeId, PeerError> {
    let names = leaf
        .subject_alternative_name()
        .map_err(|_error: x509_parser::error::X509Error| PeerError::Malformed)?;
    let mut uris = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| {
            if let GeneralName::URI(uri) = name {
                Some(*uri)
            } else {
                None
            }
        });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri.parse()?),
        (None, _) => Err(PeerError::NoName),
        (Some(_), Some(_)) => Err(PeerError::ManyNames),
    }
}

/// What [`crate::ca`] wrote into the subject; a join token's SVID has none there.
fn bound_pod(leaf: &X509Certificate<'_>) -> Result<Option<BoundPod>, PeerError> {
    let mut written = leaf
        .subject()
        .iter_by_oid(&OID_X509_DESCRIPTION)
        .map(AttributeTypeAndValue::as_str);
    match (written.next(), written.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.parse()?)),
        (Some(_), _) => Err(PeerError::Malformed),
    }
}

/// Why a certificate proves no name to us.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// Not of our authority, not valid now, or not for clients.
    #[error("the certificate does not verify against our authority")]
    Chain(#[source] webpki::Error),
    /// It could not be parsed.
    #[error("the certificate is malformed")]
    Malformed,
    /// An authority's certificate as a leaf.
    #[error("the certificate is an authority's")]
    Authority,
    /// Its key is for something else.
    #[error("the certificate's key usage is not a workload's")]
    Usage,
    /// No URI name.
    #[error("the certificate has no URI name")]
    NoName,
    /// More than one URI name.
    #[error("the certificate has more than one URI name")]
    ManyNames,
    /// Its name is no SPIFFE ID.
    #[error("the certificate's URI name is no SPIFFE ID")]
    Name(#[from] SpiffeIdError),
    /// Its subject has a description that is no pod.
    #[error("the certificate's subject names no pod")]
    Bound(#[from] BoundPodError),
    /// Our authority vouches for no other trust domain.
    #[error("{0} is of another trust domain")]
    TrustDomain(SpiffeId),
    /// Refused from now on.
    #[error("{0} is revoked")]
    Revoked(SpiffeId),
}

#[cfg(test)]
mod tests;
