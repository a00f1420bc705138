//! Whether the bearer of a token may know: the API server says whose it is, and what they may.

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use palisade_api::cluster::{ASK_AUDIENCE, ASK_RESOURCE, ASK_VERB, GROUP, VIEWER};

/// The API server's answers.
#[derive(Clone)]
pub(crate) struct Rights {
    client: Client,
    /// Whoever reaches this listener shall not make the API server feel it.
    reviews: Arc<Semaphore>,
}

impl Rights {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            reviews: Arc::new(Semaphore::new(MAX_REVIEWS)),
        }
    }

    /// Whether a token's bearer may know what was counted in a namespace, or in all of them.
    ///
    /// # Errors
    ///
    /// Where they may not, or the API server cannot be asked.
    pub(super) async fn check(&self, token: &str, namespace: Option<&str>) -> Result<(), Refusal> {
        timeout(REVIEW_TIME, self.ask(token, namespace))
            .await
            .map_err(Refusal::Late)?
    }

    async fn ask(&self, token: &str, namespace: Option<&str>) -> Result<(), Refusal> {
        let _turn = self.reviews.acquire().await.map_err(Refusal::Stopping)?;
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let review = reviews
            .create(&PostParams::default(), &token_review(token))
            .await
            .map_err(|error| Refusal::Review(Box::new(error)))?;
        let user = user(review.status.unwrap_or_default())?;
        let name = user.username.clone().unwrap_or_default();
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        let review = reviews
            .create(&PostParams::default(), &access_review(user, namespace))
            .await
            .map_err(|error| Refusal::Review(Box::new(error)))?;
        if review.status.is_some_and(|status| status.allowed) {
            return Ok(());
        }
        Err(Refusal::forbidden(name, namespace))
    }
}

fn token_review(token: &str) -> TokenReview {
    TokenReview {
        spec: TokenReviewSpec {
            audiences: Some(vec![ASK_AUDIENCE.to_owned()]),
            token: Some(token.to_owned()),
        },
        ..TokenReview::default()
    }
}

/// Whose token it is; a token that was made for something else is nobody's here.
pub(super) fn user(status: TokenReviewStatus) -> Result<UserInfo, Refusal> {
    let is_ours = |audience: &String| audience == ASK_AUDIENCE;
    if status.authenticated != Some(true) || !status.audiences.iter().flatten().any(is_ours) {
        return Err(Refusal::NotAuthenticated);
    }
    status.user.ok_or(Refusal::NotAuthenticated)
}

/// All that the API server said of the user, for it may decide by any of that.
pub(super) fn access_review(user: UserInfo, namespace: Option<&str>) -> SubjectAccessReview {
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                resource: Some(ASK_RESOURCE.to_owned()),
                verb: Some(ASK_VERB.to_owned()),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// Why a question is not answered, in words for whoever asks.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// There was none.
    #[error(
        "a token is missing; send `Authorization: Bearer TOKEN`, made for the audience {ASK_AUDIENCE}"
    )]
    NoToken,
    /// It is nobody's.
    #[error(
        "the token proves nothing here: it has ended, or was not made for the audience {ASK_AUDIENCE}"
    )]
    NotAuthenticated,
    /// They may not.
    #[error(
        "{user} may not {ASK_VERB} {ASK_RESOURCE}.{GROUP} in {place}; bind it to a role that allows this: {line}"
    )]
    Forbidden {
        /// Who, as the API server says.
        user: String,
        /// Where.
        place: String,
        /// What to type.
        line: String,
    },
    /// The API server did not say.
    #[error("the API server did not review the question; try again")]
    Review(#[source] Box<kube::Error>),
    /// It took too long.
    #[error("the API server did not answer in time; try again")]
    Late(#[source] tokio::time::error::Elapsed),
    /// Control ends.
    #[error("control is stopping; try again")]
    Stopping(#[source] tokio::sync::AcquireError),
}

impl Refusal {
    /// With the binding that is missing.
    pub(super) fn forbidden(user: String, namespace: Option<&str>) -> Self {
        let account = user.strip_prefix("system:serviceaccount:");
        let subject = match account {
            Some(account) => format!("--serviceaccount={account}"),
            None => format!("--user={user}"),
        };
        let (place, binding) = match namespace {
            Some(namespace) => (
                format!("namespace {namespace}"),
                format!("-n {namespace} create rolebinding"),
            ),
            None => (
                "all namespaces".to_owned(),
                "create clusterrolebinding".to_owned(),
            ),
        };
        let line = format!("kubectl {binding} NAME --clusterrole={VIEWER} {subject}");
        Self::Forbidden { user, place, line }
    }

    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::NotAuthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Review(_) | Self::Late(_) | Self::Stopping(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

const REVIEW_TIME: Duration = Duration::from_secs(8);
const MAX_REVIEWS: usize = 8;
