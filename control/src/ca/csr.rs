//! A certificate signing request, reduced to what counts: a public key whose holder signed it.

use rcgen::{
    CertificateSigningRequestParams, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PublicKey, PublicKeyData,
};

use crate::digest::{Sha256, sha256};

/// A public key, proved to be the sender's. Whatever name was asked for is gone.
#[derive(Debug)]
pub struct Csr {
    public_key: PublicKey,
}

impl Csr {
    /// Parses PKCS #10 in DER and checks its signature by its own key.
    ///
    /// # Errors
    ///
    /// Where it does not parse, is not signed by its own key, or the key is of a kind that the mesh does not use.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_BYTES {
            return Err(CsrError::TooLong);
        }
        let csr =
            CertificateSigningRequestParams::from_der(&der.into()).map_err(CsrError::Malformed)?;
        let public_key = csr.public_key;
        // The algorithm is the signature's; the length ties it to the key's own curve.
        let fits = [
            (&PKCS_ECDSA_P256_SHA256, 65),
            (&PKCS_ECDSA_P384_SHA384, 97),
            (&PKCS_ED25519, 32),
        ]
        .iter()
        .any(|(algorithm, bytes)| {
            *algorithm == public_key.algorithm() && public_key.der_bytes().len() == *bytes
        });
        if !fits {
            return Err(CsrError::Key);
        }
        Ok(Self { public_key })
    }

    /// The SHA-256 of the key's SubjectPublicKeyInfo.
    pub fn key_hash(&self) -> Sha256 {
        sha256(&self.public_key.subject_public_key_info())
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Longer than any honest one.
    #[error("the signing request is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It is none, asks for an unknown extension, or its own signature does not verify.
    #[error("the signing request is malformed, or not signed by its own key")]
    Malformed(#[source] rcgen::Error),
    /// RSA, or a curve that we do not use.
    #[error("the key is not ECDSA P-256, ECDSA P-384 or Ed25519")]
    Key,
}

const MAX_BYTES: usize = 16 * 1024;
