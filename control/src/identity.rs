//! gRPC `Identity`: attest, then sign. No decisions of its own.

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
use crate::listen::Caller;
use crate::telemetry::metrics::{IssueOutcome, Metrics};
use crate::token::RedeemError;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct IdentityService {
    pub(crate) ca: Arc<Ca>,
    pub(crate) store: PathBuf,
    pub(crate) svid_ttl: Duration,
    pub(crate) index: watch::Receiver<Arc<Index>>,
    pub(crate) metrics: Arc<Metrics>,
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
        let service = self.clone();
        let request = request.into_inner();
        // Redeeming a token waits for a disk.
        let issued = tokio::task::spawn_blocking(move || service.issue_to(&caller, request))
            .await
            .map_err(|_error| Status::internal("the request failed"))?;
        match issued {
            Ok((attested, svid)) => {
                self.metrics.issued(IssueOutcome::Issued);
                tracing::info!(id = %attested.id(), serial = %svid.serial, "an SVID was issued");
                Ok(Response::new(self.answer(svid)))
            }
            Err(error) => {
                self.metrics.issued(error.outcome());
                tracing::warn!(error = %chain(&error), "an SVID was refused");
                Err(error.status())
            }
        }
    }
}

impl IdentityService {
    fn issue_to(
        &self,
        caller: &Caller,
        request: IssueRequest,
    ) -> Result<(Attested, Svid), IssueError> {
        let now = OffsetDateTime::now_utc();
        let csr = Csr::parse(&request.csr)?;
        let index = Arc::clone(&self.index.borrow());
        let grounds = Grounds {
            trust_domain: self.ca.trust_domain(),
            revoked: index.revoked(),
            now,
        };
        let attested = match (request.attestation, &caller.peer) {
            (Some(Attestation::JoinToken(token)), _) => {
                attest::by_join_token(&grounds, &self.store, self.ca.root(), &token, &csr)?
            }
            (Some(Attestation::ServiceAccountToken(_)), _) => return Err(IssueError::Nothing),
            (None, Some(peer)) => attest::by_svid(&grounds, peer)?,
            (None, None) => return Err(IssueError::Nothing),
        };
        let svid = self.ca.sign(&attested, &csr, now, self.svid_ttl)?;
        Ok((attested, svid))
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

/// Why no SVID was issued.
#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error("the caller proved nothing: neither a join token nor a client certificate")]
    Nothing,
    #[error("the signing request is refused")]
    Csr(#[from] CsrError),
    #[error("the caller is refused")]
    Attest(#[from] AttestError),
    #[error("nothing could be signed")]
    Sign(#[from] SignError),
}

impl IssueError {
    fn outcome(&self) -> IssueOutcome {
        match self {
            Self::Sign(_) | Self::Attest(AttestError::Token(RedeemError::Store(_))) => {
                IssueOutcome::Failed
            }
            Self::Nothing | Self::Csr(_) | Self::Attest(_) => IssueOutcome::Refused,
        }
    }

    /// What the caller is told: enough to know what to do, and nothing about us.
    fn status(&self) -> Status {
        match self {
            Self::Nothing => Status::unauthenticated(self.to_string()),
            Self::Csr(error) => Status::invalid_argument(error.to_string()),
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
        }
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
