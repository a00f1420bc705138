//! How a proxy without an SVID proves who it is, and which control it believes until it knows better.

use std::path::PathBuf;
use std::sync::Arc;

use palisade_api::wire::issue_request::Attestation;
use time::OffsetDateTime;

use super::control::{self, ControlAddr, ControlError, ControlTrust};
use super::service_account::{self, ServiceAccountError, ServiceAccountToken};
use super::token::{JoinToken, ReadTokenError};
use super::{Snapshot, TrustBundles};
use crate::rpc::Channel;

/// What proves this proxy to control. Files are read anew at each attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// A file with a join token, or a Unix socket that answers each connection with a fresh one. The token names the
    /// root that control must have.
    JoinToken(PathBuf),
    /// A service account's token.
    ServiceAccount {
        /// The file with the token.
        token: PathBuf,
        /// The file with the authorities that control's certificate may come from. They vouch for control and for
        /// nobody else.
        anchor: PathBuf,
    },
}

impl Credential {
    /// Whether it proves this proxy at any time, and not once for a key: worth a try where a renewal is refused.
    pub(super) fn can_be_shown_again(&self) -> bool {
        matches!(self, Self::ServiceAccount { .. })
    }
}

/// Why this proxy could not prove itself.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// No join token.
    #[error("there is no join token")]
    JoinToken(#[from] ReadTokenError),
    /// No service-account token, or no anchor.
    #[error(transparent)]
    ServiceAccount(#[from] ServiceAccountError),
    /// No control that may be told.
    #[error("no connection to control")]
    Control(#[from] ControlError),
}

/// A connection to a control that proved itself, and what to prove oneself with there.
///
/// What is known to be revoked is refused here too.
pub(super) async fn attest(
    credential: &Credential,
    control: &ControlAddr,
    snapshot: &Snapshot,
    now: OffsetDateTime,
) -> Result<(Channel, Attestation), AttestError> {
    match credential {
        Credential::JoinToken(path) => {
            let token = JoinToken::read(path).await?;
            let trust = ControlTrust::Root(token.root_sha256());
            let channel = control::dial(control, trust, None, now).await?;
            let secret = token.secret_text().to_owned();
            Ok((channel, Attestation::JoinToken(secret)))
        }
        Credential::ServiceAccount { token, anchor } => {
            let anchor = service_account::read_anchor(anchor).await?;
            let token = ServiceAccountToken::read(token).await?;
            let trust = ControlTrust::Anchor(
                Arc::new(TrustBundles::new(control.trust_domain.clone(), anchor)),
                snapshot.revocations.clone().unwrap_or_default(),
            );
            let channel = control::dial(control, trust, None, now).await?;
            let secret = token.secret_text().to_owned();
            Ok((channel, Attestation::ServiceAccountToken(secret)))
        }
    }
}
