//! The probe by HTTP: good is a status from 200 to 399. Redirects are not followed, and no body is read.

use std::net::SocketAddr;
use std::pin::pin;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Unwell;
use super::questions::Get;

pub(super) async fn get<T>(stream: T, address: SocketAddr, get: &Get) -> Result<(), Unwell>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = get.path.clone().into();
    *request.headers_mut() = headers(address, get)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_HEADER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .or(Err(Unwell::Protocol))?;
    let (mut connection, mut answer) = (pin!(connection), pin!(sender.send_request(request)));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection is over; it gave its answer before, or gives none.
        _ = &mut connection => answer.await,
    };
    match answer.or(Err(Unwell::Protocol))?.status().as_u16() {
        200..=399 => Ok(()),
        _ => Err(Unwell::Status),
    }
}

/// What the kubelet sends, and over it what the probe says.
fn headers(address: SocketAddr, get: &Get) -> Result<HeaderMap, Unwell> {
    let host = HeaderValue::try_from(address.to_string()).or(Err(Unwell::NoAddress))?;
    let mut headers = HeaderMap::new();
    let replaced = |name: &HeaderName| get.headers.iter().any(|(known, _)| known == name);
    for (name, value) in [
        (HOST, host),
        (ACCEPT, HeaderValue::from_static("*/*")),
        (USER_AGENT, HeaderValue::from_static(OUR_NAME)),
        (CONNECTION, HeaderValue::from_static("close")),
    ] {
        if !replaced(&name) {
            headers.insert(name, value);
        }
    }
    for (name, value) in &get.headers {
        headers.append(name, value.clone());
    }
    Ok(headers)
}

/// Begins as the kubelet's own, by which applications know a probe.
const OUR_NAME: &str = "kube-probe/palisade";
const MOST_HEADER_BYTES: usize = 64 << 10;
