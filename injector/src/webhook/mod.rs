//! Reviews: a request in, an answer out. What is answered is decided in the modules below, of plain values.

mod ephemeral;
mod member;
mod pods;
mod review;
mod rules;
#[cfg(test)]
pub(crate) mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use k8s_openapi::api::authentication::v1::UserInfo;
use kube::Client;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{Instant, timeout};

use palisade_api::cluster;
use palisade_api::policy::AuthorizationPolicy;

use crate::event::Skipped;
use crate::inject::{NamespaceFacts, Settings};
use crate::namespaces::{self, Store};
use crate::telemetry::metrics::Metrics;
use crate::{known, listed};
use review::{Change, Review, Verdict};
use rules::Around;

/// What reviews are answered from.
pub(crate) struct Webhook {
    /// All but the addresses of control.
    pub(crate) settings: Settings,
    pub(crate) control: watch::Receiver<Vec<String>>,
    pub(crate) system_namespace: String,
    pub(crate) store: Arc<Store>,
    /// Whom to ask of a namespace that the store does not know yet.
    pub(crate) cluster: Option<Client>,
    pub(crate) skipped: mpsc::Sender<Skipped>,
    pub(crate) metrics: Arc<Metrics>,
    /// How many reviews are held in memory at once. Whoever comes then waits.
    pub(crate) reviews: Semaphore,
}

/// How many reviews [`Webhook::reviews`] has room for.
pub(crate) const MAX_REVIEWS: usize = 32;

/// Where a review comes to, and so what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Pods,
    EphemeralContainers,
    Namespaces,
    Rules,
}

impl Path {
    fn of(path: &str) -> Option<Self> {
        match path {
            cluster::PODS_PATH => Some(Self::Pods),
            cluster::EPHEMERAL_PATH => Some(Self::EphemeralContainers),
            cluster::NAMESPACES_PATH => Some(Self::Namespaces),
            cluster::RULES_PATH => Some(Self::Rules),
            _ => None,
        }
    }

    /// Its name as a metric's label.
    fn label(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::EphemeralContainers => "ephemeral_containers",
            Self::Namespaces => "namespaces",
            Self::Rules => "rules",
        }
    }
}

