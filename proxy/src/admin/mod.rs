//! The proxy's own HTTP pages: metrics, its own probes and the applications' ([`crate::probe`]), and on loopback its state.
//!
//! These ports are open to the pod's network, so each connection carries one request, is short, and there are
//! few of them at once, from one address fewer still: a stranger who opens many must not keep the kubelet out.

mod decide;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use palisade_api::spiffe::SpiffeId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::authorize::PolicyState;
use crate::discovery::addresses::AddressBook;
use crate::inbound::Sources;
use crate::original_dst::canonical;
use crate::probe::Prober;
use crate::readiness::Readiness;
use crate::telemetry::Metrics;
use decide::Question;

/// Whether every certificate with a name is revoked.
pub type Revoked = Arc<dyn Fn(&SpiffeId) -> bool + Send + Sync>;

/// What the pages show.
#[derive(Clone)]
pub struct Admin {
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
    /// `/ready`.
    pub readiness: watch::Receiver<Readiness>,
    /// `/probe/…`
    pub prober: Arc<Prober>,
    /// `/config`: makes the state of the proxy as of now. No secret may be in it.
    pub config: Arc<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// `/decide`: the rules in force.
    pub policy: watch::Receiver<PolicyState>,
    /// `/decide`: who is denied before any rule is asked.
    pub revoked: Revoked,
    /// `/decide`: who is known at an address.
    pub book: AddressBook,
    /// Longest wait for control to say that.
    pub patience: Duration,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("readiness", &*self.readiness.borrow())
            .finish_non_exhaustive()
    }
}

/// Which pages a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// Port 15020: `/metrics`, `/ready`, `/live`, and the applications' probes.
    Telemetry,
    /// Port 15021: `/ready`, `/live`.
    Probes,
    /// Port 15000, on loopback only: all, `/config`, and `/decide`.
    All,
}

/// Serves `pages` on `listener` for ever. Dropping it ends its connections.
pub async fn serve(admin: Admin, pages: Pages, listener: TcpListener) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let sources = Sources::new(MAX_CONNECTIONS_PER_SOURCE);
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed, so there is always a slot in the end.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                let Some(place) = sources.admit(canonical(client).ip()) else {
                    continue;
                };
                let admin = admin.clone();
                connections.spawn(async move {
                    serve_connection(&admin, pages, stream).await;
                    drop((slot, place));
                });
            }
            Err(error) => {
                tracing::debug!(%error, "admin accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request, one answer, within [`CONNECTION_TIME`] and what a probe may take.
async fn serve_connection(
    admin: &Admin,
    pages: Pages,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) {
    let (deadline, deadlines) = watch::channel(Instant::now() + CONNECTION_TIME);
    let deadline = &deadline;
    let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
        let (request, _body_unread) = request.into_parts();
        let (method, uri) = (&request.method, &request.uri);
        let path = uri.path();
        if pages == Pages::Telemetry
            && is_reading(method)
            && let Some(patience) = admin.prober.patience(path)
        {
            deadline.send_modify(|at| *at += patience);
            return Ok::<_, Infallible>(probe(admin, path).await);
        }
        Ok(answer((admin, pages), (method, uri), &request.headers, deadline).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .keep_alive(false)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "admin connection");
        },
        () = passed(deadlines) => tracing::debug!("admin connection took too long"),
    }
}

/// Resolves when a deadline has passed that was not moved meanwhile.
async fn passed(mut deadlines: watch::Receiver<Instant>) {
    loop {
        let deadline = *deadlines.borrow_and_update();
        sleep_until(deadline).await;
        if *deadlines.borrow() == deadline {
            return;
        }
    }
}

async fn probe(admin: &Admin, path: &str) -> Response<Full<Bytes>> {
    match admin.prober.ask(path).await {
        Some(Ok(())) => respond(StatusCode::OK, TEXT, "ok\n"),
        Some(Err(unwell)) => respond(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{unwell}\n")),
        None => respond(StatusCode::NOT_FOUND, TEXT, "no such page\n"),
    }
}

async fn answer(
    (admin, pages): (&Admin, Pages),
    (method, uri): (&Method, &Uri),
    headers: &HeaderMap,
    deadline: &watch::Sender<Instant>,
) -> Response<Full<Bytes>> {
    let Some(page) = Page::at(uri.path()).filter(|page| pages.have(*page)) else {
        return respond(StatusCode::NOT_FOUND, TEXT, "no such page\n");
    };
    if !is_reading(method) {
        let mut refused = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match page {
        Page::Metrics => respond(StatusCode::OK, OPEN_METRICS, admin.metrics.text()),
        Page::Ready => ready(&admin.readiness.borrow(), headers),
        Page::Live => respond(StatusCode::OK, TEXT, "live\n"),
        Page::Config => respond(StatusCode::OK, JSON, format!("{:#}\n", (admin.config)())),
        Page::Decide => {
            deadline.send_modify(|at| *at += admin.patience);
            decide(admin, uri.query().unwrap_or_default()).await
        }
    }
}

async fn decide(admin: &Admin, query: &str) -> Response<Full<Bytes>> {
    let known = (&admin.book, admin.patience);
    match Question::of(query) {
        Ok(question) if question.identity().is_some_and(|id| (admin.revoked)(id)) => {
            respond(StatusCode::OK, JSON, format!("{}\n", decide::revoked()))
        }
        Ok(question) => {
            let decided = decide::decide(&admin.policy, known, &question).await;
            respond(StatusCode::OK, JSON, format!("{decided}\n"))
        }
        Err(error) => respond(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
    }
}

fn is_reading(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn ready(readiness: &Readiness, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let reasons: Vec<String> = readiness.reasons().collect();
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    if wants_json(headers) {
        let body = serde_json::json!({"ready": reasons.is_empty(), "reasons": reasons});
        return respond(status, JSON, format!("{body}\n"));
    }
    if reasons.is_empty() {
        return respond(status, TEXT, "ready\n");
    }
    respond(status, TEXT, reasons.join("\n") + "\n")
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|accept| accept.to_str().ok())
        .any(|accept| accept.contains("application/json"))
}

fn respond(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Metrics,
    Ready,
    Live,
    Config,
    Decide,
}

impl Page {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/metrics" => Some(Self::Metrics),
            "/ready" => Some(Self::Ready),
            "/live" => Some(Self::Live),
            "/config" => Some(Self::Config),
            "/decide" => Some(Self::Decide),
            _ => None,
        }
    }
}

impl Pages {
    fn have(self, page: Page) -> bool {
        match page {
            Page::Ready | Page::Live => true,
            Page::Metrics => self != Self::Probes,
            Page::Config | Page::Decide => self == Self::All,
        }
    }
}

const MAX_CONNECTIONS: usize = 256;
/// A node's agents ask from one address: some scrapers, and the kubelet each probe of the pod.
const MAX_CONNECTIONS_PER_SOURCE: usize = 64;
const MAX_HEADER_BYTES: usize = 16 << 10;
const HEADER_TIME: Duration = Duration::from_secs(2);
const CONNECTION_TIME: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests;
