//! The certificate authority: signs what was attested, and nothing that a caller asks for.

//!
//! A leaf's one name is its SPIFFE ID. One that was issued for a service-account token has in its subject, as the
//! attribute `description` (2.5.4.13, up to 1024 characters: a common name ends at 64, a pod's name at 253), the pod
//! that the token was bound to. Control alone reads that, when the SVID comes back to renew or to watch.

mod csr;
mod pem;
mod store;

use std::fmt;
use std::time::Duration;

use rcgen::{
    Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

use palisade_api::spiffe::{SpiffeId, TrustDomain};

use crate::attest::{Attested, BoundPod};
use crate::digest::{Sha256, hex};

pub use csr::{Csr, CsrError};
pub use pem::{GenerateError, Generated, PairError, from_pem, generate};
pub use store::{CaError, load_or_create};
pub(crate) use store::{root, sync_directory, write_new};

/// The authority of one trust domain. Never prints its key.
pub struct Ca {
    trust_domain: TrustDomain,
    issuer: Issuer<'static, KeyPair>,
    root: Root,
}

/// The authority's certificate, which everyone may see.
#[derive(Debug, Clone)]
pub struct Root {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key_hash: Sha256,
    pub(crate) not_after: OffsetDateTime,
    pub(crate) pem: String,
}

impl Root {
    /// The SHA-256 of its public key.
    pub fn key_hash(&self) -> Sha256 {
        self.key_hash
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }
}

impl Ca {
    /// The trust domain that it speaks for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its certificate.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Signs an SVID for who was attested. Of the request only the public key counts.
    ///
    /// The chain has the leaf first and the root last: a caller with a join token pins the root by its key.
    ///
    /// # Errors
    ///
    /// Where the authority has expired, or signing fails.
    pub fn sign(
        &self,
        attested: &Attested,
        csr: &Csr,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<Svid, SignError> {
        self.leaf(
            attested.id(),
            attested.bound(),
            csr.public_key(),
            (now, ttl),
        )
    }

    /// Signs control's own SVID, with the one name that no caller can be issued.
    pub(crate) fn sign_control(
        &self,
        key: &KeyPair,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<Svid, SignError> {
        self.leaf(&self.trust_domain.control(), None, key, (now, ttl))
    }

    /// Signs for a webhook that the API server calls: DNS names, for servers only, and no SPIFFE ID, so that no
    /// proxy takes it for anybody.
    pub(crate) fn sign_webhook(
        &self,
        key: &KeyPair,
        dns_names: &[String],
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<ServingCertificate, SignError> {
        let names = dns_names
            .iter()
            .map(|name| name.as_str().try_into().map(SanType::DnsName))
            .collect::<Result<_, _>>()
            .map_err(SignError::Encode)?;
        let (mut params, _serial) = self.params(now, ttl)?;
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let not_after = params.not_after;
        let signed: Certificate = params
            .signed_by(key, &self.issuer)
            .map_err(SignError::Encode)?;
        Ok(ServingCertificate {
            pem: signed.pem(),
            not_after,
        })
    }

    fn leaf(
        &self,
        id: &SpiffeId,
        bound: Option<&BoundPod>,
        key: &impl PublicKeyData,
        (now, ttl): (OffsetDateTime, Duration),
    ) -> Result<Svid, SignError> {
        let (mut params, serial) = self.params(now, ttl)?;
        if let Some(bound) = bound {
            params.distinguished_name.push(
                DnType::CustomDnType(DESCRIPTION.to_vec()),
                bound.to_string(),
            );
        }
        params.subject_alt_names = vec![SanType::URI(
            id.as_str().try_into().map_err(SignError::Encode)?,
        )];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let not_after = params.not_after;
        let leaf = params
            .signed_by(key, &self.issuer)
            .map_err(SignError::Encode)?;
        Ok(Svid {
            chain: vec![leaf.into(), self.root.certificate.clone()],
            not_after,
            serial: hex(&serial),
        })
    }

    /// What all leaves have in common; they have no name yet, and no usage.
    fn params(
        &self,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<(CertificateParams, [u8; 16]), SignError> {
        let not_after = time::Duration::try_from(ttl)
            .ok()
            .and_then(|ttl| now.checked_add(ttl))
            .map_or(self.root.not_after, |end| end.min(self.root.not_after));
        if not_after <= now {
            return Err(SignError::AuthorityExpired(self.root.not_after));
        }
        let serial = serial()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - BACKDATED;
        params.not_after = not_after;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        Ok((params, serial))
    }
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ca")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// An issued certificate with what vouches for it.
#[derive(Debug, Clone)]
pub struct Svid {
    /// The leaf first, the root last.
    pub chain: Vec<CertificateDer<'static>>,
    /// When the leaf ends.
    pub not_after: OffsetDateTime,
    /// The leaf's serial number, in lower-case hex.
    pub serial: String,
}

/// What a webhook serves with, beside its key.
#[derive(Debug, Clone)]
pub(crate) struct ServingCertificate {
    pub(crate) pem: String,
    pub(crate) not_after: OffsetDateTime,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The root's own end has come.
    #[error("the authority expired at {0}; it must be replaced")]
    AuthorityExpired(OffsetDateTime),
    /// The system gave no randomness.
    #[error("there is no randomness for a serial number")]
    Random(#[source] aws_lc_rs::error::Unspecified),
    /// The certificate could not be made.
    #[error("the certificate could not be made")]
    Encode(#[source] rcgen::Error),
}

/// 128 random bits but for the first two: positive, and of one length always.
fn serial() -> Result<[u8; 16], SignError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(SignError::Random)?;
    if let Some(first) = serial.first_mut() {
        *first = *first & 0x3f | 0x40;
    }
    Ok(serial)
}

/// Clocks of a cluster differ.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
/// X.520's `description`.
const DESCRIPTION: &[u64] = &[2, 5, 4, 13];

#[cfg(test)]
mod tests;
