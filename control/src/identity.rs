//! gRPC `Identity`: attest, then sign. No decisions of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use palisade_api::wire::{self, IssueRequest, IssueResponse, issue_request::Attestation};

use crate::attest::{self, AttestError, Attested, Grounds};
use crate::ca::{Ca, Csr, CsrError, SignError, Svid};
use crate::grpc::identity_server::Identity;
use crate::index::Index;
use crate::kubernetes::{Refusal, ReviewError, Reviewed, ServiceAccounts};
use crate::listen::Caller;
use crate::telemetry::metrics::{IssueOutcome, Metrics};
use crate::tls::VerifiedPeer;
use crate::token::RedeemError;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct IdentityService {
    pub(crate) ca: Arc<Ca>,
    pub(crate) attestor: Attestor,
    pub(crate) svid_ttl: Duration,
    pub(crate) index: watch::Receiver<Arc<Index>>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What a caller without an SVID proves its name by. One control accepts one kind.
#[derive(Debug, Clone)]
pub(crate) enum Attestor {
    /// Join tokens of this store.
    JoinTokens { store: PathBuf },
    /// Tokens of Kubernetes service accounts.
    ServiceAccounts(ServiceAccounts),
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn issue(
        &self,
        request: Request<IssueRequest>,
    ) -> Result<Response<IssueResponse>, Status> {
        let caller = request
            .extensions()
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| Status::internal("the connection is unknown"))?;
        let from = caller.from;
        match self.issue_to(caller, request.into_inner()).await {
            Ok((attested, svid)) => {
                self.metrics.issued(IssueOutcome::Issued);
                let pod = attested.bound().map(ToString::to_string);
                tracing::info!(id = %attested.id(), pod, serial = %svid.serial, "an SVID was issued");
                Ok(Response::new(self.answer(svid)))
            }
            Err(error) => {
                self.refused(&error, from);
                Err(error.status())
            }
        }
    }
}

impl IdentityService {
    async fn issue_to(
        &self,
        caller: Caller,
        request: IssueRequest,
    ) -> Result<(Attested, Svid), IssueError> {
        let csr = blocking(move || Csr::parse(&request.csr).map_err(IssueError::Csr)).await?;
        let proof = self.proof(request.attestation, caller).await?;
        let service = self.clone();
        blocking(move || service.sign(proof, &csr)).await
    }

    /// What the caller has to show, of the kind that is accepted here; a token comes before a certificate.
    async fn proof(
        &self,
        attestation: Option<Attestation>,
        caller: Caller,
    ) -> Result<Proof, IssueError> {
        match (attestation, &self.attestor) {
            (Some(Attestation::JoinToken(token)), Attestor::JoinTokens { store }) => {
                Ok(Proof::JoinToken(store.clone(), token))
            }
            (
                Some(Attestation::ServiceAccountToken(token)),
                Attestor::ServiceAccounts(accounts),
            ) => {
                let reviewed = accounts.review(&token, caller.from.ip()).await?;
                Ok(Proof::ServiceAccount(reviewed))
            }
            (Some(Attestation::JoinToken(_)), Attestor::ServiceAccounts(_)) => {
                Err(IssueError::JoinTokenInCluster)
            }
            (Some(Attestation::ServiceAccountToken(_)), Attestor::JoinTokens { .. }) => {
                Err(IssueError::ServiceAccountOutside)
            }
            (None, _) => caller.peer.map(Proof::Svid).ok_or(IssueError::Nothing),
        }
    }

    /// Waits for a disk where a join token is redeemed.
    fn sign(&self, proof: Proof, csr: &Csr) -> Result<(Attested, Svid), IssueError> {
        let now = OffsetDateTime::now_utc();
        let index = Arc::clone(&self.index.borrow());
        let grounds = Grounds {
            trust_domain: self.ca.trust_domain(),
            revoked: index.revoked(),
            now,
        };
        let attested = match proof {
            Proof::JoinToken(store, token) => {
                attest::by_join_token(&grounds, &store, self.ca.root(), &token, csr)?
            }
            Proof::ServiceAccount(reviewed) => attest::by_service_account(&grounds, reviewed)?,
            Proof::Svid(peer) => attest::by_svid(&grounds, &peer)?,
        };
        let svid = self.ca.sign(&attested, csr, now, self.svid_ttl)?;
        Ok((attested, svid))
    }

