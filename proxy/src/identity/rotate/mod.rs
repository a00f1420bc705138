//! When the SVID is renewed (pure), and the task that does it.

use std::time::Duration;

use palisade_api::spiffe::SpiffeId;
use palisade_api::wire::issue_request::Attestation;
use palisade_api::wire::{IssueRequest, IssueResponse};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use tokio::sync::watch;
use tonic::Code;

use super::attest::{self, AttestError, Credential};
use super::control::{self, ControlAddr, ControlError, origin};
use super::{Identity, Svid, SvidError, TrustBundle, TrustBundleError, causes};
use crate::grpc::identity_client::IdentityClient;
use crate::random;
use crate::rpc::Channel;

/// What rotation needs to know.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Where SVIDs are issued.
    pub control: ControlAddr,
    /// What proves this proxy while it has no SVID.
    pub credential: Credential,
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
    let mut row = Row::default();
    loop {
        let attempt = tokio::time::timeout(ATTEMPT_TIMEOUT, issue(&rotation, identity, &mut key));
        let result = attempt.await.unwrap_or(Err(RotateError::TimedOut));
        let now = OffsetDateTime::now_utc();
        let snapshot = identity.snapshot();
        let live = snapshot.live_svid(now);
        let error = result.err();
        row.add(error.as_ref().map(Obstacle::of));
        let last_error = error.map(|error| causes(&error));
        let due = match (&last_error, live) {
            (None, Some(svid)) => renew_at(now, svid.not_after(), random::fraction()),
            (_, live) => {
                let left = live.map(|svid| (svid.not_after() - now).unsigned_abs());
                now + row.wait(left, random::fraction())
            }
        };
        if let Some(error) = &last_error {
            // Said once, and again when it changes: readiness has it meanwhile.
            if state.borrow().last_error.as_ref() == Some(error) {
                tracing::debug!(failures = row.failures, error, "no SVID was issued");
            } else {
                tracing::warn!(error, "no SVID was issued; trying again");
            }
        }
        state.send_replace(RotationState {
            last_error,
            failures: row.failures,
            due: Some(due),
        });
        wait_until(due).await;
    }
}

/// What an attempt met, as far as the wait for the next one goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// Files that are not there yet, or not right: asking again costs nobody but this proxy.
    Files,
    /// Control cannot say yet, for example because it has not seen the pod's address: a matter of moments.
    NotYet,
    /// Anything else: no control, or one that refuses.
    Other,
}

impl Obstacle {
    fn of(error: &RotateError) -> Self {
        match error {
            RotateError::Attest(AttestError::ServiceAccount(_)) => Self::Files,
            RotateError::Refused(status) if status.code() == Code::Unavailable => Self::NotYet,
            RotateError::Attest(AttestError::JoinToken(_) | AttestError::Control(_))
            | RotateError::TimedOut
            | RotateError::Control(_)
            | RotateError::Key(_)
            | RotateError::Refused(_)
            | RotateError::NoBundle
            | RotateError::Bundle(_)
            | RotateError::Svid(_)
            | RotateError::OtherName { .. } => Self::Other,
        }
    }

    fn longest_wait(self) -> Duration {
        match self {
            Self::Files => Duration::from_secs(1),
            Self::NotYet => Duration::from_secs(5),
            Self::Other => LAST_RETRY,
        }
    }
}

/// Failures in a row, and how many of the last of them met the same: the wait grows with those only, so that a proxy
/// that waited long for one thing does not wait long for the next.
#[derive(Debug, Default)]
struct Row {
    failures: u32,
    alike: u32,
    last: Option<Obstacle>,
}

impl Row {
    fn add(&mut self, met: Option<Obstacle>) {
        let is_alike = met.is_some() && met == self.last;
        self.failures = met.map_or(0, |_| self.failures.saturating_add(1));
        self.alike = if is_alike {
            self.alike.saturating_add(1)
        } else {
            1
        };
        self.last = met;
    }

    fn wait(&self, left: Option<Duration>, jitter: f64) -> Duration {
        let longest = self.last.map_or(LAST_RETRY, Obstacle::longest_wait);
        retry_after(self.alike, left, jitter).min(longest)
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
    #[error(transparent)]
    Attest(#[from] AttestError),
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

impl RotateError {
    /// Whether control, or this proxy, does not stand by what they knew of each other: a new attestation may.
    fn is_refusal(&self) -> bool {
        match self {
            Self::Control(error) => error.is_refusal(),
            Self::Refused(status) => !matches!(
                status.code(),
                Code::Unavailable
                    | Code::DeadlineExceeded
                    | Code::ResourceExhausted
                    | Code::Cancelled
                    | Code::Aborted
            ),
            Self::TimedOut
            | Self::Attest(_)
            | Self::Key(_)
            | Self::NoBundle
            | Self::Bundle(_)
            | Self::Svid(_)
            | Self::OtherName { .. } => false,
        }
    }
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
    let (answer, attested) = request(rotation, identity, key_pair).await?;
    let now = OffsetDateTime::now_utc();
    accept(identity, answer, key_pair, attested, now)?;
    *key = None;
    Ok(())
}

/// Control's answer, and whether it is one to an attestation: the SVID asks while it lives, and where that is refused or
/// there is none, the credential does.
async fn request(
    rotation: &Rotation,
    identity: &Identity,
    key: &KeyPair,
) -> Result<(IssueResponse, bool), RotateError> {
    // Control decides the name, so the request asks for none.
    let csr = CertificateParams::default().serialize_request(key)?;
    let csr = csr.der().to_vec();
    let now = OffsetDateTime::now_utc();
    let snapshot = identity.snapshot();
    if snapshot.live_svid(now).is_some() {
        let renewed = match control::connect(&rotation.control, &snapshot, now).await {
            Ok(channel) => ask(channel, csr.clone(), None).await,
            Err(error) => Err(error.into()),
        };
        match renewed {
            Err(error) if error.is_refusal() && rotation.credential.can_be_shown_again() => {
                let error = causes(&error);
                tracing::warn!(error, "the SVID is not renewed; attesting anew");
            }
            renewed => return Ok((renewed?, false)),
        }
    }
    let attested = attest::attest(&rotation.credential, &rotation.control, &snapshot, now);
    let (channel, attestation) = attested.await?;
    Ok((ask(channel, csr, Some(attestation)).await?, true))
}

async fn ask(
    channel: Channel,
    csr: Vec<u8>,
    attestation: Option<Attestation>,
) -> Result<IssueResponse, RotateError> {
    let answer = IdentityClient::with_origin(channel, origin())
        .issue(IssueRequest { csr, attestation })
        .await
        .map_err(|status| RotateError::Refused(Box::new(status)))?;
    Ok(answer.into_inner())
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

/// All places of control may be tried meanwhile, twice where a renewal is refused.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
const CLOCK_CHECK: Duration = Duration::from_secs(1);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod control_double;
#[cfg(test)]
mod tests;
