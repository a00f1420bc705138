//! `/metrics`, `/ready`, `/live` and, from files, `/proxies` over plain HTTP: nothing here is secret, and nothing can be
//! changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use super::metrics::Metrics;
use crate::mesh::Roster;

/// What is shown.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    /// The proxies, where whoever comes here may see who they are: not in a cluster, where everybody comes here.
    pub(crate) roster: Option<Arc<Roster>>,
    /// Whether proxies are served.
    pub(crate) ready: watch::Receiver<bool>,
    /// What is waited for until then, in words.
    pub(crate) awaited: watch::Receiver<String>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(counted) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a telemetry connection could not be accepted");
                sleep(BACKOFF).await;
                continue;
            }
        };
        let admin = admin.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = respond(&admin, &request);
                async { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a telemetry connection failed");
            }
            drop(counted);
        });
    }
}

fn respond<B>(admin: &Admin, request: &Request<B>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET {
        return answer(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET is known here\n".into(),
        );
    }
    match request.uri().path() {
        "/ready" if !*admin.ready.borrow() => {
            let why = match admin.awaited.borrow().as_str() {
                "" => "control starts or stops; the log says more\n".to_owned(),
                awaited => format!("not everything is known yet: {awaited}\n"),
            };
            answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, why)
        }
        "/ready" => answer(StatusCode::OK, TEXT, "ready\n".into()),
        "/live" => answer(StatusCode::OK, TEXT, "live\n".into()),
        "/metrics" => match admin.metrics.text() {
            Ok(text) => answer(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        "/proxies" => proxies(admin),
        _ => nothing(admin),
    }
}

fn proxies(admin: &Admin) -> Response<Full<Bytes>> {
    let Some(roster) = &admin.roster else {
        return nothing(admin);
    };
    match serde_json::to_string(&roster.list()) {
        Ok(json) => answer(StatusCode::OK, JSON, json),
        Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
    }
}

fn nothing(admin: &Admin) -> Response<Full<Bytes>> {
    let there = match admin.roster {
        Some(_) => "there are /metrics, /ready, /live and /proxies\n",
        None => "there are /metrics, /ready and /live\n",
    };
    answer(StatusCode::NOT_FOUND, TEXT, there.to_owned())
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const MAX_CONNECTIONS: usize = 64;
const HEADER_TIME: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(100);
