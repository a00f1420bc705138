//! `GET /usage` in a cluster: what was counted, for whoever may know.
//!
//! It is served on loopback, to which the API server forwards those who may forward there, and answers nobody without a
//! token: each question passes a TokenReview and a SubjectAccessReview.

mod rights;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, StatusCode, Uri};

use crate::http::{self, Answer, Listener, json, text};
use crate::identity::chain;
use crate::mesh::Roster;
use crate::telemetry::metrics::Metrics;
use crate::usage::Usage;

use rights::Refusal;
pub(crate) use rights::Rights;

/// What is answered, and to whom.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) usage: Arc<Usage>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) rights: Rights,
    pub(crate) metrics: Arc<Metrics>,
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: Listener, ask: Ask) {
    http::serve(listener, move |request| {
        let ask = ask.clone();
        async move {
            let response = respond(&ask, &request).await;
            ask.metrics.asked(response.status().as_u16());
            response
        }
    })
    .await;
}

async fn respond<B: Sync>(ask: &Ask, request: &Request<B>) -> Answer {
    let namespace = match asked(request.method(), request.uri()) {
        Ok(namespace) => namespace,
        Err((status, why)) => return text(status, why),
    };
    let allowed = match bearer(request.headers()) {
        Some(token) => ask.rights.check(token, namespace).await,
        None => Err(Refusal::NoToken),
    };
    match allowed {
        Ok(()) => json(&ask.usage.answer(namespace, ask.roster.workloads())),
        Err(refusal) => refused(&refusal),
    }
}

/// Of which namespace; none for all.
fn asked<'a>(method: &Method, uri: &'a Uri) -> Result<Option<&'a str>, (StatusCode, &'static str)> {
    if method != Method::GET {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "only GET is known here\n"));
    }
    if uri.path() != "/usage" {
        return Err((StatusCode::NOT_FOUND, "there is /usage\n"));
    }
    let Some(query) = uri.query() else {
        return Ok(None);
    };
    match query
        .strip_prefix("namespace=")
        .filter(|name| is_label(name))
    {
        Some(namespace) => Ok(Some(namespace)),
        None => Err((
            StatusCode::BAD_REQUEST,
            "ask for /usage, or for one namespace: /usage?namespace=shop\n",
        )),
    }
}

fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(refusal: &Refusal) -> Answer {
    let status = refusal.status();
    if status.is_server_error() {
        tracing::warn!(error = %chain(refusal), "a question about counts was not answered");
    }
    let mut response = text(status, format!("{refusal}\n"));
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    response
}