impl Webhook {
    /// Answers one request, within [`REVIEW_TIME`].
    pub(crate) async fn answer<B>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Full<Bytes>>, Infallible>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        let Some(path) = Path::of(request.uri().path()) else {
            return Ok(text(StatusCode::NOT_FOUND, "no review is answered here"));
        };
        let began = Instant::now();
        let answered = timeout(REVIEW_TIME, self.review(path, request)).await;
        let (outcome, response) = answered.unwrap_or_else(|_elapsed| {
            let message = "the review took too long; retry";
            ("failed", text(StatusCode::SERVICE_UNAVAILABLE, message))
        });
        self.metrics
            .reviewed(path.label(), outcome, began.elapsed());
        Ok(response)
    }

    async fn review<B>(
        &self,
        path: Path,
        request: Request<B>,
    ) -> (&'static str, Response<Full<Bytes>>)
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
    {
        if request.method() != Method::POST {
            return invalid(StatusCode::METHOD_NOT_ALLOWED, "a review is posted");
        }
        // Never closed, and a review without room would only be one more in memory.
        let Ok(_room) = self.reviews.acquire().await else {
            return invalid(
                StatusCode::SERVICE_UNAVAILABLE,
                "no review is answered any more",
            );
        };
        let body = match Limited::new(request, MAX_BODY_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return invalid(StatusCode::PAYLOAD_TOO_LARGE, "the review is too long");
            }
            Err(_gone) => return invalid(StatusCode::BAD_REQUEST, "the review is incomplete"),
        };
        match Review::parse(&body) {
            Ok(review) => {
                let uid = review.uid.clone();
                let verdict = self.decide(path, review).await;
                (verdict.outcome(), json(verdict.answer(&uid)))
            }
            Err(error) => {
                tracing::warn!(path = path.label(), %error, "a review was malformed");
                invalid(StatusCode::BAD_REQUEST, &error.to_string())
            }
        }
    }

    async fn decide(&self, path: Path, review: Review) -> Verdict {
        match path {
            Path::Pods => self.pod(&review).await,
            Path::EphemeralContainers => ephemeral::review(&review.change),
            Path::Namespaces => {
                let joining = member::joining(&review.change, &self.system_namespace);
                let called = match (joining, &self.cluster) {
                    (Some(name), Some(cluster)) => {
                        for_warnings(listed::called(cluster, name)).await
                    }
                    (None, _) | (_, None) => None,
                };
                let called = called.unwrap_or_default();
                member::review(&review.change, &self.system_namespace, &called)
            }
            Path::Rules => self.rule(review).await,
        }
    }

    /// Thousands of rules in one object are compared with each other: the other reviews go on meanwhile.
    async fn rule(&self, review: Review) -> Verdict {
        let Review { change, user, .. } = review;
        let read = spawn_blocking(move || rules::read(&change)).await;
        let object = match read {
            Ok(Ok(object)) => object,
            Ok(Err(verdict)) => return verdict,
            Err(error) => return unchecked(&error),
        };
        let around = self.around(object.manifest().policy(), &user).await;
        let now = OffsetDateTime::now_utc();
        let warned = spawn_blocking(move || rules::warned(&object, &around, now));
        warned.await.unwrap_or_else(|error| unchecked(&error))
    }

    /// What warnings of a rule depend on.
    async fn around(&self, policy: Option<&AuthorizationPolicy>, user: &UserInfo) -> Around {
        let permissive = self.store.permissive();
        let (Some(policy), Some(cluster)) = (policy, &self.cluster) else {
            return Around {
                permissive,
                ..Around::default()
            };
        };
        let held = known::Held {
            trust_domain: self.settings.trust_domain.parse().ok(),
            namespaces: self.store.namespaces.names(|_| true),
        };
        let nodes = async {
            match rules::lets_addresses_in(policy) {
                true => for_warnings(listed::nodes(cluster)).await,
                false => None,
            }
        };
        let known = for_warnings(known::known(cluster, user, policy, held));
        let (nodes, known) = tokio::join!(nodes, known);
        Around {
            permissive,
            nodes: nodes.unwrap_or_default(),
            known,
        }
    }

    async fn pod(&self, review: &Review) -> Verdict {
        let Change::Create(pod) = &review.change else {
            return Verdict::allow();
        };
        let control = self.control.borrow().clone();
        if control.is_empty() {
            let message = "the injector does not know control's addresses yet; retry";
            return Verdict::Fail {
                message: message.to_owned(),
            };
        }
        let namespace = match self.namespace(&review.namespace).await {
            Ok(namespace) => namespace,
            Err(message) => return Verdict::Fail { message },
        };
        let settings = Settings {
            control,
            ..self.settings.clone()
        };
        let verdict = pods::review(pod, &settings, &namespace);
        if let Verdict::Skip { reason, warning } = &verdict
            && !review.is_dry_run
        {
            self.metrics.skipped(reason);
            let skipped = Skipped::new(pod, &review.namespace, warning);
            // Where there is no room, the warning and the metric have said it already.
            self.skipped.try_send(skipped).ok();
        }
        verdict
    }

    /// What the pod's namespace says. Without knowing it no pod is let in: it could be one that has to be patched.
    async fn namespace(&self, name: &str) -> Result<NamespaceFacts, String> {
        if let Some(facts) = self.store.facts(name) {
            return Ok(facts);
        }
        let Some(cluster) = &self.cluster else {
            return Err(format!(
                "the injector does not know the namespace `{name}` yet; retry"
            ));
        };
        let asked = timeout(ASK_TIME, namespaces::ask(cluster, name)).await;
        let cause = match asked {
            Ok(Ok(facts)) => return Ok(facts),
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => "the API server does not answer".to_owned(),
        };
        Err(format!(
            "the injector does not know the namespace `{name}` yet, and cannot ask: {cause}; retry"
        ))
    }
}

/// What a warning depends on and nothing else: where it cannot be had in time, there is no warning.
async fn for_warnings<T>(asking: impl Future<Output = Result<T, kube::Error>>) -> Option<T> {
    match timeout(ASK_TIME, asking).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a list cannot be had; what it would have warned of is not said");
            None
        }
        Err(_elapsed) => None,
    }
}

fn unchecked(error: &JoinError) -> Verdict {
    Verdict::Fail {
        message: format!("the rules could not be checked: {error}"),
    }
}

fn invalid(status: StatusCode, message: &str) -> (&'static str, Response<Full<Bytes>>) {
    ("invalid", text(status, message))
}

fn text(status: StatusCode, message: &str) -> Response<Full<Bytes>> {
    answer(status, "text/plain; charset=utf-8", format!("{message}\n"))
}

fn json(body: String) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, "application/json", body)
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Two objects of the API server's own limit of 3 MiB, and what is around them.
const MAX_BODY_BYTES: usize = 7 * 1024 * 1024;
/// Shorter than the webhook configuration's 5 s, so that the API server hears our reason and not its own.
const REVIEW_TIME: Duration = Duration::from_secs(4);
const ASK_TIME: Duration = Duration::from_secs(2);
