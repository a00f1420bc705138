//! A service account's token and the trust anchor beside it: files that somebody else writes, renews, and may not have
//! written yet.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use palisade_api::cluster::TRUST_CONFIG_MAP;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{self, PemObject as _};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

use super::{TrustBundle, TrustBundleError};

/// A token that the cluster signed for this pod's service account.
pub(super) struct ServiceAccountToken(Zeroizing<String>);

impl ServiceAccountToken {
    /// Reads the token as it is now: it is renewed in place.
    pub(super) async fn read(path: &Path) -> Result<Self, ServiceAccountError> {
        let file = || path.to_owned();
        let text = match read_bounded(path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ServiceAccountError::TokenMissing(file()));
            }
            Err(error) => return Err(ServiceAccountError::TokenUnreadable(file(), error)),
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(ServiceAccountError::TokenMissing(file()));
        }
        // It travels as metadata does elsewhere: anything but printable ASCII is no token.
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ServiceAccountError::TokenMalformed(file()));
        }
        Ok(Self(Zeroizing::new(token.to_owned())))
    }

    /// The token, which is a secret.
    pub(super) fn secret_text(&self) -> &str {
        &self.0
    }
}

/// Without the secret.
impl fmt::Debug for ServiceAccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceAccountToken(…)")
    }
}

/// Reads the authorities that control's certificate may come from: PEM, one or more.
pub(super) async fn read_anchor(path: &Path) -> Result<TrustBundle, ServiceAccountError> {
    let file = || path.to_owned();
    let text = match read_bounded(path).await {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ServiceAccountError::AnchorMissing(file()));
        }
        Err(error) => return Err(ServiceAccountError::AnchorUnreadable(file(), error)),
    };
    if text.trim().is_empty() {
        return Err(ServiceAccountError::AnchorMissing(file()));
    }
    let certificates = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ServiceAccountError::AnchorPem(file(), error))?;
    if certificates.is_empty() {
        let error = pem::Error::NoItemsFound;
        return Err(ServiceAccountError::AnchorPem(file(), error));
    }
    TrustBundle::new(certificates).map_err(|error| ServiceAccountError::Anchor(file(), error))
}

/// Why there is no token, or no anchor to send it by. All of it may be mended by whoever writes the files.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountError {
    /// No token, or an empty one.
    #[error("the service-account token {} is not there yet", .0.display())]
    TokenMissing(PathBuf),
    /// The token's file cannot be read.
    #[error("the service-account token {} cannot be read", .0.display())]
    TokenUnreadable(PathBuf, #[source] io::Error),
    /// Something else is in its file.
    #[error("{} holds no service-account token", .0.display())]
    TokenMalformed(PathBuf),
    /// No anchor, or an empty one.
    #[error(
        "the trust anchor {} is not there yet: is the namespace's {TRUST_CONFIG_MAP} ConfigMap written?",
        .0.display()
    )]
    AnchorMissing(PathBuf),
    /// The anchor's file cannot be read.
    #[error("the trust anchor {} cannot be read", .0.display())]
    AnchorUnreadable(PathBuf, #[source] io::Error),
    /// It has no certificate, or a broken one.
    #[error("the trust anchor {} is not PEM with certificates", .0.display())]
    AnchorPem(PathBuf, #[source] pem::Error),
    /// A certificate in it is no authority's.
    #[error("the trust anchor {} names no authority", .0.display())]
    Anchor(PathBuf, #[source] TrustBundleError),
}

/// The whole of a small text. Its memory is taken at once, so that no part of a secret is left behind by growing.
async fn read_bounded(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(MOST_BYTES));
    let mut file = tokio::fs::File::open(path).await?;
    while bytes.len() < MOST_BYTES {
        let room = (MOST_BYTES - bytes.len()) as u64;
        if (&mut file).take(room).read_buf(&mut *bytes).await? == 0 {
            let text = std::str::from_utf8(&bytes);
            let text = text.or(Err(io::ErrorKind::InvalidData))?;
            return Ok(Zeroizing::new(text.to_owned()));
        }
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

/// Tokens have one or two thousand bytes, an anchor's certificates about a thousand each.
const MOST_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixture::{Authority, pem};

    #[tokio::test]
    async fn a_token_is_read_anew_and_does_not_print() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        for token in ["eyJh.first.sig", "eyJh.second.sig"] {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            let read = ServiceAccountToken::read(&file).await.unwrap();
            assert_eq!(read.secret_text(), token);
            assert!(!format!("{read:?}").contains(token));
        }
    }

    #[tokio::test]
    async fn what_is_no_token_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        let text = |error: ServiceAccountError| error.to_string();
        let missing = ServiceAccountToken::read(&file).await.unwrap_err();
        assert!(text(missing).ends_with("token is not there yet"));
        for (content, reason) in [
            ("", "is not there yet"),
            ("\n", "is not there yet"),
            ("two words", "holds no service-account token"),
        ] {
            std::fs::write(&file, content).unwrap();
            let refused = ServiceAccountToken::read(&file).await.unwrap_err();
            assert!(text(refused).contains(reason), "{content:?}");
        }
        std::fs::write(&file, "x".repeat(MOST_BYTES)).unwrap();
        let refused = ServiceAccountToken::read(&file).await.unwrap_err();
        assert!(text(refused).contains("cannot be read"));
    }

    #[tokio::test]
    async fn an_anchor_is_one_or_more_authorities() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.crt");
        let missing = read_anchor(&file).await.unwrap_err().to_string();
        assert!(
            missing.ends_with(
                "ca.crt is not there yet: is the namespace's palisade-trust ConfigMap written?"
            ),
            "{missing}"
        );
        let (old, new) = (Authority::new(), Authority::new());
        let leaf = new.leaf("web").der;
        for (content, found) in [
            (String::new(), Err("not there yet")),
            ("not PEM".to_owned(), Err("not PEM")),
            (pem(&leaf), Err("names no authority")),
            (pem(&new.certificate()), Ok(1)),
            (pem(&old.certificate()) + &pem(&new.certificate()), Ok(2)),
        ] {
            std::fs::write(&file, &content).unwrap();
            match (read_anchor(&file).await, found) {
                (Ok(bundle), Ok(count)) => assert_eq!(bundle.authorities().len(), count),
                (Err(error), Err(reason)) => {
                    assert!(error.to_string().contains(reason), "{error}");
                }
                (read, _) => panic!("{content}: {read:?}"),
            }
        }
    }
}
