//! `/metrics`, `/ready`, `/live` and, from files, `/proxies`, `/rules` and `/usage` over plain HTTP: nothing here is secret, and
//! nothing can be changed.

use std::sync::Arc;

use hyper::{Method, Request, StatusCode};
use tokio::sync::watch;

use super::metrics::Metrics;
use crate::http::{self, Answer, Listener, json, text};
use crate::mesh::Roster;
use crate::source::InForce;
use crate::usage::Usage;

/// What is shown.
#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    /// The proxies, where whoever comes here may see who they are: not in a cluster, where everybody comes here.
    pub(crate) proxies: Option<Proxies>,
    /// Whether proxies are served.
    pub(crate) ready: watch::Receiver<bool>,
    /// What is waited for until then, in words.
    pub(crate) awaited: watch::Receiver<String>,
}

/// What is known of the proxies.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    pub(crate) roster: Arc<Roster>,
    pub(crate) usage: Arc<Usage>,
    /// The texts of the files that are in force.
    pub(crate) in_force: watch::Receiver<InForce>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: Listener, admin: Admin) {
    http::serve(listener, move |request| {
        let response = respond(&admin, &request);
        async { response }
    })
    .await;
}

fn respond<B>(admin: &Admin, request: &Request<B>) -> Answer {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is known here\n");
    }
    match request.uri().path() {
        "/ready" if !*admin.ready.borrow() => {
            let why = match admin.awaited.borrow().as_str() {
                "" => "control starts or stops; the log says more\n".to_owned(),
                awaited => format!("not everything is known yet: {awaited}\n"),
            };
            text(StatusCode::SERVICE_UNAVAILABLE, why)
        }
        "/ready" => text(StatusCode::OK, "ready\n"),
        "/live" => text(StatusCode::OK, "live\n"),
        "/metrics" => match admin.metrics.text() {
            Ok(text) => http::answer(StatusCode::OK, OPEN_METRICS, text),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        },
        path => match (path, &admin.proxies) {
            ("/proxies", Some(proxies)) => json(&proxies.roster.list()),
            ("/rules", Some(proxies)) => json(&*proxies.in_force.borrow()),
            ("/usage", Some(proxies)) => {
                json(&proxies.usage.answer(None, proxies.roster.workloads()))
            }
            (_, Some(_)) => {
                nothing("there are /metrics, /ready, /live, /proxies, /rules and /usage\n")
            }
            (_, None) => nothing("there are /metrics, /ready and /live\n"),
        },
    }
}

fn nothing(there: &str) -> Answer {
    text(StatusCode::NOT_FOUND, there)
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
