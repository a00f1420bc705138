//! When the SVID is renewed (pure), and the task that does it.

use std::path::PathBuf;
use std::time::Duration;

use palisade_api::spiffe::SpiffeId;
use palisade_api::wire::issue_request::Attestation;
use palisade_api::wire::{IssueRequest, IssueResponse};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use tokio::sync::watch;
use tonic::transport::Channel;

use super::control::{self, ControlAddr, ControlError, ControlTrust};
use super::token::{JoinToken, ReadTokenError};
use super::{Identity, Svid, SvidError, TrustBundle, TrustBundleError};
use crate::grpc::identity_client::IdentityClient;

/// What rotation needs to know.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Where SVIDs are issued.
    pub control: ControlAddr,
    /// A file with a join token, or a Unix socket that answers each connection with a fresh one.
    pub join_token: PathBuf,
}

/// How rotation goes, for readiness and for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RotationState {
    /// Why the last attempt failed; `None` after one that did not.
    pub last_error: Option<String>,
    /// Attempts in a row that failed.
    pub failures: u32,
    /// When the next attempt is due.
    pub due: Option<OffsetDateTime>,
}

/// Gets the first SVID and renews it for ever. Cancel safe: the newest SVID stays.
///
/// An SVID is served until it ends, however often its renewal fails; one that has expired is replaced by a
/// new attestation, with a fresh token.
pub async fn run(rotation: Rotation, identity: &Identity, state: &watch::Sender<RotationState>) {
    let mut key = None;
    let mut failures = 0;
    loop {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, issue(&rotation, identity, &mut key));
        let result = attempt.await.unwrap_or(Err(RotateError::TimedOut));
        let now = OffsetDateTime::now_utc();
        let snapshot = identity.snapshot();
        let live = snapshot.live_svid(now);
        let last_error = result.err().map(|error| describe(&error));
        failures = if last_error.is_some() {
            failures + 1
        } else {
            0
        };
        let due = match (&last_error, live) {
            (None, Some(svid)) => renew_at(now, svid.not_after(), random()),
            (_, live) => {
                let left = live.map(|svid| (svid.not_after() - now).unsigned_abs());
                now + retry_after(failures, left, random())
            }
        };
        if let Some(error) = &last_error {
            // Said once, and again when it changes: readiness has it meanwhile.
            if state.borrow().last_error.as_ref() == Some(error) {
                tracing::debug!(failures, error, "no SVID was issued");
            } else {
                tracing::warn!(error, "no SVID was issued; trying again");
            }
        }
        state.send_replace(RotationState {
            last_error,
            failures,
            due: Some(due),
        });
        wait_until(due).await;
    }
}

/// When to renew an SVID that was issued at `issued_at`: at half of its remaining lifetime, ± 10 %.
///
/// `jitter` is in 0..1 and spreads proxies that started together.
pub fn renew_at(
    issued_at: OffsetDateTime,
    not_after: OffsetDateTime,
    jitter: f64,
) -> OffsetDateTime {
    let remaining = (not_after - issued_at).max(time::Duration::ZERO);
    issued_at + remaining * (0.45 + 0.1 * jitter)
}

/// How long to wait after `failures` failures in a row: doubled from 200 ms up to 30 s, shortened by up to a
/// half by `jitter` in 0..1.
///
/// It is never beyond a quarter of what is `left` of the live SVID, and never under 100 ms.
pub fn retry_after(failures: u32, left: Option<Duration>, jitter: f64) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let spread = doubled.min(LAST_RETRY).mul_f64(1.0 - 0.5 * jitter);
    let bound = left.map_or(LAST_RETRY, |left| left / 4);
    spread.min(bound).max(FIRST_RETRY / 2)
}