    /// One warning, and the metrics.
    fn refused(&self, error: &IssueError, from: SocketAddr) {
        self.metrics.issued(error.outcome());
        let reason = error.reason();
        self.metrics.refused(reason);
        tracing::warn!(%from, reason, error = %chain(error), "an SVID was refused");
    }

    fn answer(&self, svid: Svid) -> IssueResponse {
        IssueResponse {
            chain: svid.chain.iter().map(|der| der.to_vec()).collect(),
            bundle: Some(wire::Bundle {
                trust_domain: self.ca.trust_domain().to_string(),
                authorities: vec![self.ca.root().certificate().to_vec()],
            }),
        }
    }
}

/// Runs what takes a processor or a disk for long, away from the thread of the connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IssueError> + Send + 'static,
) -> Result<T, IssueError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(IssueError::Aborted)?
}

/// What a caller showed.
enum Proof {
    JoinToken(PathBuf, String),
    ServiceAccount(Reviewed),
    Svid(VerifiedPeer),
}

/// Why no SVID was issued.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error("the caller proved nothing: neither a token nor a client certificate")]
    Nothing,
    #[error(
        "join tokens are not accepted here: control runs with --kubernetes; send a service-account token"
    )]
    JoinTokenInCluster,
    #[error(
        "service-account tokens are not accepted here: control runs without --kubernetes; send a join token"
    )]
    ServiceAccountOutside,
    #[error("the signing request is refused")]
    Csr(#[from] CsrError),
    #[error("the service-account token is refused")]
    Review(#[from] ReviewError),
    #[error("the caller is refused")]
    Attest(#[from] AttestError),
    #[error("nothing could be signed")]
    Sign(#[from] SignError),
    #[error("the request failed")]
    Aborted(#[source] tokio::task::JoinError),
}

impl IssueError {
    fn outcome(&self) -> IssueOutcome {
        match self {
            Self::Sign(_)
            | Self::Aborted(_)
            | Self::Attest(AttestError::Token(RedeemError::Store(_)))
            | Self::Review(
                ReviewError::Review(_)
                | ReviewError::Pod(_)
                | ReviewError::Late(_)
                | ReviewError::Stopping(_),
            ) => IssueOutcome::Failed,
            Self::Nothing
            | Self::JoinTokenInCluster
            | Self::ServiceAccountOutside
            | Self::Csr(_)
            | Self::Review(ReviewError::Refused(_))
            | Self::Attest(_) => IssueOutcome::Refused,
        }
    }

    /// The reason in one word, of a closed set.
    fn reason(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing_proved",
            Self::JoinTokenInCluster | Self::ServiceAccountOutside => "other_attestation",
            Self::Csr(_) => "signing_request",
            Self::Review(ReviewError::Refused(refusal)) => refusal.reason(),
            Self::Review(_) => "api_server",
            Self::Attest(AttestError::Token(_)) => "join_token",
            Self::Attest(AttestError::Expired) => "expired",
            Self::Attest(AttestError::Revoked) => "revoked",
            Self::Attest(AttestError::Control | AttestError::TrustDomain) => "name",
            Self::Sign(_) | Self::Aborted(_) => "internal",
        }
    }

    /// What the caller is told: enough to know what to do, and nothing about us.
    fn status(&self) -> Status {
        match self {
            Self::Nothing | Self::JoinTokenInCluster | Self::ServiceAccountOutside => {
                Status::unauthenticated(self.to_string())
            }
            Self::Csr(error) => Status::invalid_argument(error.to_string()),
            Self::Review(ReviewError::Refused(refusal)) => refused(refusal),
            Self::Review(error) => Status::unavailable(error.to_string()),
            Self::Attest(AttestError::Token(RedeemError::Store(_))) => {
                Status::unavailable("the store of join tokens cannot be used")
            }
            Self::Attest(AttestError::Token(error)) => {
                Status::unauthenticated(format!("the join token is refused: {error}"))
            }
            Self::Attest(error @ AttestError::Expired) => {
                Status::unauthenticated(error.to_string())
            }
            Self::Attest(error) => Status::permission_denied(error.to_string()),
            Self::Sign(_) => Status::internal("nothing could be signed"),
            Self::Aborted(_) => Status::internal("the request failed"),
        }
    }
}

/// Who proved nothing is told so; who did and may not; and who came too early comes again.
fn refused(refusal: &Refusal) -> Status {
    let said = refusal.to_string();
    match refusal {
        Refusal::Malformed
        | Refusal::NotAuthenticated(_)
        | Refusal::Audience
        | Refusal::NotServiceAccount(_)
        | Refusal::Unbound { .. } => Status::unauthenticated(said),
        Refusal::PodName(_)
        | Refusal::Name(_)
        | Refusal::PodGone(_)
        | Refusal::PodReplaced(_)
        | Refusal::PodEnded(_)
        | Refusal::HostNetwork(_)
        | Refusal::Account { .. }
        | Refusal::Address { .. } => Status::permission_denied(said),
        Refusal::NotVisibleYet(_) => Status::unavailable(said),
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use kube::client::Body;
    use tonic::Code;

    use super::*;
    use crate::ca;

    fn service(attestor: Attestor) -> IdentityService {
        let domain = "cluster.local".parse().unwrap();
        let made = ca::generate(&domain, OffsetDateTime::now_utc()).unwrap();
        let ca = ca::from_pem(made.cert_pem.as_bytes(), made.key_pem.as_bytes(), &domain);
        IdentityService {
            ca: Arc::new(ca.unwrap()),
            attestor,
            svid_ttl: Duration::from_secs(60),
            index: watch::channel(Arc::new(crate::index::tests::index(""))).1,
            metrics: Arc::new(Metrics::new()),
        }
    }

    /// An API server that fails every request.
    fn accounts() -> ServiceAccounts {
        let service = tower::service_fn(|_request: http::Request<Body>| async {
            let failed = http::Response::builder().status(500).body(Body::empty());
            Ok::<_, tower::BoxError>(failed.unwrap())
        });
        let client = kube::Client::new(service, "default");
        ServiceAccounts::new(client, "cluster.local".parse().unwrap(), true)
    }

    #[tokio::test]
    async fn only_the_kind_of_proof_that_is_accepted_here_is_looked_at() {
        let store = || Attestor::JoinTokens {
            store: "/nonexistent".into(),
        };
        let cluster = || Attestor::ServiceAccounts(accounts());
        let join = || Some(Attestation::JoinToken("palisade1.a.b".into()));
        let account = |token: &str| Some(Attestation::ServiceAccountToken(token.into()));
        let cases = [
            (
                cluster(),
                join(),
                Code::Unauthenticated,
                "other_attestation",
            ),
            (
                store(),
                account("a.b.c"),
                Code::Unauthenticated,
                "other_attestation",
            ),
            (store(), None, Code::Unauthenticated, "nothing_proved"),
            (cluster(), None, Code::Unauthenticated, "nothing_proved"),
            (
                cluster(),
                account("no token"),
                Code::Unauthenticated,
                "malformed",
            ),
            // Not a denial: the proxy asks again.
            (cluster(), account("a.b.c"), Code::Unavailable, "api_server"),
        ];
        for (attestor, attestation, code, reason) in cases {
            let caller = Caller {
                peer: None,
                from: "10.88.1.3:40000".parse().unwrap(),
            };
            let proof = service(attestor).proof(attestation, caller).await;
            let error = proof.err().unwrap();
            assert_eq!((error.status().code(), error.reason()), (code, reason));
        }
    }

    #[test]
    fn who_came_too_early_comes_again_and_who_may_not_is_told_so() {
        let pod = || "shop/web-1/8d1f".to_owned();
        let cases = [
            (Refusal::NotVisibleYet(pod()), Code::Unavailable),
            (Refusal::PodGone(pod()), Code::PermissionDenied),
            (Refusal::HostNetwork(pod()), Code::PermissionDenied),
            (Refusal::Audience, Code::Unauthenticated),
        ];
        for (refusal, code) in cases {
            let status = refused(&refusal);
            assert_eq!(
                (status.code(), status.message()),
                (code, refusal.to_string().as_str())
            );
        }
    }
}
