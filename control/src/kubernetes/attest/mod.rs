//! A service-account token to a name: the API server says whose token it is, the pod's own object that it is there.
//!
//! The pod is read by one GET each time and not from the watch: a pod that started a moment ago is there for certain,
//! one that is gone is not there, and a pod asks this once in its life.

mod judge;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use palisade_api::sidecar::TOKEN_AUDIENCE as AUDIENCE;
use palisade_api::spiffe::{SpiffeId, TrustDomain};

use super::refusals::Refusals;
use crate::attest::BoundPod;
pub(crate) use judge::Refusal;
use judge::{AddressCheck, Claim, PodSeen, judge};

/// A name, and the pod that it is proved for. Made only by [`ServiceAccounts::review`].
#[derive(Debug)]
pub(crate) struct Reviewed {
    id: SpiffeId,
    bound: BoundPod,
}

impl Reviewed {
    #[cfg(test)]
    pub(crate) fn of(id: SpiffeId, bound: BoundPod) -> Self {
        Self { id, bound }
    }

    pub(crate) fn into_parts(self) -> (SpiffeId, BoundPod) {
        (self.id, self.bound)
    }
}

/// Attestation by service-account tokens.
#[derive(Clone)]
pub(crate) struct ServiceAccounts {
    client: Client,
    trust_domain: TrustDomain,
    address_check: AddressCheck,
    /// Anybody may send a token; the API server shall not feel it.
    reviews: Arc<Semaphore>,
    refusals: Arc<Refusals>,
}

impl ServiceAccounts {
    /// `check_address`: whether a token counts only from an address of its pod.
    pub(crate) fn new(client: Client, trust_domain: TrustDomain, check_address: bool) -> Self {
        Self {
            client,
            trust_domain,
            address_check: if check_address {
                AddressCheck::On
            } else {
                AddressCheck::Off
            },
            reviews: Arc::new(Semaphore::new(MAX_REVIEWS)),
            refusals: Arc::default(),
        }
    }

    /// Whom it refuses.
    pub(crate) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// Whose token it is that came from `caller`.
    ///
    /// # Errors
    ///
    /// Where the token proves nothing, or the API server cannot be asked.
    pub(crate) async fn review(
        &self,
        token: &str,
        caller: IpAddr,
    ) -> Result<Reviewed, ReviewError> {
        let token = token.trim();
        if !has_form(token) {
            return Err(Refusal::Malformed.into());
        }
        timeout(REVIEW_TIME, self.ask(token, caller))
            .await
            .map_err(ReviewError::Late)?
    }

    async fn ask(&self, token: &str, caller: IpAddr) -> Result<Reviewed, ReviewError> {
        let _turn = self
            .reviews
            .acquire()
            .await
            .map_err(ReviewError::Stopping)?;
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let status = reviews
            .create(&PostParams::default(), &review)
            .await
            .map_err(|error| ReviewError::Review(Box::new(error)))?
            .status
            .unwrap_or_default();
        let claim = Claim::read(&status)?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &claim.pod.namespace);
        let pod = pods
            .get_opt(&claim.pod.name)
            .await
            .map_err(|error| ReviewError::Pod(Box::new(error)))?;
        let seen = pod.as_ref().map(PodSeen::read);
        let judged = judge(&claim, caller, seen.as_ref(), self.address_check);
        self.refusals
            .note(&claim.pod, judged.as_ref().copied(), Instant::now());
        judged?;
        let Claim { account, pod } = claim;
        let id = SpiffeId::of_service_account(&self.trust_domain, &pod.namespace, &account)
            .map_err(Refusal::Name)?;
        Ok(Reviewed { id, bound: pod })
    }
}

impl fmt::Debug for ServiceAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccounts")
            .field("trust_domain", &self.trust_domain)
            .field("address_check", &self.address_check)
            .finish_non_exhaustive()
    }
}

/// Whether it can be a JWT at all; what cannot be is not worth a call.
fn has_form(token: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    token.len() <= MAX_TOKEN_BYTES && token.split('.').count() == 3 && token.split('.').all(part)
}

/// Why a token led to no name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReviewError {
    /// It was answered, and the answer is no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The API server did not review it.
    #[error("the API server did not review the token")]
    Review(#[source] Box<kube::Error>),
    /// The API server did not show the pod.
    #[error("the API server did not show the token's pod")]
    Pod(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("the API server did not answer in time")]
    Late(#[source] tokio::time::error::Elapsed),
    /// Control ends.
    #[error("control is stopping")]
    Stopping(#[source] tokio::sync::AcquireError),
}

/// Below the time that a proxy waits for its answer.
const REVIEW_TIME: Duration = Duration::from_secs(8);
const MAX_REVIEWS: usize = 32;
/// Real ones have about 1 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests;