/// Why an attempt gave no SVID.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error("control did not answer in time")]
    TimedOut,
    #[error("there is no join token")]
    Token(#[from] ReadTokenError),
    #[error("no connection to control")]
    Control(#[from] ControlError),
    #[error("the key or its request cannot be made")]
    Key(#[from] rcgen::Error),
    #[error("control refused to issue: {}", .0.message())]
    Refused(#[source] Box<tonic::Status>),
    #[error("control's answer has no trust bundle")]
    NoBundle,
    #[error("control's answer has a malformed trust bundle")]
    Bundle(#[from] TrustBundleError),
    #[error("what control issued is no SVID of ours")]
    Svid(#[from] SvidError),
    #[error("control issued {found} and had issued {expected} before")]
    OtherName { expected: SpiffeId, found: SpiffeId },
}

/// Gets one SVID, and lets it take the place of the one before.
///
/// `key` outlives a failed attempt, because a join token can be redeemed again for the same key only: an
/// answer that was lost is not a token that was lost.
async fn issue(
    rotation: &Rotation,
    identity: &Identity,
    key: &mut Option<KeyPair>,
) -> Result<(), RotateError> {
    let key_pair = match key.take() {
        Some(key) => key,
        None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
    };
    let key_pair = key.insert(key_pair);
    // Control decides the name, so the request asks for none.
    let request = CertificateParams::default().serialize_request(key_pair)?;
    let csr = request.der().to_vec();
    let now = OffsetDateTime::now_utc();
    let snapshot = identity.snapshot();
    let (channel, attestation) = match snapshot.live_svid(now) {
        Some(_) => (
            control::connect(&rotation.control, &snapshot, now).await?,
            None,
        ),
        None => attest(rotation, now).await?,
    };
    let attested = attestation.is_some();
    let answer = IdentityClient::new(channel)
        .issue(IssueRequest { csr, attestation })
        .await
        .map_err(|status| RotateError::Refused(Box::new(status)))?
        .into_inner();
    accept(
        identity,
        answer,
        key_pair,
        attested,
        OffsetDateTime::now_utc(),
    )?;
    *key = None;
    Ok(())
}

/// A connection to the control that a fresh token names, and the token.
async fn attest(
    rotation: &Rotation,
    now: OffsetDateTime,
) -> Result<(Channel, Option<Attestation>), RotateError> {
    let token = JoinToken::read(&rotation.join_token).await?;
    let trust = ControlTrust::Root(token.root_sha256());
    let channel = control::dial(&rotation.control, trust, None, now).await?;
    let attestation = Attestation::JoinToken(token.secret_text().to_owned());
    Ok((channel, Some(attestation)))
}

/// Checks an answer, and takes it only as a whole.
fn accept(
    identity: &Identity,
    answer: IssueResponse,
    key: &KeyPair,
    attested: bool,
    now: OffsetDateTime,
) -> Result<(), RotateError> {
    let chain = answer.chain.into_iter().map(CertificateDer::from).collect();
    let authorities = answer.bundle.ok_or(RotateError::NoBundle)?.authorities;
    let bundle = TrustBundle::new(authorities.into_iter().map(CertificateDer::from).collect())?;
    let svid = Svid::new(
        chain,
        PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        now,
        identity.trust_domain(),
    )?;
    let before = identity.snapshot().svid;
    if let Some(before) = before.filter(|before| before.id() != svid.id()) {
        return Err(RotateError::OtherName {
            expected: before.id().clone(),
            found: svid.id().clone(),
        });
    }
    // A renewal's bundle is discovery's to set: it may be older than what was pushed meanwhile.
    if attested {
        identity.set_own_bundle(bundle);
    }
    identity.set_svid(svid);
    Ok(())
}

/// Sleeps by the wall clock, which it looks at every second: a timer sleeps while a laptop does.
async fn wait_until(due: OffsetDateTime) {
    loop {
        let left = due - OffsetDateTime::now_utc();
        if left <= time::Duration::ZERO {
            return;
        }
        tokio::time::sleep(left.unsigned_abs().min(CLOCK_CHECK)).await;
    }
}

fn describe(error: &RotateError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A number in 0..1. Without randomness, jitter is in the middle: it protects nothing but control's load.
pub(crate) fn random() -> f64 {
    let mut bytes = [0; 4];
    match aws_lc_rs::rand::fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const CLOCK_CHECK: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod control_double;
#[cfg(test)]
mod tests;
