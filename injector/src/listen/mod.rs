//! Accepts connections of the API server, and answers what comes on each.

#[cfg(test)]
mod tests;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::webhook::Webhook;

/// Serves until it is told to stop, and then until the last answer is written.
///
/// Cancel safe in so far as every connection ends with it.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    webhook: Arc<Webhook>,
    stop: watch::Receiver<bool>,
) {
    let acceptor = TlsAcceptor::from(tls);
    let mut connections = JoinSet::new();
    let mut stopped = pin!(stopped(stop.clone()));
    loop {
        // More than that stay in the kernel's queue.
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        let incoming = tokio::select! {
            () = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
            incoming = listener.accept() => incoming,
        };
        match incoming {
            Ok((stream, _)) => {
                let (acceptor, webhook) = (acceptor.clone(), Arc::clone(&webhook));
                connections.spawn(connection(acceptor, stream, webhook, stop.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(BACKOFF).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    webhook: Arc<Webhook>,
    stop: watch::Receiver<bool>,
) {
    let stream = match handshake(&acceptor, stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a handshake failed");
            return;
        }
    };
    let service = service_fn(|request| webhook.answer(request));
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIME)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = stopped(stop) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

async fn handshake(acceptor: &TlsAcceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    stream.set_nodelay(true)?;
    timeout(HANDSHAKE_TIME, acceptor.accept(stream))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Whoever could say so is gone otherwise, which is a stop too.
async fn stopped(mut stop: watch::Receiver<bool>) {
    stop.wait_for(|stopping| *stopping).await.ok();
}

/// An API server keeps some 25 idle ones; there are a few of those.
const MAX_CONNECTIONS: usize = 512;
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Longer than an API server keeps a connection idle, so that it is not ours that ends just as a review comes.
const IDLE_TIME: Duration = Duration::from_secs(120);
const MAX_HEAD_BYTES: usize = 64 * 1024;
const BACKOFF: Duration = Duration::from_millis(100);
