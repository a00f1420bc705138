//! `/metrics`, `/ready` and `/live` over plain HTTP: nothing here is secret, and nothing can be changed.

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
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::metrics::Metrics;
use crate::readiness::Readiness;

/// What is shown.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Readiness,
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
        let body = "only GET is known here\n".to_owned();
        return answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, body);
    }
    match request.uri().path() {
        "/live" => answer(StatusCode::OK, TEXT, "live\n".to_owned()),
        "/ready" => match admin.readiness.missing() {
            None => answer(StatusCode::OK, TEXT, "ready\n".to_owned()),
            Some(missing) => answer(
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                format!("{missing}\n"),
            ),
        },
        "/metrics" => match admin.metrics.text() {
            Ok(text) => answer(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, error.to_string()),
        },
        _ => {
            let body = "there are /metrics, /ready and /live\n".to_owned();
            answer(StatusCode::NOT_FOUND, TEXT, body)
        }
    }
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
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const MAX_CONNECTIONS: usize = 64;
const HEADER_TIME: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::readiness::tests::{Facts, facts};

    fn asked(admin: &Admin, method: Method, path: &str) -> StatusCode {
        let request = Request::builder().method(method).uri(path).body(());
        respond(admin, &request.unwrap()).status()
    }

    #[test]
    fn readiness_is_not_liveness() {
        let Facts {
            readiness,
            certificate,
            ..
        } = facts();
        let metrics = Arc::new(Metrics::new());
        let admin = Admin { metrics, readiness };
        for (path, expected) in [
            ("/ready", 200),
            ("/live", 200),
            ("/metrics", 200),
            ("/", 404),
        ] {
            assert_eq!(asked(&admin, Method::GET, path), expected, "{path}");
        }
        assert_eq!(asked(&admin, Method::POST, "/live"), 405);
        certificate.send_replace(None);
        assert_eq!(asked(&admin, Method::GET, "/ready"), 503);
        assert_eq!(asked(&admin, Method::GET, "/live"), 200);
    }
}
